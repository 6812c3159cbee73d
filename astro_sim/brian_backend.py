"""Where a Brian2 model runs: NumPy or compiled at run time, or as a C++ program of its own."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_sim.errors import InputError
from astro_sim.micro_recording import SI, Variable
from astro_sim.recorder import Recorder
from astro_sim.standalone import program

Array = NDArray[np.float64]
BACKENDS = ("brian2", "brian2-standalone")

# Up to here the NumPy target is done before a compiler would be: a cold build costs 20–80 s of CPU time.
NUMPY_STEPS = 60_000

# Spikes and crossings act on the state of their own step, before it is advanced: no step of lag.
SCHEDULE = ["start", "thresholds", "synapses", "resets", "groups", "end"]


@contextmanager
def brian_target(backend: str, steps: int | None, seed: int, *structure: Any) -> Iterator[None]:
    """Choose where the Brian2 objects made inside the block will run, and seed their random numbers.

    ``"brian2"`` takes the NumPy target for up to `NUMPY_STEPS` steps, else Brian2's own choice;
    ``"brian2-standalone"`` writes, builds and runs a C++ program, whose results are gone after the block; programs
    of one `structure` share what is compiled already.
    """
    import brian2 as b2

    if backend not in BACKENDS:
        raise InputError("backend", backend, " or ".join(repr(name) for name in BACKENDS))
    if backend == "brian2-standalone":
        with program(*structure):
            b2.seed(seed)
            yield
        return
    target = b2.prefs.codegen.target
    if steps is not None and steps <= NUMPY_STEPS:
        b2.prefs.codegen.target = "numpy"
    try:
        b2.seed(seed)
        yield
    finally:
        b2.prefs.codegen.target = target


def at_run_time() -> bool:
    """Whether Python takes the steps, and not a compiled program."""
    import brian2 as b2

    return b2.get_device() is b2.all_devices["runtime"]


class Rows:
    """Passes the values of groups' variables on to a recorder at every `record_dt` [s], from 0.

    At run time the first group's own clock calls it: a ``StateMonitor`` has a clock of its own, and Brian2 then spends
    on every step more than on recording it.

    Parameters
    ----------
    groups : sequence of (group, tuple of Variable)
        What is recorded. Subexpressions are, like all variables of a compiled program, held until the end.
    also : callable, optional
        Further values of a row, asked for at run time only.
    """

    def __init__(
        self,
        groups: Sequence[tuple[Any, tuple[Variable, ...]]],
        record_dt: float,
        recorder: Recorder,
        also: Callable[[], dict[str, float]] = dict,
    ) -> None:
        import brian2 as b2
        from brian2.core.variables import Subexpression

        self._groups, self._recorder, self._monitors = groups, recorder, list[Any]()
        held = [(item, cells.variables[item.source]) for cells, variables in groups for item in variables]
        if not at_run_time() or any(isinstance(variable, Subexpression) for _, variable in held):
            for number, (cells, variables) in enumerate(groups):
                names = [item.source for item in variables]
                self._monitors.append(
                    b2.StateMonitor(cells, names, record=True, dt=record_dt * b2.second, name=f"rows_{number}")
                )
            self.objects = tuple(self._monitors)
            return
        clock = groups[0][0].clock
        every, steps = round(record_dt / float(clock.dt)), count()
        sources = [(item.name, variable.get_value(), 1 / SI[item.unit]) for item, variable in held]

        def keep() -> None:
            step = next(steps)
            if step % every == 0:
                row: dict[str, Any] = {name: value * scale for name, value, scale in sources}
                recorder.add(step // every * record_dt, row | also())

        self.objects = (b2.NetworkOperation(keep, clock=clock, when="start", name="rows"),)

    def finish(self, also: Callable[[Array], dict[str, Array]] = lambda _: {}) -> None:
        """Pass on what monitors have held, and what else belongs to their times."""
        if self._monitors:
            time = np.asarray(self._monitors[0].t)
            values = {
                item.name: _in_unit(getattr(monitor, f"{item.source}_").T, item.unit)
                for monitor, (_, variables) in zip(self._monitors, self._groups, strict=True)
                for item in variables
            }
            self._recorder.extend(time, values | also(time))


def _in_unit(values: Array, unit: str) -> Array:
    """SI values in `unit`; themselves where nothing changes, as a long run holds many."""
    return values if SI[unit] == 1 else values / SI[unit]


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
    if at_run_time():
        steps = count()

        @b2.network_operation(clock=cells.clock, when="end")  # on a clock of its own it would cost more
        def guard() -> None:
            if next(steps) % 100 == 0 and not np.isfinite(getattr(cells, f"{watched}_")[:]).all():
                reason.append(f"{watched} is not finite at {float(network.t):g} s: try a step below {dt:g} s")
                network.stop()

        network.add(guard)
    network.run((duration + dt) * b2.second, namespace={})
    reached = float(network.t)
    if not at_run_time():
        reached = b2.device._last_run_completed_fraction * (duration + dt)
    if not reason and reached < duration:  # Brian2 turns Ctrl-C into a stop
        return f"interrupted at {reached:g} s"
    return reason[0] if reason else None
