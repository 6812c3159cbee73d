"""The Hebbian write mode as a rule of Lava's learning engine, and its reference in NumPy.

    H += v (φ(k) + φ(R))ᵀ    as    dw = 2^-7·x0·x1·y1 + 2^-7·x0·x1·y2

The values v are presynaptic: a graded spike sets the trace x1 to half its payload. Post-neurons are the features:
each sends its own φ(k) as y1 and what its astrocyte adds, φ(R), as y2, one third factor a post-neuron. Traces have no
sign, so v comes as two populations, max(v, 0) and max(-v, 0), and H is the difference of their weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rmaat_lava.arithmetic import Integers

TRACE_LIMIT = 127
WEIGHT_LIMIT = 255
ACCUMULATOR_LIMIT = 2**15 - 1
ACCUMULATOR_BITS = 7
"""Fraction bits of a weight while products are added to it."""
PRODUCT_SHIFT = 3
"""Two 7-bit traces and a 4-bit factor, brought to the accumulator's 15 bits."""
TRACE_TAU = 65535
"""Steps in which a trace decays by e: the longest that the engine has."""
RULE = "2^-7*x0*x1*y1 + 2^-7*x0*x1*y2"
SEED = 1


def split_signs(v: np.ndarray) -> np.ndarray:
    """Two rectified populations, (steps, 2 values)."""
    return np.concatenate([np.maximum(v, 0), np.maximum(-v, 0)], axis=1)


def join_signs(weights: np.ndarray) -> np.ndarray:
    """H, (features, values), of the weights of both populations."""
    positive, negative = np.split(weights, 2, axis=1)
    return positive - negative


def learn_real(v: np.ndarray, phi_k: np.ndarray, phi_r: np.ndarray) -> np.ndarray:
    """Weights (features, 2 values) after the rule in real numbers.

    Parameters
    ----------
    v : array of shape (steps, values)
    phi_k, phi_r : array of shape (steps, features)
        At least 0.
    """
    kept = np.exp(-2.0 / TRACE_TAU)  # both traces of a product decay once before it is formed
    return 2.0**-7 * kept * (phi_k + phi_r).T @ split_signs(v)


def learn_integer(v: Integers, phi_k: Integers, phi_r: Integers) -> Integers:
    """Weights (features, 2 values) after the rule in integers, bit for bit those of Lava's `fixed_pt` model.

    Traces have 7 bits, weights 8 and a sign; each step adds products to 15 bits and rounds to a weight
    stochastically, with one random number for all synapses; the engine's product of two traces is 2^-3 of the real
    rule's.
    """
    # the engine's generators, each drawn once before the first step; traces draw twice a step
    of_x, of_y, of_weight = (np.random.default_rng(seed) for seed in (SEED, SEED + 2, 2))
    for generator in (of_x, of_y, of_weight):
        generator.random()
    weights = np.zeros((phi_k.shape[1], 2 * v.shape[1]), np.int64)
    for pre, first, second in zip(split_signs(v), phi_k, phi_r, strict=True):
        of_x.random(), of_y.random()
        x, at_random = _decayed(pre, of_x.random()), of_y.random()
        total = weights << ACCUMULATOR_BITS
        for y in (first, second):
            product = (_decayed(y, at_random)[:, None] * x) >> PRODUCT_SHIFT
            total = np.clip(total + product, -ACCUMULATOR_LIMIT - 2, ACCUMULATOR_LIMIT)
        fraction = total / 2**ACCUMULATOR_BITS
        weights = np.floor(fraction).astype(np.int64) + (of_weight.random() < fraction % 1)
        weights = np.clip(weights, 0, WEIGHT_LIMIT)
    return weights


def error_bound(steps: int) -> float:
    """Largest distance, in weights, of `learn_integer` from an eighth of the exact sum, while no weight saturates.

    A step rounds two products down by less than 2^-7 and the weight by less than 1; a trace may lose 1 to its decay,
    which happens once in 65535 / trace steps and is not counted.
    """
    return steps * (1 + 2 * 2.0**-ACCUMULATOR_BITS)


def _decayed(trace: Integers, at_random: float) -> Integers:
    """A trace one step on, rounded stochastically."""
    exact = np.exp(-1 / TRACE_TAU) * trace
    return np.floor(exact).astype(np.int64) + (at_random < exact % 1)


def run_learning(arrays: Mapping[str, np.ndarray], settings: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Job of the child process: weights that Lava's learning engine has after every step.

    Parameters
    ----------
    arrays : mapping
        ``v`` (steps, values), ``phi_k`` and ``phi_r`` (steps, features), as for `learn_integer` or `learn_real`.
    settings : mapping
        ``tag``.
    """
    from lava.proc.io.source import RingBuffer

    from rmaat_lava.processes.plasticity import Features, hebbian_synapses
    from rmaat_lava.worker import record

    steps, features = arrays["phi_k"].shape
    synapses = hebbian_synapses(features, 2 * arrays["v"].shape[1])
    post = Features((features,), synapses.learning_rule, name="features")
    for data, port in (
        (2 * split_signs(arrays["v"]), synapses.s_in),
        (arrays["phi_k"], post.a_in),
        (arrays["phi_r"], post.a_third_factor_in),
    ):
        RingBuffer(data=data.T).s_out.connect(port)
    for out, port in (
        (post.s_out_bap, synapses.s_in_bap),
        (post.s_out_y1, synapses.s_in_y1),
        (post.s_out_y2, synapses.s_in_y2),
        (post.s_out_y3, synapses.s_in_y3),
    ):
        out.connect(port)
    recorded, _ = record(synapses, steps, settings["tag"], {"weights": synapses.weights})
    synapses.stop()
    return recorded
