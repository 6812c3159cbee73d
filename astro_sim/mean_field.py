"""Closed forms of the synapse: what a simulation of it has to reproduce.

With U = U_0*, no gliotransmission unless stated. Sources: Tsodyks, Pawelzik & Markram (1998) Neural Comput
10:821; De Pittà et al. (2011) PLoS Comput Biol 7:e1002293.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astro_sim.gliotransmission import GliotransmissionParameters
from astro_sim.synapse import SynapseParameters

Array = NDArray[np.float64]


def paired_pulse_ratio(synapse: SynapseParameters, interval: ArrayLike) -> Array:
    """Second release over the first, from rest: [1 + (1−U) e^(−Ω_f Δ)] [1 − U e^(−Ω_d Δ)], exact."""
    u, delta = synapse.U_0_star, np.asarray(interval, dtype=float)
    return (1 + (1 - u) * np.exp(-synapse.Omega_f * delta)) * (1 - u * np.exp(-synapse.Omega_d * delta))


def regular_release(synapse: SynapseParameters, rate_hz: ArrayLike) -> Array:
    """Stationary release r_S at each spike of a regular train, exact."""
    u, rate = synapse.U_0_star, np.asarray(rate_hz, dtype=float)
    facilitated = u / (1 - (1 - u) * np.exp(-synapse.Omega_f / rate))
    recovered = np.exp(-synapse.Omega_d / rate)
    return facilitated * (1 - recovered) / (1 - (1 - facilitated) * recovered)


def poisson_release(synapse: SynapseParameters, rate_hz: ArrayLike) -> Array:
    """Mean release r_S at the spikes of a Poisson train, u and x taken as independent (mean field)."""
    u, rate = synapse.U_0_star, np.asarray(rate_hz, dtype=float)
    used = u * (synapse.Omega_f + rate) / (synapse.Omega_f + u * rate)
    return used * synapse.Omega_d / (synapse.Omega_d + used * rate)


def threshold_probability(synapse: SynapseParameters) -> float:
    """Release probability above which a synapse depresses at every rate: Ω_d/(Ω_d + Ω_f)."""
    return synapse.Omega_d / (synapse.Omega_d + synapse.Omega_f)


def limiting_rate(synapse: SynapseParameters) -> float:
    """Rate of largest mean release, Hz; 0 for a synapse above `threshold_probability`."""
    u, f, d = synapse.U_0_star, synapse.Omega_f, synapse.Omega_d
    return float(max(0.0, f * (np.sqrt(d * (1 - u) / (f * u)) - 1)))


def bound_by_release(synapse: SynapseParameters, gliotransmission: GliotransmissionParameters) -> float:
    """Γ_S just after one gliotransmitter release from rest, unbinding neglected: 1 − exp(−O_G ∫G_A dt)."""
    g = gliotransmission
    return float(1 - np.exp(-synapse.O_G * g.rho_e * g.G_T * g.U_A / g.Omega_e))


def modulated_probability(
    synapse: SynapseParameters, gliotransmission: GliotransmissionParameters, release_rate_hz: ArrayLike
) -> Array:
    """Mean U_0 under Poisson gliotransmitter releases that each find the astrocyte's store full.

    A release multiplies 1 − Γ_S by the fraction that it leaves unbound, so its mean is
    Ω_G/(Ω_G + ν Γ₁) with Γ₁ of `bound_by_release`. This is exact for the jump process; averaging G_A instead
    (the mean field) is not, because the jumps are large.
    """
    rate = np.asarray(release_rate_hz, dtype=float)
    free = synapse.Omega_G / (synapse.Omega_G + rate * bound_by_release(synapse, gliotransmission))
    return free * synapse.U_0_star + (1 - free) * synapse.alpha
