"""Long-term plasticity of a tripartite synapse, told twice: by spine calcium, and by the macro model's p_long.

Both run on the same synapse and the same spikes.

*Biophysics.* The calcium-gated variable ρ of Graupner and Brunel, whose potentiation an astrocyte gates:

    dc/dt = −c/τ_Ca;   c += C_pre r_S/U_0* a delay D after a presynaptic spike;   c += C_post at a postsynaptic one
    τ_ρ dρ/dt = −ρ(1−ρ)(ρ*−ρ) + γ_p (1−ρ) Θ(c−θ_p) A − γ_d ρ Θ(c−θ_d)
    A = 1 − g (1 − C⁴/(C⁴ + K_A⁴))

*Macro model.* The long-term process of the same synapse, of strength s:

    ds/dt = −s/τ_s,   s += r_S at a spike;      τ_p_long dp_long/dt = −γˡ p_long + tanh(s)

The form of the gate is this project's: potentiation needs astrocytic calcium, and not where D-serine is supplied
(g = 0), after Henneberger et al. (2010) Nature 463:232. So is the influx in proportion to the release r_S.
Source of ρ and its constants: Graupner & Brunel (2012) PNAS 109:3991, parameter set DP.
"""

from dataclasses import dataclass, field

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from astro_sim.brian_backend import SCHEDULE, Rows, brian_target, run
from astro_sim.constants import Constants, constant
from astro_sim.errors import InputError
from astro_sim.micro_recording import CALCIUM, Variable, check_times, micro_template
from astro_sim.recorder import recorder, recording_of
from astro_sim.spike_trains import SpikeTrains, check_trials, poisson_trains, regular_trains
from astro_sim.synapse import CLEFT_RELEASE, SynapseParameters, release
from astro_sim.tripartite import tripartite_objects
from astro_sim.tripartite_model import TripartiteModel

RECORDED = (
    CALCIUM,
    Variable("rho", "rho", "1", "synaptic efficacy of the calcium-gated rule"),
    Variable("p_long", "p_long", "1", "long-term astrocytic process (LTP) of the macro model"),
    Variable("gate", "gate", "1", "astrocytic gate of potentiation"),
    Variable("n_events", "n_events", "1", "gliotransmitter releases so far"),
)

PLASTICITY_EQUATIONS = """
dc/dt = -c/tau_Ca : 1
drho/dt = (bistable + potentiation - depression)/tau_rho : 1
bistable = -rho*(1 - rho)*(rho_star - rho) : 1
potentiation = gamma_p*(1 - rho)*int(c > theta_p)*gate : 1
depression = gamma_d*rho*int(c > theta_d) : 1
gate = 1 - g_A*(1 - C**4/(C**4 + K_A**4)) : 1
ds/dt = -s/tau_s : 1
dp_long/dt = (tanh(s) - leak_p_long*p_long)/tau_p_long : 1
n_events : 1
"""

PATHWAYS = {
    "transmission": release("Gamma_S_post") + CLEFT_RELEASE + "s_post += r_S",
    "influx": "c_post += jump_at_presynaptic*r_S/U_0_star",
    "postsynaptic": "c_post += jump_at_postsynaptic",
}


@dataclass(frozen=True)
class PlasticityParameters(Constants):
    """Constants of ρ, of its gate, and of the macro model's long-term process."""

    tau_Ca: float = constant(20e-3, "s", "decay of calcium in the spine")
    jump_at_presynaptic: float = constant(1.0, "1", "calcium of a presynaptic spike at a rested synapse", strict=False)
    jump_at_postsynaptic: float = constant(2.0, "1", "calcium of a postsynaptic spike", strict=False)
    D: float = constant(13.7e-3, "s", "delay of the presynaptic calcium", strict=False)
    theta_d: float = constant(1.0, "1", "calcium threshold of depression")
    theta_p: float = constant(1.3, "1", "calcium threshold of potentiation")
    gamma_d: float = constant(200.0, "1", "rate of depression", strict=False)
    gamma_p: float = constant(321.808, "1", "rate of potentiation", strict=False)
    rho_star: float = constant(0.5, "1", "boundary of the two stable states", strict=False)
    tau_rho: float = constant(150.0, "s", "time constant of consolidation")
    g_A: float = constant(1.0, "1", "share of potentiation that needs the astrocyte", strict=False)
    K_A: float = constant(0.5, "umol/l", "astrocytic calcium that half opens the gate")
    tau_s: float = constant(0.5, "s", "decay of synaptic strength in the macro model")
    tau_p_long: float = constant(120.0, "s", "long-term time constant of the macro model")
    leak_p_long: float = constant(1.0, "1", "leak of the long-term process")


@dataclass(frozen=True)
class PlasticityModel:
    """A tripartite synapse with slow plasticity.

    By default the astrocyte gates potentiation and nothing else (O_G = 0): release-decreasing gliotransmission would
    silence the synapse within the first cycle, and with it both accounts.

    Parameters
    ----------
    lag_s : float
        The postsynaptic neuron fires this long after each presynaptic spike, seconds ≥ 0.
    """

    tripartite: TripartiteModel = field(default_factory=lambda: TripartiteModel(SynapseParameters(O_G=0.0)))
    plasticity: PlasticityParameters = field(default_factory=PlasticityParameters)
    lag_s: float = 0.01

    def __post_init__(self) -> None:
        if not 0 <= self.lag_s < float("inf"):
            raise InputError("lag_s", self.lag_s, "a lag >= 0 s")
        if self.plasticity.g_A > 1:
            raise InputError("g_A", self.plasticity.g_A, "a share from 0 to 1")


