"""The classical fourth-order Runge–Kutta rule as a Brian2 method that writes each stage out as the equations stand.

    k₁ = f(u)    k₂ = f(u + h k₁/2)    k₃ = f(u + h k₂/2)    k₄ = f(u + h k₃)    u⁺ = u + h (k₁ + 2k₂ + 2k₃ + k₄)/6

Brian2's own ``rk4`` writes every subexpression into every place where it is used, by symbolic algebra: that takes a
second or two at each start, and the step then evaluates the same expression again and again. Here each is evaluated
once a stage, and what does not depend on the state once a step. Time and inputs are those of the start of the step.
"""

from collections.abc import Iterable, Mapping
from typing import Any


def needed_subexpressions(equations: Any) -> list[Any]:
    """Those subexpressions that the differential equations need, each after what it is made of."""
    from brian2.equations.equations import SUBEXPRESSION

    ordered = [equation for equation in equations.ordered if equation.type == SUBEXPRESSION]
    wanted = set().union(*(expression.identifiers for _, expression in equations.diff_eq_expressions))
    kept = []
    for equation in reversed(ordered):
        if equation.varname in wanted:
            wanted |= equation.expr.identifiers
            kept.append(equation)
    return kept[::-1]


def stage_lines(
    equations: Any, subexpressions: Iterable[Any], number: int, fixed: Mapping[str, Mapping[str, str]]
) -> list[str]:
    """Lines that set the derivative ``_n<number>_v`` of every variable v from its stage value ``_u<number>_v``.

    Parameters
    ----------
    subexpressions : iterable
        What is evaluated anew in this stage, in order.
    fixed : mapping
        Names to replace in the line of each variable, by variable.
    """
    from brian2.utils.stringtools import word_substitute

    at = {name: f"_u{number}_{name}" for name, _ in equations.diff_eq_expressions}
    lines = []
    for equation in subexpressions:
        name = f"_u{number}_{equation.varname}"
        lines.append(f"{name} = {word_substitute(equation.expr.code, at)}")
        at[equation.varname] = name
    for name, expression in equations.diff_eq_expressions:
        lines.append(f"_n{number}_{name} = {word_substitute(expression.code, {**at, **fixed.get(name, {})})}")
    return lines


def staged_rk4(equations: Any, _: Any = None, method_options: Any = None) -> str:
    """A Brian2 integration method (``NeuronGroup(..., method=staged_rk4)``) for equations without noise."""
    from brian2.utils.stringtools import word_substitute

    variables, moving, still = [name for name, _ in equations.diff_eq_expressions], [], []
    depends = set(variables)
    for equation in needed_subexpressions(equations):
        if equation.expr.identifiers & depends:
            depends.add(equation.varname)
            moving.append(equation)
        else:
            still.append(equation)
    held = {equation.varname: f"_still_{equation.varname}" for equation in still}
    lines = [f"{held[e.varname]} = {word_substitute(e.expr.code, held)}" for e in still]
    for number, (before, weight) in enumerate([(0, 0.0), (1, 0.5), (2, 0.5), (3, 1.0)], start=1):
        lines += [f"_u{number}_{v} = {v}" + (f" + {weight}*dt*_n{before}_{v}" if before else "") for v in variables]
        stage = stage_lines(equations, moving, number, {})
        lines += [word_substitute(line, held) for line in stage]
    lines += [f"{v} = {v} + dt*(_n1_{v} + 2*_n2_{v} + 2*_n3_{v} + _n4_{v})/6" for v in variables]
    return "\n".join(lines)
