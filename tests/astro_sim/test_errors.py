"""The error of bad input: one line, and whole after a trip between processes."""

import pickle

from astro_sim.errors import InputError


def test_names_field_value_and_what_is_allowed() -> None:
    assert str(InputError("tau_n", -1.5, "a positive time")) == "tau_n: got -1.5, expected a positive time"


def test_survives_pickling_as_dask_does_it() -> None:
    error = pickle.loads(pickle.dumps(InputError("tau_n", -1.5, "a positive time")))
    assert isinstance(error, InputError)
    assert (error.field, error.value, error.allowed) == ("tau_n", -1.5, "a positive time")
