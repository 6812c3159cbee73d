"""One small trained classifier for all tests of the folder."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from lava_models import frequent_token, in_pairs, random_model, small_config, train

from rmaat.heads import RMAATForSequenceClassification
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
def pair_deployment():
    return quantize(random_model(0, pairs=True), Calibration(*in_pairs(*frequent_token(16, seed=1)[:2])))


@pytest.fixture(scope="session")
def deployment(trained, calibration):
    return quantize(trained, calibration)
