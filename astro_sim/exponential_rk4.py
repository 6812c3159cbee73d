"""Fourth-order exponential Runge–Kutta steps whose every stage sees the coupling of that stage.

For du/dt = −r u + N(u), with the leak rate r of each variable treated exactly (Cox & Matthews, *Exponential
time differencing for stiff systems*, J. Comput. Phys. 176, 430, 2002, equations 26–29):

    u₂ = e^{−rh/2} u + a N(u)          a = (h/2) φ₁(−rh/2)
    u₃ = e^{−rh/2} u + a N(u₂)
    u₄ = e^{−rh/2} u₂ + a (2N(u₃) − N(u))
    u⁺ = e^{−rh} u + h (b₁ N(u) + b₂ (N(u₂) + N(u₃)) + b₄ N(u₄))
    b₁ = φ₁ − 3φ₂ + 4φ₃,   b₂ = 2φ₂ − 4φ₃,   b₄ = −φ₂ + 4φ₃      at −rh

With r = 0 this is the classical fourth-order Runge–Kutta rule.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import exp, expm1
from typing import Any

from astro_sim.staged_rk4 import needed_subexpressions, stage_lines


def phi(k: int, z: float) -> float:
    """φ_k(z) = ∫₀¹ e^{(1−t)z} t^{k−1}/(k−1)! dt for k >= 1 (φ₁ = (e^z − 1)/z), to rounding for every z."""
    if abs(z) > 1:
        value, factorial = expm1(z) / z, 1.0
        for j in range(1, k):
            factorial *= j
            value = (value - 1 / factorial) / z
        return value
    term, total = 1.0, 0.0
    for j in range(1, k + 1):
        term /= j
    for j in range(k + 1, k + 25):
        total += term
        term *= z / j
    return total


@dataclass(frozen=True)
class StepCoefficients:
    """Numbers of one step of length h for a variable with leak rate r, named as in the module's docstring."""

    half: float
    full: float
    a: float
    b1: float
    b2: float
    b4: float

    @classmethod
    def of(cls, rate: float, h: float) -> "StepCoefficients":
        """Coefficients for a leak `rate` [1/s] and a step `h` [s]."""
        z = -rate * h
        one, two, three = (phi(k, z) for k in (1, 2, 3))
        return cls(
            half=exp(z / 2),
            full=exp(z),
            a=h / 2 * phi(1, z / 2),
            b1=h * (one - 3 * two + 4 * three),
            b2=h * (2 * two - 4 * three),
            b4=h * (4 * three - two),
        )


@dataclass(frozen=True)
class Leak:
    """The linear decay of a variable: name of its parameter in the equations, and its rate r [1/s]."""

    parameter: str
    rate: float


def exponential_rk4(leaks: Mapping[str, Leak], h: float) -> Callable[..., str]:
    """A Brian2 integration method (``NeuronGroup(..., method=exponential_rk4(...))``).

    Each stage first evaluates the subexpressions of the equations, once, then the derivatives. Functions in
    the equations may act on the whole group at once (NumPy target): they see the values of that stage.

    Parameters
    ----------
    leaks : mapping
        Leak of each differential variable; what remains of its line with that parameter at 0 is N(u).
    h : float
        Step [s]; has to be the `dt` of the group.
    """
    steps = {name: StepCoefficients.of(leak.rate, h) for name, leak in leaks.items()}
    without_leak = {name: {leak.parameter: "0"} for name, leak in leaks.items()}

    def method(equations: Any, variables: Any = None, method_options: Any = None) -> str:
        subexpressions = needed_subexpressions(equations)

        def stage(number: int) -> list[str]:
            return stage_lines(equations, subexpressions, number, without_leak)

        lines = [f"_u1_{v} = {v}" for v in steps] + stage(1)
        lines += [f"_h_{v} = {c.half!r}*{v}" for v, c in steps.items()]
        lines += [f"_u2_{v} = _h_{v} + {c.a!r}*_n1_{v}" for v, c in steps.items()] + stage(2)
        lines += [f"_u3_{v} = _h_{v} + {c.a!r}*_n2_{v}" for v, c in steps.items()] + stage(3)
        lines += [f"_u4_{v} = {c.half!r}*_u2_{v} + {c.a!r}*(2*_n3_{v} - _n1_{v})" for v, c in steps.items()] + stage(4)
        lines += [
            f"{v} = {c.full!r}*{v} + {c.b1!r}*_n1_{v} + {c.b2!r}*(_n2_{v} + _n3_{v}) + {c.b4!r}*_n4_{v}"
            for v, c in steps.items()
        ]
        return "\n".join(lines)

    return method
