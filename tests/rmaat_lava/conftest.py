"""One small trained classifier for all tests of the folder."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from lava_models import frequent_token, same_frequent_token, small_config, train

from rmaat.heads import RMAATForSequenceClassification, RMAATForSequencePairClassification
from rmaat_lava import Calibration, quantize


@pytest.fixture(scope="session")
def trained():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return train(RMAATForSequenceClassification(small_config(backprop="bptt")), steps=60, seed=1000)


@pytest.fixture(scope="session")
def calibration():
    return Calibration(*frequent_token(64, seed=1)[:2])


@pytest.fixture(scope="session")
def trained_pairs(trained):
    """Starts from the tower that can tell frequent tokens."""
    torch.manual_seed(0)
    model = RMAATForSequencePairClassification(small_config(num_labels=2, backprop="bptt"))
    model.model.load_state_dict(trained.model.state_dict())
    return train(model, steps=20, seed=2000, task=same_frequent_token)


@pytest.fixture(scope="session")
def pair_deployment(trained_pairs):
    return quantize(trained_pairs, Calibration(*same_frequent_token(64, seed=3)[:2]))


@pytest.fixture(scope="session")
def deployment(trained, calibration):
    return quantize(trained, calibration)
