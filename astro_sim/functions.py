"""The monotone functions that θ, g, ψ and κ of the macro model are chosen from, by name."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Monotone:
    """A monotone function with what the equations, the energy and the stability margin need of it.

    Parameters
    ----------
    value : callable
        f(z), elementwise.
    slope : callable
        df/dz, elementwise (the right-hand derivative at a kink).
    antiderivative : callable
        L(z) with dL/dz = f and L(0) = 0, elementwise.
    expression : str
        f as a Brian2 expression, with ``{z}`` in place of its argument.
    """

    value: Callable[[Array], Array]
    slope: Callable[[Array], Array]
    antiderivative: Callable[[Array], Array]
    expression: str


def _log_cosh(z: Array) -> Array:
    return np.abs(z) + np.log1p(np.exp(-2 * np.abs(z))) - np.log(2)


def _logistic(z: Array) -> Array:
    return 0.5 * (1 + np.tanh(0.5 * z))


FUNCTIONS: dict[str, Monotone] = {
    "identity": Monotone(lambda z: z, np.ones_like, lambda z: z**2 / 2, "{z}"),
    "tanh": Monotone(np.tanh, lambda z: 1 - np.tanh(z) ** 2, _log_cosh, "tanh({z})"),
    "relu": Monotone(
        lambda z: np.maximum(z, 0.0),
        lambda z: (z >= 0).astype(float),
        lambda z: np.maximum(z, 0.0) ** 2 / 2,
        "0.5*({z} + abs({z}))",
    ),
    "tanh-relu": Monotone(
        lambda z: np.tanh(np.maximum(z, 0.0)),
        lambda z: (z >= 0) * (1 - np.tanh(z) ** 2),
        lambda z: _log_cosh(np.maximum(z, 0.0)),
        "tanh(0.5*({z} + abs({z})))",
    ),
    "sigmoid": Monotone(
        _logistic,
        lambda z: _logistic(z) * _logistic(-z),
        lambda z: np.logaddexp(0, z) - np.log(2),
        "1/(1 + exp(-({z})))",
    ),
}
