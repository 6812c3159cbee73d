"""Where a Brian2 model runs: NumPy or compiled at run time, or as a C++ program of its own."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import numpy as np

from astro_sim.errors import InputError

BACKENDS = ("brian2", "brian2-standalone")

# Up to here the NumPy target is done before a compiler would be: a cold build costs 20–80 s of CPU time.
NUMPY_STEPS = 60_000

# Spikes and crossings act on the state of their own step, before it is advanced: no step of lag.
SCHEDULE = ["start", "thresholds", "synapses", "resets", "groups", "end"]


@contextmanager
def brian_target(backend: str, steps: int | None, seed: int) -> Iterator[None]:
    """Choose where the Brian2 objects made inside the block will run, and seed their random numbers.

    ``"brian2"`` takes the NumPy target for up to `NUMPY_STEPS` steps, else Brian2's own choice;
    ``"brian2-standalone"`` writes, builds and runs a C++ program, whose results are gone after the block.
    """
    import brian2 as b2

    if backend not in BACKENDS:
        raise InputError("backend", backend, " or ".join(repr(name) for name in BACKENDS))
    target = b2.prefs.codegen.target
    folder = tempfile.mkdtemp(prefix="brian2-standalone-") if backend == "brian2-standalone" else None
    try:
        if folder:
            b2.set_device("cpp_standalone", directory=folder, build_on_run=True)
        elif steps is not None and steps <= NUMPY_STEPS:
            b2.prefs.codegen.target = "numpy"
        b2.seed(seed)
        yield
    finally:
        b2.prefs.codegen.target = target
        if folder:
            b2.device.reinit()
            b2.set_device("runtime")
            shutil.rmtree(folder, ignore_errors=True)


class Rows:
    """Values of a group's variables at every `record_dt`, times in seconds, from 0.

    At run time the group's own clock calls it: a ``StateMonitor`` has a clock of its own, and Brian2 then spends
    on every step more than on recording it.
    """

    def __init__(self, cells: Any, names: list[str], record_dt: float) -> None:
        import brian2 as b2

        self._names = names
        if b2.get_device() is not b2.all_devices["runtime"]:
            self.object = self._monitor = b2.StateMonitor(cells, names, record=True, dt=record_dt * b2.second)
            return
        every, steps = round(record_dt / float(cells.clock.dt)), count()
        arrays = [cells.variables[name].get_value() for name in names]
        self._monitor, self._kept = None, list[list[Any]]()

        def keep() -> None:
            if next(steps) % every == 0:
                self._kept.append([array.copy() for array in arrays])

        self._interval = every * float(cells.clock.dt)
        self.object = b2.NetworkOperation(keep, clock=cells.clock, when="start")

    def values(self) -> tuple[Any, dict[str, Any]]:
        """Times, and the values of each variable, shape (time, cell), in Brian2's units."""
        if self._monitor is not None:
            return np.asarray(self._monitor.t), {n: np.asarray(getattr(self._monitor, n)).T for n in self._names}
        columns = zip(*self._kept, strict=True)
        return np.arange(len(self._kept)) * self._interval, dict(zip(self._names, map(np.stack, columns), strict=True))


def run(network: Any, duration: float, dt: float, cells: Any, watched: str) -> str | None:
    """Run for `duration` seconds and one step more, so that the end is recorded too.

    Returns
    -------
    str or None
        Why and when the run stopped early: Ctrl-C, or `watched` of `cells` not finite. What was recorded
        until then is kept.
    """
    import brian2 as b2

    reason: list[str] = []
    at_run_time = b2.get_device() is b2.all_devices["runtime"]
    if at_run_time:
        steps = count()

        @b2.network_operation(clock=cells.clock, when="end")  # on a clock of its own it would cost more
        def guard() -> None:
            if next(steps) % 100 == 0 and not np.isfinite(getattr(cells, f"{watched}_")[:]).all():
                reason.append(f"{watched} is not finite at {float(network.t):g} s: try a step below {dt:g} s")
                network.stop()

        network.add(guard)
    network.run((duration + dt) * b2.second, namespace={})
    if at_run_time and not reason and float(network.t) < duration:  # Brian2 turns Ctrl-C into a stop
        return f"interrupted at {float(network.t):g} s"
    return reason[0] if reason else None
