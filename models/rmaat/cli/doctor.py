"""`rmaat doctor`: what is installed, what is missing and what to do about it."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Finding:
    """One line of the report: what was looked at, what was found, and the remedy if one is needed."""

    subject: str
    state: str
    remedy: str = ""


def doctor() -> None:
    """Print versions, Brian2's code generation target, torch devices and Lava's state, with what to do.

    Exits with 1 if something that the toolkit cannot do without is missing.
    """
    required = [*_python(), *_packages()]
    findings = [*required, *_brian2(), *_torch(), *_lava()]
    table = Table("", "what", "state", title="rmaat doctor", title_justify="left")
    for finding in findings:
        table.add_row("[yellow]![/]" if finding.remedy else "[green]✓[/]", finding.subject, finding.state)
    console = Console()
    console.print(table)
    for finding in findings:
        if finding.remedy:  # in one piece whatever the width, to be copied
            console.print(f"{finding.subject}: {finding.remedy}", soft_wrap=True, markup=False, highlight=False)
    if any(finding.remedy for finding in required):
        sys.exit(1)


def _python() -> Iterator[Finding]:
    supported = (3, 11) <= sys.version_info[:2] < (3, 13)
    yield Finding("Python", sys.version.split()[0], "" if supported else "use Python 3.11 or 3.12")


def _packages() -> Iterator[Finding]:
    """Every run-time requirement of the installed distribution against what is there."""
    from packaging.requirements import Requirement

    for line in requires("rmaat") or []:
        requirement = Requirement(line)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        install = f"pip install '{requirement.name}{requirement.specifier}'"
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            yield Finding(requirement.name, "absent", install)
            continue
        fits = requirement.specifier.contains(found, prereleases=True)
        yield Finding(requirement.name, found, "" if fits else install)


def _brian2() -> Iterator[Finding]:
    from brian2.devices.device import auto_target

    from astro_sim.standalone import compiler

    remedy = "" if compiler() else "apt install g++ (macOS: xcode-select --install), for long runs"
    yield Finding("Brian2 code generation", str(auto_target().class_name), remedy)
    yield Finding("Brian2 standalone", compiler() or "no C++ compiler", remedy)


def _torch() -> Iterator[Finding]:
    import torch

    yield Finding("torch CPU threads", str(torch.get_num_threads()))
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        yield Finding("torch GPU", ", ".join(names))
    elif torch.backends.mps.is_available():
        yield Finding("torch GPU", "Apple MPS; training takes the CPU, for want of float64")
    else:
        yield Finding("torch GPU", "none; the CPU is used")


def _lava() -> Iterator[Finding]:
    from rmaat_lava.targets import TARGETS

    for target in TARGETS:
        missing = target.missing()
        yield Finding(f"deploy target {target.name}", "not available" if missing else "available", missing or "")
