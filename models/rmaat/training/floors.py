"""What trivial models reach on the same examples; every score is printed beside them."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from rmaat.data.listops import DIGIT, END, OPERATOR
from rmaat.data.sequences import Sequences


def floors(task: str, train: Sequences, test: Sequences) -> dict[str, float]:
    """Test accuracies of the trivial models of `task`, by name, fitted on `train`."""
    keys = {"majority class": lambda data: np.zeros((len(data), 1), np.int64)}
    if task == "listops":
        keys |= {"root operator": root_operator, "root operator and its digits": root_and_digits}
    return {name: lookup_accuracy(key(train), train.labels, key(test), test.labels) for name, key in keys.items()}


def lookup_accuracy(
    train_keys: NDArray[np.int64],
    train_labels: NDArray[np.int64],
    keys: NDArray[np.int64],
    labels: NDArray[np.int64],
) -> float:
    """Accuracy of a table from key to its commonest training label (unseen keys: the majority class).

    Parameters
    ----------
    train_keys, keys : array of int, shape (n, parts of the key)
    train_labels, labels : array of int, shape (n,)
    """
    counts: dict[tuple[int, ...], Counter[int]] = {}
    for key, label in zip(map(tuple, train_keys.tolist()), train_labels.tolist(), strict=True):
        counts.setdefault(key, Counter())[label] += 1
    table = {key: count.most_common(1)[0][0] for key, count in counts.items()}
    majority = int(np.bincount(train_labels).argmax())
    guesses = [table.get(key, majority) for key in map(tuple, keys.tolist())]
    return float(np.mean(np.asarray(guesses) == labels))


def root_operator(data: Sequences) -> NDArray[np.int64]:
    """Id of the first token, shape (n, 1)."""
    return data.tokens[data.offsets[:-1]].astype(np.int64)[:, None]


def root_and_digits(data: Sequences) -> NDArray[np.int64]:
    """Root operator and its value over the digits that are its direct arguments (-1: none), shape (n, 2)."""
    tokens = np.asarray(data.tokens).astype(np.int64)
    opens, closes = (tokens >= OPERATOR) & (tokens < END), tokens == END
    direct = (np.cumsum(opens.astype(np.int64) - closes) == 1) & ~opens & ~closes
    example = np.repeat(np.arange(len(data)), np.diff(data.offsets))[direct]
    counts = np.zeros((len(data), 10), np.int64)
    np.add.at(counts, (example, tokens[direct] - DIGIT), 1)
    total, upto = counts.sum(axis=1), counts.cumsum(axis=1)

    def nth(rank: NDArray[np.int64]) -> NDArray[np.int64]:
        return (upto > rank[:, None]).argmax(axis=1)

    median = (nth((total - 1) // 2) + nth(total // 2)) // 2
    values = [nth(np.zeros_like(total)), nth(total - 1), median, counts @ np.arange(10) % 10]
    root = root_operator(data)[:, 0]
    return np.stack([root, np.where(total > 0, np.choose(root - OPERATOR, values), -1)], axis=1)
