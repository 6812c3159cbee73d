"""What the neurons and astrocytes of a network did: spikes, releases and mean rates."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from astro_sim.brian_backend import at_run_time
from astro_sim.recorder import Recorder

Array = NDArray[np.float64]
SPIKES, RELEASES = ("spike", "neuron"), ("release", "astrocyte")
LONG_NAMES = {
    SPIKES: ("time of a neuronal spike", "neuron that fired"),
    RELEASES: ("time of a gliotransmitter release", "astrocyte that released"),
}


def activity_template(populations: Mapping[str, str], events: Iterable[tuple[str, str]]) -> xr.Dataset:
    """The variables of a network's activity, without values.

    Parameters
    ----------
    populations : mapping
        Name of the variable that holds a mean rate -> whose rate.
    events : iterable of pairs
        `SPIKES`, `RELEASES`.
    """
    times, cells = np.empty(0), np.empty(0, dtype=np.int32)
    variables: dict[str, Any] = {
        name: ("time", times, {"units": "Hz", "long_name": f"mean rate of {whose} since the sample before"})
        for name, whose in populations.items()
    }
    for event, cell in events:
        when, who = LONG_NAMES[event, cell]
        variables[f"{event}_time"] = (event, times, {"units": "s", "long_name": when})
        variables[f"{event}_{cell}"] = (event, cells, {"units": "1", "long_name": who})
    return xr.Dataset(variables)


class Activity:
    """Passes spikes and releases on to a recorder, and counts the spikes between its rows.

    At run time the monitors are emptied at every row, so that they hold one interval only.

    Parameters
    ----------
    groups : mapping
        `SPIKES`, and perhaps `RELEASES` -> the cells; spikes first.
    populations : mapping
        Name of the variable that holds a mean rate -> first neuron, and the one after the last.
    """

    def __init__(
        self,
        groups: Mapping[tuple[str, str], Any],
        populations: Mapping[str, tuple[int, int]],
        record_dt: float,
        recorder: Recorder,
    ) -> None:
        import brian2 as b2

        self._populations, self._record_dt, self._recorder = populations, record_dt, recorder
        self._kinds = {kind: b2.SpikeMonitor(cells, name=f"{kind[0]}s") for kind, cells in groups.items()}
        self.monitors = tuple(self._kinds.values())

    def since(self) -> dict[str, Any]:
        """Mean rates since the call before; the events since then are passed on."""
        neurons = np.array(self.monitors[0].i)
        self.finish()
        return self._rates(np.count_nonzero, neurons)

    def held(self, time: Array) -> dict[str, Array]:
        """Mean rates before each of the times at which a compiled program has taken a row."""
        spikes = self.monitors[0]
        times, neurons = np.asarray(spikes.t), np.asarray(spikes.i)
        edges = np.append(time - self._record_dt, time[-1:]) - 1e-9
        return self._rates(lambda chosen: np.histogram(times[chosen], edges)[0], neurons)

    def _rates(self, count: Callable[[NDArray[np.bool_]], Any], neurons: NDArray[np.int64]) -> dict[str, Any]:
        """Mean rate of every population from `count`, of the spikes that are chosen."""
        return {
            name: count((neurons >= first) & (neurons < last)) / self._record_dt / (last - first)
            for name, (first, last) in self._populations.items()
        }

    def finish(self) -> None:
        """Pass on the events that the monitors hold."""
        for (event, cell), monitor in self._kinds.items():
            values = {f"{event}_time": np.array(monitor.t), f"{event}_{cell}": np.array(monitor.i)}
            self._recorder.events(event, values)
            if at_run_time():
                monitor.resize(0)
                monitor.variables["N"].set_value(0)
