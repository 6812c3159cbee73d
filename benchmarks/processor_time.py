"""Processor time of this process and of its children; no more is imported than that takes."""

import resource


def cpu_seconds(*who: int) -> float:
    """User and system time so far of `who`; of this process and the children that have ended, unless said."""
    usage = map(resource.getrusage, who or (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(part.ru_utime + part.ru_stime for part in usage)
