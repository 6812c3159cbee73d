"""Settings as text: units, nested models, refusals."""

from dataclasses import dataclass, field

import pytest

from astro_sim.errors import InputError
from astro_sim.macro_parameters import MacroParameters
from astro_sim.protocols import poisson
from astro_sim.settings import arguments, override, quantity


@pytest.mark.parametrize(
    ("text", "unit", "expected"),
    [
        ("300s", "s", 300.0),
        ("5 min", "s", 300.0),
        ("25ms", "s", 0.025),
        ("1.5e2", "s", 150.0),
        ("-.5", "1", -0.5),
        ("2 uM/s", "umol/(l s)", 2.0),
        ("2 µM/s", "umol/(l s)", 2.0),
        ("1 nmol/(l ms)", "umol/(l s)", 1.0),
        ("0.5 /min", "1/s", 1 / 120),
        ("3 Hz", "1/s", 3.0),
        ("60mV", "V", 0.06),
        ("198 pF", "F", 198e-12),
        ("9.99 nS", "S", 9.99e-9),
        ("2 grid step", "grid step", 2.0),
    ],
)
def test_quantity(text, unit, expected):
    assert quantity("it", text, unit) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("text", ["", "s", "ten s", "3 mV", "3 fortnights", "1 s s", "3 s/s"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(InputError, match=r"^tau: ") as caught:
        quantity("tau", text, "s")
    assert "\n" not in str(caught.value)


def test_override_sets_fields_by_type_and_returns_the_rest():
    p, left = override(
        MacroParameters(), {"tau_p_long": "5min", "n_neurons": "4", "n_pre": "2", "border": "periodic", "on_s": "2 s"}
    )
    assert (p.tau_p_long, p.n_neurons, p.n_pre, p.border, left) == (300.0, 4, 2, "periodic", {"on_s": "2 s"})


def test_override_reaches_nested_models():
    @dataclass(frozen=True)
    class Inner:
        rate: float = field(default=1.0, metadata={"unit": "1/s"})

    @dataclass(frozen=True)
    class Outer:
        inner: Inner = field(default_factory=Inner)
        shape: tuple[int, ...] = (5,)
        open: bool = True

    model, left = override(Outer(), {"rate": "120 /min", "shape": "3,4", "open": "false"})
    assert model == Outer(Inner(pytest.approx(2.0)), (3, 4), False) and left == {}


def test_a_step_of_any_name_is_in_seconds():
    def simulate(astrocyte_dt: float = 1.0) -> None:
        pass

    assert arguments(simulate, {"astrocyte_dt": "50ms"})[0] == {"astrocyte_dt": 0.05}


def test_arguments_take_their_unit_from_their_name():
    found, left = arguments(poisson, {"rate_hz": "2,3 kHz", "duration_s": "1 min", "tau_n": "3"})
    assert found == {"rate_hz": (2.0, 3000.0), "duration_s": 60.0} and left == {"tau_n": "3"}


@pytest.mark.parametrize(("name", "text"), [("n_neurons", "2.5"), ("tau_n", "1 mV"), ("tau_n", "-1 s"), ("theta", "f")])
def test_wrong_values_name_the_field(name, text):
    with pytest.raises(InputError, match=rf"^{name}: "):
        override(MacroParameters(), {name: text})
