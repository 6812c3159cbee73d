"""Training with a break in the middle, and the command line, shared by the tests of this folder."""

import pytest
import torch

from rmaat.cli.app import main
from rmaat.training.trainer import Trainer


def run(make_model, recipe, splits, out, stop_at=None, resume=False):
    """Train; `stop_at` breaks the run off as a crash would, in the middle of that step."""
    model = make_model()
    if stop_at is not None:
        calls = iter(range(10**6))

        def crash(*_):
            if next(calls) == stop_at * recipe.optimisation.accumulate:
                raise KeyboardInterrupt

        model.register_forward_pre_hook(crash)
    trainer = Trainer(recipe, splits, model, out)
    trainer.fit(resume)
    return trainer


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def rmaat(*arguments):
    """Exit code of a command."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code or 0
