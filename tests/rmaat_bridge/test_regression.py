"""Least squares: standard errors against those of linear regression, and directions that the data do not tell."""

import math

import numpy as np
import pytest
from scipy import stats

from rmaat_bridge.quantity import POSITIVE, UNTOLD, Quantity
from rmaat_bridge.regression import least_squares

REAL = (-math.inf, math.inf)
X = np.linspace(1, 3, 12)
Y = 2 * X + 5 + 0.1 * np.random.default_rng(0).standard_normal(12)


def test_errors_are_those_of_linear_regression():
    """Slope fitted in its logarithm, intercept in itself: 1e-6."""
    fit = least_squares(
        lambda slope, intercept: slope * X + intercept,
        Y,
        {"slope": POSITIVE, "intercept": REAL},
        [{"slope": 1, "intercept": 0}],
    )
    line = stats.linregress(X, Y)
    assert fit.standard_errors["slope"] == pytest.approx(line.stderr, rel=1e-6)
    assert fit.standard_errors["intercept"] == pytest.approx(line.intercept_stderr, rel=1e-6)


def test_what_the_data_do_not_tell_has_an_infinite_error():
    """Of two factors the product alone shows, of a third nothing; the intercept keeps its error (1e-6)."""
    names = {"first": POSITIVE, "second": POSITIVE, "idle": REAL, "intercept": REAL}
    fit = least_squares(
        lambda first, second, idle, intercept: first * second * X + intercept + 0 * idle,
        Y,
        names,
        [{"first": 1, "second": 1, "idle": 0.5, "intercept": 0}],
    )
    errors = fit.standard_errors
    assert [errors[name] for name in ("first", "second", "idle")] == [math.inf] * 3
    spent = math.sqrt((len(X) - 2) / (len(X) - 4))  # two parameters more
    assert errors["intercept"] == pytest.approx(spent * stats.linregress(X, Y).intercept_stderr, rel=1e-6)


def test_as_many_parameters_as_observations_leave_no_error_to_estimate():
    fit = least_squares(lambda a, b: a * X[:2] + b, Y[:2], {"a": REAL, "b": REAL}, [{"a": 1, "b": 0}])
    assert list(fit.standard_errors.values()) == [math.inf] * 2


@pytest.mark.parametrize("domain", [POSITIVE, (0.0, 1.0)])
def test_an_infinite_error_is_kept_as_the_largest_number(domain):
    """The interval is the whole domain, or as much of it as numbers reach."""
    quantity = Quantity.estimated(0.5, math.inf, 3, "1", domain)
    assert quantity.standard_error == UNTOLD and quantity.lower < 1e-300
    assert quantity.upper == 1.0 or quantity.upper > 1e300
    assert Quantity.model_validate(quantity.model_dump()) == quantity


def test_a_quantity_reads_as_value_error_and_unit():
    assert str(Quantity.estimated(120.04039, 0.0130708, 9, "s", POSITIVE)) == "120.04 ± 0.013 s"
    assert str(Quantity.estimated(0.25, math.inf, 9, "1", POSITIVE)) == "0.25 ± unknown"
    assert str(Quantity.exact(45.0, "s")) == "45 s"
