"""A model is left as it was found."""

import pytest
from torch import nn

from rmaat.evaluating import evaluating


def test_each_module_keeps_its_own_mode_also_after_a_fault() -> None:
    model = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout()), nn.BatchNorm1d(2))
    model[2].eval()  # statistics that somebody froze
    before = [module.training for module in model.modules()]
    with pytest.raises(ZeroDivisionError), evaluating(model):
        assert not any(module.training for module in model.modules())
        raise ZeroDivisionError
    assert [module.training for module in model.modules()] == before
    assert before == [True, True, True, True, False]
