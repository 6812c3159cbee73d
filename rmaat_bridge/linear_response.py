"""Retention factors and kernel of the macro model in closed form, for small activity (slope 1 everywhere).

    τ_s   ds/dt   = −β s + q(t) + p^s
    τ_p^s dp^s/dt = −γ^s p^s + T p^s + drive s
    τ_p^l dp^l/dt = −γ^l p^l + s

with q the product of the two neurons' activities. T = T₀ A ⊗ A (``exponential-l1``) has the eigenvectors of
A in either direction, so that every mode is a linear system of three equations that one matrix exponential
carries through the pulse and another through the pause. Thousands of sets of constants take seconds, which
is what a sensitivity analysis needs; tests compare with the simulation.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import expm

from astro_sim.macro import DEFAULT_AMPLITUDE

Array = NDArray[np.float64]
Constants = Mapping[str, Array]
# Input of the default protocol, one number a neuron.
AMPLITUDE = np.array(DEFAULT_AMPLITUDE)


def retention_response(constants: Constants, n_cycles: int) -> Array:
    """Retention factors RF(1 ... n_cycles, n_cycles) of three neurons, shape (samples, n_cycles).

    Parameters
    ----------
    constants : mapping of arrays, each of shape (samples,)
        tau_s, tau_p_short, tau_p_long, cycle_s, on_s [s], leak_s, leak_p_short, leak_p_long, drive, coupling,
        coupling_length [grid steps].
    n_cycles : int
    """
    c = {name: values[:, None] for name, values in constants.items()}
    values, vectors = np.linalg.eigh(_decay(constants["coupling_length"], AMPLITUDE.size))
    transport = c["coupling"] * _outer(values, values)
    source = np.einsum("sik,i->sk", vectors, AMPLITUDE)
    mean = vectors.sum(axis=1)
    weight = _outer(source, source) * _outer(mean, mean)  # of each mode in the mean over the synapses
    system = np.zeros((*transport.shape, 4, 4))  # s, p_short, p_long, and the constant input
    system[..., 0, 0] = -c["leak_s"] / c["tau_s"]
    system[..., 0, 1] = system[..., 0, 3] = 1 / c["tau_s"]
    system[..., 1, 0] = c["drive"] / c["tau_p_short"]
    system[..., 1, 1] = (transport - c["leak_p_short"]) / c["tau_p_short"]
    system[..., 2, 0] = 1 / c["tau_p_long"]
    system[..., 2, 2] = -c["leak_p_long"] / c["tau_p_long"]
    pulse = expm(system * c["on_s"][..., None, None])
    pause = expm(system * (c["cycle_s"] - c["on_s"])[..., None, None])
    state = np.zeros(system.shape[:-1])
    p_long = np.zeros((n_cycles + 1, len(weight)))
    for k in range(n_cycles):
        state[..., 3] = 1.0
        state = np.einsum("smij,smj->smi", pulse, state)
        state[..., 3] = 0.0
        state = np.einsum("smij,smj->smi", pause, state)
        p_long[k + 1] = (weight * state[..., 2]).sum(axis=1)
    return np.diff(p_long, axis=0).T / p_long[-1][:, None]


def kernel_response(constants: Constants, n_neurons: int = 15) -> Array:
    """Stationary answer of p_short to a point drive at distances 0, 1, ... along a row, relative to that at 0.

    Returns
    -------
    ndarray, shape (samples, n_neurons // 2 + 1)
    """
    loop = constants["drive"] / constants["leak_s"]
    leak = (constants["leak_p_short"] - loop)[:, None]
    values, vectors = np.linalg.eigh(_decay(constants["coupling_length"], n_neurons))
    gain = 1 / (leak - constants["coupling"][:, None] * _outer(values, values))
    middle = n_neurons // 2
    centre = vectors[:, middle]  # (samples, modes)
    gain = gain.reshape(-1, n_neurons, n_neurons)
    row = np.einsum("sa,sab,sb,sjb->sj", centre**2, gain, centre, vectors)[:, middle:]
    return row / row[:, :1]


def response_length(profile: Array) -> Array:
    """Decay length [grid steps] of the answers at distances 1 to 4, by a straight line through their logarithms."""
    distance = np.arange(4) - 1.5
    return -np.sum(distance**2) / (np.log(profile[:, 1:5]) @ distance)


def _decay(length: Array, n: int) -> Array:
    """A_ik = exp(−|i−k|/ℓ), shape (samples, n, n)."""
    position = np.arange(n)
    return np.exp(-np.abs(position[:, None] - position) / length[:, None, None])


def _outer(a: Array, b: Array) -> Array:
    """All products of two rows, flattened: shape (samples, n * n)."""
    return (a[:, :, None] * b[:, None, :]).reshape(len(a), -1)