def simulate_plasticity(
    model: PlasticityModel | None = None,
    *,
    rate_hz: float = 1.0,
    train: str = "poisson",
    trials: int = 10,
    n_cycles: int = 6,
    cycle_s: float = 45.0,
    on_s: float = 15.0,
    dt: float = 2e-3,
    record_dt: float = 0.5,
    backend: str = "brian2",
    seed: int = 0,
) -> xr.Dataset:
    """Drive synapses in repeated cycles and record both accounts of their long-term change.

    Parameters
    ----------
    rate_hz : float
        Presynaptic rate during the first `on_s` of each cycle; silence for the rest of `cycle_s`.
    train : str
        ``"poisson"``, or ``"regular"``: the same spikes in each cycle.
    trials : int
        Number of synapses, each with its own train.
    n_cycles, cycle_s, on_s, dt, record_dt : int and float
        Seconds; ``cycle_s`` is a multiple of `record_dt`.

    Returns
    -------
    xarray.Dataset
        ``rho``, ``p_long``, ``calcium``, ``gate`` and ``n_events`` with dimensions (time, synapse).
    """
    import brian2 as b2

    model = model or PlasticityModel()
    if not (0 < on_s <= cycle_s and n_cycles >= 1):
        raise InputError("on_s", on_s, f"a pulse of more than 0 s and at most the cycle of {cycle_s:g} s")
    model.tripartite.check_step(dt)
    check_times(cycle_s, dt, record_dt)
    check_trials(trials)
    trains = _cycled(rate_hz, train, trials, n_cycles, cycle_s, on_s, dt, seed)
    duration = n_cycles * cycle_s
    delays = {"influx": model.plasticity.D * b2.second, "postsynaptic": model.lag_s * b2.second}
    template = micro_template(
        "plasticity",
        RECORDED,
        "synapse",
        {"synapse": ("synapse", np.arange(trials), {"units": "1"})},
        model,
        {"kind": "stp_cycles", "n_cycles": n_cycles, "cycle_s": cycle_s, "on_s": on_s, "rate_hz": rate_hz},
        seed=seed,
        dt_s=dt,
        backend=backend,
    )
    structure = ("plasticity", trials, model.tripartite.equations())
    with recorder(template, None) as rows, brian_target(backend, round(duration / dt), seed, *structure):
        clock = b2.Clock(dt * b2.second)
        objects = tripartite_objects(
            model.tripartite,
            trains,
            clock,
            PLASTICITY_EQUATIONS,
            PATHWAYS,
            delay=delays,
            namespace=model.tripartite.namespace() | model.plasticity.namespace(),
        )
        recorded = Rows([(objects[0], RECORDED)], record_dt, rows)
        network = b2.Network(*objects, *recorded.objects)
        network.schedule = SCHEDULE
        rows.stopped = run(network, duration, dt, objects[0], "C")
        recorded.finish()
    return recording_of(rows, None)


def retention(trace: xr.DataArray, n_cycles: int, cycle_s: float) -> NDArray[np.float64]:
    """Retention factors of a long-term variable: each cycle's increment over the total, shape (n_cycles,).

    RF(t, T) = Δp_t / Σ Δp_i with Δp_t the change in cycle t, averaged over synapses first
    (Mia, Bal, Sengupta, arXiv 2601.00426).
    """
    ends = trace.mean("synapse").sel(time=np.arange(n_cycles + 1) * cycle_s, method="nearest").values
    return np.diff(ends) / (ends[-1] - ends[0])


def equivalent_tau(factors: NDArray[np.float64], cycle_s: float) -> float:
    """τ_p_long/γˡ, seconds, whose increments, falling by exp(−cycle_s/τ), fit the logarithm of these factors."""
    cycles = np.arange(len(factors))[factors > 0]
    slope = np.polyfit(cycles, np.log(factors[factors > 0]), 1)[0]
    return float(-cycle_s / slope)


def _cycled(
    rate_hz: float, train: str, trials: int, n_cycles: int, cycle_s: float, on_s: float, dt: float, seed: int
) -> SpikeTrains:
    """Trains that are on for the first `on_s` of each cycle."""
    if train == "poisson":
        whole = poisson_trains(np.full(trials, rate_hz), n_cycles * cycle_s, dt, seed)
        on = (whole.time + 0.5 * dt) % cycle_s < on_s
        return SpikeTrains(whole.synapse[on], whole.time[on], trials)
    if train == "regular":
        one = regular_trains(np.full(trials, rate_hz), on_s, dt)
        starts = np.repeat(np.arange(n_cycles) * cycle_s, len(one.time))
        return SpikeTrains(np.tile(one.synapse, n_cycles), np.tile(one.time, n_cycles) + starts, trials)
    raise InputError("train", train, "'poisson' or 'regular'")
