"""What the neurons and astrocytes of a network did: spikes, releases and mean rates."""

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from astro_sim.brian_backend import at_run_time
from astro_sim.network_model import NetworkModel
from astro_sim.recorder import Recorder

Array = NDArray[np.float64]


def activity_template() -> xr.Dataset:
    """The variables of a network's activity, without values."""
    times, cells = np.empty(0), np.empty(0, dtype=np.int32)

    def rate(kind: str) -> Any:
        return "time", times, {"units": "Hz", "long_name": f"mean rate of the {kind} neurons since the sample before"}

    return xr.Dataset(
        {
            "rate_excitatory": rate("excitatory"),
            "rate_inhibitory": rate("inhibitory"),
            "spike_time": ("spike", times, {"units": "s", "long_name": "time of a neuronal spike"}),
            "spike_neuron": ("spike", cells, {"units": "1", "long_name": "neuron that fired"}),
            "release_time": ("release", times, {"units": "s", "long_name": "time of a gliotransmitter release"}),
            "release_astrocyte": ("release", cells, {"units": "1", "long_name": "astrocyte that released"}),
        }
    )


class Activity:
    """Passes spikes and releases on to a recorder, and counts the spikes between its rows.

    At run time the monitors are emptied at every row, so that they hold one interval only.
    """

    def __init__(
        self, model: NetworkModel, neurons: Any, astrocytes: Any, record_dt: float, recorder: Recorder
    ) -> None:
        import brian2 as b2

        self._model, self._record_dt, self._recorder = model, record_dt, recorder
        self._kinds = {
            ("spike", "neuron"): b2.SpikeMonitor(neurons, name="spikes"),
            ("release", "astrocyte"): b2.SpikeMonitor(astrocytes, name="releases"),
        }
        self.monitors = tuple(self._kinds.values())

    def since(self) -> dict[str, Any]:
        """Mean rates since the call before; the events since then are passed on."""
        spikes = np.array(self.monitors[0].i)
        self.finish()
        return self._rates(np.count_nonzero(spikes < self._model.n_excitatory), len(spikes))

    def held(self, time: Array) -> dict[str, Array]:
        """Mean rates before each of the times at which a compiled program has taken a row."""
        spikes = self.monitors[0]
        edges = np.append(time - self._record_dt, time[-1:]) - 1e-9
        excitatory = np.asarray(spikes.i) < self._model.n_excitatory
        return self._rates(
            *(np.histogram(np.asarray(spikes.t)[which], edges)[0] for which in (excitatory, slice(None)))
        )

    def _rates(self, excitatory: Any, both: Any) -> dict[str, Any]:
        model, dt = self._model, self._record_dt
        return {
            "rate_excitatory": excitatory / dt / model.n_excitatory,
            "rate_inhibitory": (both - excitatory) / dt / model.n_inhibitory,
        }

    def finish(self) -> None:
        """Pass on the events that the monitors hold."""
        for (event, cell), monitor in self._kinds.items():
            values = {f"{event}_time": np.array(monitor.t), f"{event}_{cell}": np.array(monitor.i)}
            self._recorder.events(event, values)
            if at_run_time():
                monitor.resize(0)
                monitor.variables["N"].set_value(0)
