"""The configuration: bounds, one-line errors, JSON there and back."""

import json

import pytest

from astro_sim.errors import InputError
from rmaat import RMAATConfig


def test_json_round_trip() -> None:
    config = RMAATConfig(dim=32, heads=8, alpha=0.3).with_bio()
    assert RMAATConfig(**json.loads(config.model_dump_json())) == config
    assert config.bio["presynaptic"]["parameters"]["alpha"]["value"] > 0


@pytest.mark.parametrize(
    "field, value",
    [
        ("vocab_size", 1),
        ("num_labels", 1),
        ("dim", 0),
        ("dim", "wide"),
        ("dim", True),
        ("dim", 2**63),
        ("heads", 5),
        ("dropout", 1.0),
        ("alpha", -0.1),
        ("segment_length", 0),
        ("memory_tokens", -1),
        ("backprop", "rtrl"),
        ("presynaptic", "cubic"),
        ("layer", 3),
    ],
)
def test_bad_fields_are_named_in_one_line(field: str, value: object) -> None:
    with pytest.raises(InputError) as caught:
        RMAATConfig(**{field: value})
    assert caught.value.field == field
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "fields, said",
    [
        ({"dimm": 3}, "dimm: got 3, expected one of vocab_size, num_labels, input_kind, input_dim, dim, layers, "),
        ({"dim": 0}, "dim: got 0, expected greater than or equal to 1"),
        ({"dim": "wide"}, "dim: got 'wide', expected a valid integer"),
        ({"backprop": "rtrl"}, "backprop: got 'rtrl', expected 'amrb' or 'bptt'"),
        ({"bio": 3}, "bio: got 3, expected a table"),
        ({"heads": 5}, "heads: got 5, expected a divisor of dim = 64"),
    ],
)
def test_what_is_allowed_is_said(fields: dict[str, object], said: str) -> None:
    with pytest.raises(InputError) as caught:
        RMAATConfig(**fields)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize("presynaptic", ["fitted", "linear", "off"])
@pytest.mark.parametrize(("field", "value"), [("alpha", 0.9), ("learn_alpha", True)])
def test_an_exponent_that_has_no_effect_is_refused(presynaptic: str, field: str, value: object) -> None:
    with pytest.raises(InputError, match=f"^{field}: got {value}, expected .*presynaptic is 'power'"):
        RMAATConfig(presynaptic=presynaptic, **{field: value})
