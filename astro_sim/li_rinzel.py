"""The Li–Rinzel astrocyte whose IP₃ relaxes to rest and jumps at each spike.

    dI/dt = (I_rest − I)/τ_I;   at a spike I += ΔI

with the calcium and gate equations of `astro_sim.astrocyte`. By default it is NEST's ``astrocyte_lr_1994``, with
its constants; with a long τ_I it shows the dynamics of calcium at a constant IP₃.

Sources: Li & Rinzel (1994) J Theor Biol 166:461; Nadkarni & Jung (2003) Phys Rev Lett 91:268101.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from astro_sim.astrocyte import CALCIUM_EQUATIONS, GATE_EQUATIONS, AstrocyteParameters
from astro_sim.brian_backend import SCHEDULE, Rows, brian_target, run
from astro_sim.constants import Constants, concentration, constant
from astro_sim.errors import InputError
from astro_sim.micro_recording import CALCIUM, GATE, IP3, SI, check_times, micro_template
from astro_sim.recorder import recorder, recording_of
from astro_sim.spike_trains import given_trains
from astro_sim.staged_rk4 import staged_rk4

RECORDED = (CALCIUM, IP3, GATE)

RELAXING_IP3 = """
dI/dt = (I_rest - I)/tau_I : mmolar
I_rest : mmolar (constant)
"""


@dataclass(frozen=True)
class RelaxationParameters(Constants):
    """IP₃ that relaxes to its rest."""

    tau_I: float = constant(7.142, "s", "time constant of IP3")
    delta_I: float = constant(5.0, "umol/l", "rise of IP3 at a spike", strict=False)


def nest_astrocyte() -> AstrocyteParameters:
    """The calcium constants of ``astrocyte_lr_1994`` in NEST 3.10 (those of Nadkarni and Jung)."""
    return AstrocyteParameters(rho_A=0.185, Omega_L=0.11, K_P=0.1, d_2=1.049, d_5=0.08234)


@dataclass(frozen=True)
class LiRinzelModel:
    """Constants and the state at time 0, µmol/l; only the calcium and gate constants of `astrocyte` are used.

    Parameters
    ----------
    ip3 : float
        Rest of IP₃, and where it starts.
    """

    astrocyte: AstrocyteParameters = field(default_factory=nest_astrocyte)
    relaxation: RelaxationParameters = field(default_factory=RelaxationParameters)
    ip3: float = concentration(0.16)
    calcium: float = concentration(0.073)
    h: float = 0.793

    def check_step(self, dt: float) -> None:
        """Refuse a step that calcium makes unstable: RK4 below 2.78 of its time constants."""
        fastest = self.astrocyte.calcium_rate
        if dt * fastest > 2.5:
            raise InputError("dt", dt, f"at most {2.5 / fastest:.2g} s: calcium runs at up to {fastest:.3g} /s")


def simulate_li_rinzel(
    model: LiRinzelModel | None = None,
    *,
    ip3: ArrayLike | None = None,
    spike_times: Sequence[ArrayLike] = (),
    duration: float = 60.0,
    dt: float = 1e-2,
    record_dt: float = 0.1,
    backend: str = "brian2",
) -> xr.Dataset:
    """Simulate Li–Rinzel astrocytes side by side.

    Parameters
    ----------
    model : LiRinzelModel, optional
        Default: the constants of NEST's ``astrocyte_lr_1994``.
    ip3 : array_like, shape (n_astrocytes,), optional
        Rest of IP₃ of each astrocyte, µmol/l; default the model's, one astrocyte for each train.
    spike_times : sequence of array_like
        Seconds, one sequence an astrocyte.
    duration, dt, record_dt : float
        Seconds.

    Returns
    -------
    xarray.Dataset
        ``calcium``, ``ip3`` and ``h`` with dimensions (time, astrocyte), and the coordinate ``rest_of_ip3`` of each
        astrocyte; at a spike, the values before it.
    """
    import brian2 as b2

    model = model or LiRinzelModel()
    model.check_step(dt)
    check_times(duration, dt, record_dt)
    rest = np.atleast_1d(np.full(max(1, len(spike_times)), model.ip3) if ip3 is None else np.asarray(ip3, dtype=float))
    trains = given_trains(spike_times or [[]] * len(rest), duration, dt)
    if trains.size != len(rest):
        raise InputError("ip3", f"{len(rest)} values", f"{trains.size}, one for each of spike_times")
    namespace = model.astrocyte.namespace() | model.relaxation.namespace()
    micromolar = SI["umol/l"] * b2.mmolar
    template = micro_template(
        "li-rinzel",
        RECORDED,
        "astrocyte",
        {
            "astrocyte": ("astrocyte", np.arange(len(rest)), {"units": "1"}),
            "rest_of_ip3": ("astrocyte", rest, {"units": "umol/l", "long_name": "rest of IP3"}),
        },
        model,
        {"duration_s": duration} | trains.description(),
        dt_s=dt,
        backend=backend,
    )
    with recorder(template, None) as rows, brian_target(backend, round(duration / dt), 0, "li-rinzel", len(rest)):
        clock = b2.Clock(dt * b2.second)
        cells = b2.NeuronGroup(
            len(rest),
            RELAXING_IP3 + CALCIUM_EQUATIONS + GATE_EQUATIONS,
            method=staged_rk4,
            namespace=namespace,
            clock=clock,
        )
        cells.I = cells.I_rest = rest * micromolar
        cells.C, cells.h = model.calcium * micromolar, model.h
        source = b2.SpikeGeneratorGroup(len(rest), trains.synapse, trains.time * b2.second, clock=clock)
        synapses = b2.Synapses(source, cells, on_pre="I_post += delta_I", namespace=namespace, clock=clock)
        synapses.connect(i=np.arange(len(rest)), j=np.arange(len(rest)))
        recorded = Rows([(cells, RECORDED)], record_dt, rows)
        network = b2.Network(cells, source, synapses, *recorded.objects)
        network.schedule = SCHEDULE
        rows.stopped = run(network, duration, dt, cells, "C")
        recorded.finish()
    return recording_of(rows, None)
