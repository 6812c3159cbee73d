import sys
from pathlib import Path

import pytest
import torch

from rmaat.config import RMAATConfig
from rmaat.data.listops import Grammar, generate
from rmaat.data.splits import Splits
from rmaat.heads import RMAATForSequenceClassification
from rmaat.training.recipe import Recipe

sys.path.insert(0, str(Path(__file__).parent))  # of what a test and its processes share

TINY = """
task = "listops"
[data]
train = 8
validation = 4
test = 8
[model]
dim = 8
layers = 1
heads = 2
segment_length = 256
memory_tokens = 2
[optimisation]
steps = 2
batch_size = 4
evaluate_every = 1
save_every = 1
"""


@pytest.fixture
def recipe_file(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="session")
def splits():
    """Short expressions of the ListOps grammar, 20 to 60 tokens."""
    grammar = Grammar(max_depth=5, min_length=20, max_length=60)
    return Splits(*(generate(n, seed, grammar) for seed, n in enumerate((64, 40, 40))))


@pytest.fixture
def make_model(splits):
    def make(seed=0, **changes):
        torch.manual_seed(seed)
        fields = {"dim": 8, "layers": 1, "heads": 2, "segment_length": 16, "memory_tokens": 2, "dropout": 0.1}
        config = RMAATConfig(vocab_size=16, num_labels=10, **fields | changes)
        return RMAATForSequenceClassification(config)

    return make


@pytest.fixture
def make_recipe():
    def make(**options):
        few = {"steps": 12, "batch_size": 8, "accumulate": 2, "average": 0.9, "label_smoothing": 0.1}
        few |= {"evaluate_every": 4, "save_every": 4}
        return Recipe(task="listops", seed=1, optimisation=few | options)

    return make
