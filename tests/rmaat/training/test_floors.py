"""Floors against direct computation and against the shares that the grammar is known to give."""

import numpy as np
import pytest

from rmaat.data.listops import decode, generate
from rmaat.training.floors import floors, lookup_accuracy, root_and_digits


def test_root_and_digits_agree_with_reading_the_text():
    data = generate(50, 3)
    reduce = {
        "[MIN": min,
        "[MAX": max,
        "[MED": lambda v: int(np.median(v)),
        "[SM": lambda v: sum(v) % 10,
    }
    for i, (_, value) in enumerate(root_and_digits(data)):
        symbols, depth, digits = decode(data[i]).split(), 0, []
        for symbol in symbols:
            depth += symbol.startswith("[")
            if symbol.isdecimal() and depth == 1:
                digits.append(int(symbol))
            depth -= symbol == "]"
        assert value == (reduce[symbols[0]](digits) if digits else -1)


def test_listops_floors():
    """17.0 % majority, 36.3 % root operator, 47.5 % root operator and digits on regenerated data; 4,000 test
    examples have a standard error of 0.8 points, so 3 points of tolerance."""
    reached = floors("listops", generate(20_000, 1), generate(4_000, 2))
    assert reached["majority class"] == pytest.approx(0.17, abs=0.03)
    assert reached["root operator"] == pytest.approx(0.363, abs=0.03)
    assert reached["root operator and its digits"] == pytest.approx(0.475, abs=0.03)


def test_lookup_table_by_hand():
    keys, labels = np.array([[0], [0], [0], [1]]), np.array([2, 2, 5, 3])
    assert lookup_accuracy(keys, labels, np.array([[0], [1], [7]]), np.array([2, 3, 2])) == 1.0
    assert lookup_accuracy(keys, labels, np.array([[0], [1]]), np.array([5, 2])) == 0.0
