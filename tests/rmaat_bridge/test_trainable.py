"""Training the biology: what each mode allows, and the file with prior and posterior."""

import pytest
import torch

from astro_sim.errors import InputError
from rmaat_bridge import AstrocyticKernel, BioParameters, RetentionSchedule, with_posterior


def pull(module, output, steps=50):
    """Train `module` to make `output` small."""
    optimizer = torch.optim.Adam(module.parameters(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        output().backward()
        optimizer.step()


def test_fixed_numbers_are_not_parameters(make):
    schedule = RetentionSchedule(make.retention("double-exponential", "fixed"))
    assert not list(schedule.parameters())
    assert not schedule.state_dict()


@pytest.mark.parametrize("mode", ["fixed", "bounded", "free"])
def test_every_mode_starts_at_the_fitted_value(make, mode):
    """Exactly, but for the rounding of float64: 1e-12."""
    fit = make.retention("double-exponential", mode)
    for name, value in RetentionSchedule(fit).double().values().items():
        assert float(value.detach()) == pytest.approx(fit.parameters[name].value, rel=1e-12)


def test_bounded_training_stays_inside_the_interval_and_free_training_leaves_it(make):
    bounded, free = (RetentionSchedule(make.retention("exponential", mode)) for mode in ("bounded", "free"))
    for schedule in (bounded, free):
        pull(schedule, lambda schedule=schedule: schedule(6)[0])
    limits = make.retention("exponential").parameters["tau_p_long"]
    inside = float(bounded.values()["tau_p_long"].detach())
    assert limits.lower <= inside <= limits.upper
    assert inside > limits.value
    assert float(free.values()["tau_p_long"].detach()) > limits.upper


def test_file_after_training_shows_prior_and_posterior(bio, tmp_path):
    moved = bio.with_mode("free", "retention.tau_p_long").with_mode("bounded", "attention.length")
    model = torch.nn.ModuleDict(
        {
            "schedule": RetentionSchedule(moved.retention),
            "first": AstrocyticKernel(moved.attention),
            "second": AstrocyticKernel(moved.attention),
        }
    )
    pull(model, lambda: model["schedule"](6)[0] + 0.01 * model["first"](6).sum())
    after = BioParameters.load(with_posterior(moved, model).save(tmp_path / "after.toml"))
    tau, length = after.retention.parameters["tau_p_long"], after.attention.parameters["length"]
    assert tau.prior == bio.retention.parameters["tau_p_long"].value
    assert tau.value == pytest.approx(float(model["schedule"].values()["tau_p_long"].detach()), rel=1e-6)
    assert tau.value > tau.prior
    pair = [float(model[name].values()["length"].detach()) for name in ("first", "second")]
    assert pair[0] < pair[1] == pytest.approx(length.prior, rel=1e-6)
    assert length.value == pytest.approx(sum(pair) / 2, rel=1e-6)
    assert after.retention.parameters["cycle_s"].prior is None
    torch.testing.assert_close(RetentionSchedule(after.retention)(6), model["schedule"](6), rtol=1e-5, atol=0)


def test_second_training_keeps_the_first_prior(bio):
    moved = bio.with_mode("free", "retention.tau_p_long")
    for _ in range(2):
        schedule = RetentionSchedule(moved.retention)
        pull(schedule, lambda schedule=schedule: schedule(6)[0], steps=5)
        moved = with_posterior(moved, schedule)
    assert moved.retention.parameters["tau_p_long"].prior == bio.retention.parameters["tau_p_long"].value


def test_modes_of_unknown_or_exact_quantities_are_refused(bio):
    with pytest.raises(InputError, match=r"retention.tau"):
        bio.with_mode("free", "retention.tau")
    with pytest.raises(InputError, match="bounded"):
        bio.with_mode("bounded", "retention.cycle_s")
