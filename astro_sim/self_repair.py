"""Self-repair: an astrocyte over the synapses of its neurons lets healthy synapses stand in for silent ones.

A neuron that fires releases 2-AG, which weakens its own synapses at once (DSE) and, through the astrocyte's IP₃ and
calcium, makes the astrocyte release glutamate, which strengthens all synapses in common (e-SP):

    dAG/dt = −AG/τ_AG                        AG += ΔAG at each spike of the neuron
    dI/dt = (I* − I)/τ_I + r_I Σ AG          C and h: Li–Rinzel
    dGlu/dt = −Glu/τ_Glu                     Glu += ΔGlu every `interval` while C > C_Θ
    τ_eSP deSP/dt = −eSP + m_eSP Glu
    PR = PR₀ (1 + (eSP − K_AG AG)/100),      in 0 … 1

Where synapses fall silent the neuron fires less, its 2-AG falls and the others release with a higher probability.

Sources: Wade et al. (2011) PLoS ONE 6:e29445; Wade et al. (2012) Front Comput Neurosci 6:76; constants of a published
run with ten synapses (Rastogi et al. 2021 Front Neurosci 14:603796). There ΔAG and ΔGlu are rates times a step of 1 ms,
and a cell once above C_Θ releases for ever: here they are amounts, at any step, and release needs C > C_Θ.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import xarray as xr

from astro_sim.astrocyte import CALCIUM_EQUATIONS, GATE_EQUATIONS, AstrocyteParameters
from astro_sim.brian_backend import SCHEDULE, Rows, brian_target, run
from astro_sim.constants import Constants, concentration, constant
from astro_sim.errors import InputError
from astro_sim.micro_recording import CALCIUM, IP3, SI, Variable, check_times, micro_template
from astro_sim.recorder import recorder, recording_of
from astro_sim.spike_trains import check_trials
from astro_sim.staged_rk4 import staged_rk4

ASTROCYTE_RECORDED = (
    CALCIUM,
    IP3,
    Variable("eSP", "potentiation", "percent", "potentiation by the astrocyte's glutamate (e-SP)"),
)
NEURON_RECORDED = (
    Variable("AG", "two_ag", "umol/l", "2-AG that the neuron has released"),
    Variable("n_spikes", "n_spikes", "1", "spikes of the neuron so far"),
    Variable("PR", "probability", "1", "release probability of the neuron's healthy synapses"),
)


@dataclass(frozen=True)
class RepairParameters(Constants):
    """Constants of the two pathways and of the neurons; seconds, µmol/l and volts."""

    PR_0: float = constant(0.3, "1", "release probability without either pathway", strict=False, high=1)
    tau_AG: float = constant(10.0, "s", "decay of 2-AG")
    delta_AG: float = constant(0.8e-3, "umol/l", "2-AG released by a spike", strict=False)
    K_AG: float = constant(1000.0, "l/umol", "depression, in percent, by 2-AG (DSE)", strict=False)
    r_I: float = constant(0.5, "1/s", "production of IP3 by 2-AG", strict=False)
    tau_I: float = constant(7.0, "s", "time constant of IP3")
    I_star: float = constant(0.16, "umol/l", "rest of IP3, and IP3 at time 0", strict=False)
    C_Theta: float = constant(0.3, "umol/l", "calcium threshold of release")
    interval: float = constant(0.3, "s", "time between releases of glutamate")
    delta_Glu: float = constant(0.01, "umol/l", "glutamate of a release", strict=False)
    tau_Glu: float = constant(0.1, "s", "decay of glutamate")
    m_eSP: float = constant(5.5e4, "l/umol", "potentiation, in percent, by glutamate (e-SP)", strict=False)
    tau_eSP: float = constant(40.0, "s", "time constant of potentiation")
    jump: float = constant(0.133, "V", "depolarisation by a release: 1.2 GOhm, 6650 pA for 1 ms, 60 ms", strict=False)
    tau_m: float = constant(60e-3, "s", "membrane time constant")
    V_th: float = constant(9e-3, "V", "threshold above rest")
    tau_r: float = constant(2e-3, "s", "refractory period", strict=False)


def repair_astrocyte() -> AstrocyteParameters:
    """The calcium constants of the published run."""
    return AstrocyteParameters(rho_A=0.185, Omega_L=0.11, O_P=0.8, K_P=0.1, d_2=1.049, d_5=0.08234)


@dataclass(frozen=True)
class SelfRepairModel:
    """Neurons that share one astrocyte, and the synapses that fall silent at the last of them.

    Parameters
    ----------
    n_neurons, n_synapses : int
        Neurons of an astrocyte, and synapses of each neuron, at least 1.
    rate_hz : float
        Poisson rate of each presynaptic fibre, Hz.
    silent : float
        Share of the last neuron's synapses that stop releasing at `fault_s` seconds.
    calcium, h : float
        State of the astrocyte at time 0, µmol/l and a fraction.
    """

    astrocyte: AstrocyteParameters = field(default_factory=repair_astrocyte)
    repair: RepairParameters = field(default_factory=RepairParameters)
    n_neurons: int = 2
    n_synapses: int = 10
    rate_hz: float = 10.0
    silent: float = 0.7
    fault_s: float = 200.0
    calcium: float = concentration(0.071006)
    h: float = 0.7791

    def __post_init__(self) -> None:
        for name in ("n_neurons", "n_synapses"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise InputError(name, getattr(self, name), "a whole number >= 1")
        for name, low, high in (("silent", 0, 1), ("h", 0, 1), ("rate_hz", 0, 1e6), ("fault_s", 0, np.inf)):
            if not low <= getattr(self, name) <= high:
                raise InputError(name, getattr(self, name), f"a number from {low} to {high:g}")
        if not 0 <= self.calcium < np.inf:
            raise InputError("calcium", self.calcium, "a concentration >= 0 umol/l")
        if self.astrocyte.noise > 0:
            raise InputError("noise", self.astrocyte.noise, "0: this astrocyte is deterministic")

    @property
    def n_silent(self) -> int:
        """Synapses of the last neuron that fall silent."""
        return round(self.silent * self.n_synapses)

    def check_step(self, dt: float) -> None:
        """Refuse a step that RK4 makes unstable, that skips spikes, or that does not divide the interval."""
        fastest = max(self.astrocyte.calcium_rate, 1 / self.repair.tau_m, 1 / self.repair.tau_Glu)
        if dt * fastest > 2.5:
            raise InputError("dt", dt, f"at most {2.5 / fastest:.2g} s: the fastest process runs at {fastest:.3g} /s")
        if dt * self.rate_hz > 0.1:
            raise InputError("dt", dt, f"at most {0.1 / self.rate_hz:.2g} s, a tenth of the presynaptic interval")
        releases = self.repair.interval / dt if dt > 0 else 0.0
        if releases < 0.5 or abs(releases - round(releases)) > 1e-6:
            raise InputError("dt", dt, f"a divisor of the interval of {self.repair.interval:g} s")

    def balance(self, healthy: int | None = None, *, releasing: bool = True) -> tuple[float, float]:
        """Rate [Hz] and release probability at which a neuron with so many healthy synapses settles.

        Mean rates, every release a spike unless the neuron is refractory: the root of f (1 + r τ_r) = r with
        r = n ν PR(f). `releasing`: whether the astrocyte releases glutamate.
        """
        from scipy.optimize import brentq

        p, synapses = self.repair, self.n_synapses if healthy is None else healthy
        strengthened = p.m_eSP * p.delta_Glu * p.tau_Glu / p.interval if releasing else 0.0

        def probability(rate: float) -> float:
            change = strengthened - p.K_AG * p.delta_AG * p.tau_AG * rate
            return float(np.clip(p.PR_0 * (1 + change / 100), 0, 1))

        def surplus(rate: float) -> float:
            releases = synapses * self.rate_hz * probability(rate)
            return releases - rate * (1 + releases * p.tau_r)

        rate = float(brentq(surplus, 0.0, synapses * self.rate_hz + 1.0))
        return rate, probability(rate)


NEURON_EQUATIONS = """
dv/dt = -v/tau_m : volt (unless refractory)
dAG/dt = -AG/tau_AG : mmolar
eSP : 1 (linked)
PR : 1
n_spikes : 1
"""

RELEASE_PROBABILITY = "PR = clip(PR_0*(1 + (eSP - K_AG*AG)/100), 0, 1)"

# A fibre's spikes are Poisson, and so are those of them that release.
FIBRE_EQUATIONS = """
faulty : 1 (constant)
PR : 1 (linked)
works = 1 - faulty*int(t >= fault) : 1
"""
FIBRE_RELEASES = "rand() < rate*dt*PR*works"

REPAIR_EQUATIONS = """
dI/dt = (I_star - I)/tau_I + r_I*AG_sum : mmolar
dGlu/dt = -Glu/tau_Glu : mmolar
deSP/dt = (m_eSP*Glu - eSP)/tau_eSP : 1
AG_sum : mmolar
"""


def simulate_self_repair(
    model: SelfRepairModel | None = None,
    *,
    trials: int = 1,
    duration: float = 400.0,
    dt: float = 1e-3,
    record_dt: float = 0.5,
    backend: str = "brian2",
    seed: int = 0,
    out: str | Path | None = None,
) -> xr.Dataset:
    """Simulate astrocytes with the neurons of each, before and after synapses of the last neuron fall silent.

    Parameters
    ----------
    model : SelfRepairModel, optional
        Default: two neurons of ten synapses, seven of which fall silent at the second after 200 s.
    trials : int
        Independent astrocytes, at least 1.
    duration, dt, record_dt : float
        Seconds.
    backend : str
        ``"brian2"`` or ``"brian2-standalone"``.
    seed : int
        Fixes trains and releases on a backend.
    out : path, optional
        Stream the rows to this NetCDF file as they come, instead of holding them in memory.

    Returns
    -------
    xarray.Dataset
        ``calcium``, ``ip3`` and ``potentiation`` (time, astrocyte); ``two_ag``, ``n_spikes`` and ``probability``
        (time, neuron), the neurons of an astrocyte in a row, its number in ``astrocyte_of``.
    """
    import brian2 as b2

    model = model or SelfRepairModel()
    model.check_step(dt)
    check_times(duration, dt, record_dt)
    check_trials(trials)
    n, per_neuron, p = trials * model.n_neurons, model.n_synapses, model.repair
    owner = np.arange(n) // model.n_neurons
    namespace = model.astrocyte.namespace() | p.namespace()
    namespace |= {"fault": model.fault_s * b2.second, "rate": model.rate_hz * b2.Hz}
    settings = {"seed": seed, "dt_s": dt, "backend": backend}
    protocol = {"kind": "poisson", "rate_hz": model.rate_hz, "fault_s": model.fault_s, "duration_s": duration}
    whose = {"units": "1", "long_name": "astrocyte of the neuron"}
    axes = {
        "astrocyte": {"astrocyte": ("astrocyte", np.arange(trials), {"units": "1"})},
        "neuron": {
            "neuron": ("neuron", np.arange(n), {"units": "1"}),
            "astrocyte_of": ("neuron", owner, whose),
        },
    }
    cells_part = micro_template("self-repair", ASTROCYTE_RECORDED, "astrocyte", axes["astrocyte"], model, protocol)
    neuron_part = micro_template("self-repair", NEURON_RECORDED, "neuron", axes["neuron"], model, protocol, **settings)
    template = cells_part.merge(neuron_part).assign_attrs(neuron_part.attrs)
    path = Path(out) if out is not None else None
    structure = ("self-repair", trials, model.n_neurons, per_neuron)
    with recorder(template, path) as rows, brian_target(backend, round(duration / dt), seed, *structure):
        clock = b2.Clock(dt * b2.second)
        common = {"namespace": namespace, "clock": clock}
        cells = b2.NeuronGroup(
            trials,
            REPAIR_EQUATIONS + CALCIUM_EQUATIONS + GATE_EQUATIONS,
            method=staged_rk4,
            name="astrocytes",
            **common,
        )
        cells.C, cells.I = (value * SI["umol/l"] * b2.mmolar for value in (model.calcium, p.I_star))
        cells.h = model.h
        cells.run_regularly("Glu += delta_Glu*int(C > C_Theta)", dt=p.interval * b2.second, name="releases")
        neurons = b2.NeuronGroup(
            n,
            NEURON_EQUATIONS,
            threshold="v > V_th",
            reset="v = 0*volt; AG += delta_AG; n_spikes += 1",
            refractory="tau_r",
            method="exponential_euler",  # exact for decays on their own, and found without sympy's matrix exponential
            name="neurons",
            **common,
        )
        neurons.eSP = b2.linked_var(cells, "eSP", index=owner)
        neurons.PR = p.PR_0
        neurons.run_regularly(RELEASE_PROBABILITY, clock=clock, when="end", name="probability")
        target = np.repeat(np.arange(n), per_neuron)
        fibres = b2.NeuronGroup(n * per_neuron, FIBRE_EQUATIONS, threshold=FIBRE_RELEASES, name="fibres", **common)
        fibres.PR = b2.linked_var(neurons, "PR", index=target)
        last = target % model.n_neurons == model.n_neurons - 1
        fibres.faulty = last & (np.arange(n * per_neuron) % per_neuron < model.n_silent)
        synapses = b2.Synapses(fibres, neurons, on_pre="v_post += jump", name="synapses", **common)
        synapses.connect(i=np.arange(n * per_neuron), j=target)
        pool = b2.Synapses(neurons, cells, "AG_sum_post = AG_pre : mmolar (summed)", name="pool", **common)
        pool.connect(i=np.arange(n), j=owner)
        recorded = Rows([(cells, ASTROCYTE_RECORDED), (neurons, NEURON_RECORDED)], record_dt, rows)
        network = b2.Network(cells, neurons, fibres, synapses, pool, *recorded.objects)
        network.schedule = SCHEDULE
        rows.stopped = run(network, duration, dt, cells, "C")
        recorded.finish()
    return recording_of(rows, path)
