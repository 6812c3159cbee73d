"""What trivial models reach on the same examples, fitted with scikit-learn; every score is printed beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from sklearn.decomposition import TruncatedSVD
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, Normalizer, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from rmaat.data.listops import DIGIT, END, OPERATOR
from rmaat.data.sequences import Sequences


@dataclass(frozen=True)
class Floor:
    """One trivial model: features of the examples and an estimator; `costly` ones take minutes."""

    features: Callable[[Sequences], Any]
    estimator: Callable[[], Any]
    costly: bool = False


def floors(task: str, train: Sequences, test: Sequences, costly: bool = False) -> dict[str, float]:
    """Test accuracies of the trivial models of `task`, by name, fitted on `train`.

    Parameters
    ----------
    task : str
        A name in `TASKS`.
    costly : bool
        Also those of `costly_floors`, which take minutes.
    """
    if task == "language":
        return next_byte_floors(train, test)
    found = {"majority class": MAJORITY, **FLOORS.get(task, {})}
    scores = {}
    for name, floor in found.items():
        if costly or not floor.costly:
            model = floor.estimator().fit(floor.features(train), train.labels)
            scores[name] = float(model.score(floor.features(test), test.labels))
    return scores


def costly_floors(task: str) -> list[str]:
    """Names of the trivial models that `floors` fits only if asked for the costly ones."""
    return [name for name, floor in FLOORS.get(task, {}).items() if floor.costly]


def hidden_token_floors(train: Sequences, test: Sequences) -> dict[str, float]:
    """Share of `test` that is the commonest token of `train`."""
    return {"commonest token": float(np.mean(test.tokens == np.bincount(train.tokens).argmax()))}


def next_byte_floors(train: Sequences, test: Sequences) -> dict[str, float]:
    """Accuracies of the commonest byte, and of the commonest byte after the last one."""
    (before, after), (last, target) = _neighbours(train), _neighbours(test)
    counts = np.bincount(before * train.vocab_size + after, minlength=train.vocab_size**2)
    table = counts.reshape(train.vocab_size, -1)
    alone = (target == table.sum(axis=0).argmax()).mean()
    return {
        "commonest byte": float(alone),
        "commonest byte after the last": float((target == table.argmax(1)[last]).mean()),
    }


def _neighbours(data: Sequences) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Every id that has a successor in its sequence, and that successor, each (m,)."""
    inner = np.ones(len(data.tokens), bool)
    inner[data.offsets[1:] - 1] = False
    places = np.flatnonzero(inner)
    return data.tokens[places].astype(np.int64), data.tokens[places + 1].astype(np.int64)


def nothing(data: Sequences) -> NDArray[np.int64]:
    """No information, shape (n, 1)."""
    return np.zeros((len(data), 1), np.int64)


def root_operator(data: Sequences) -> NDArray[np.int64]:
    """Id of the first token, shape (n, 1)."""
    return data.tokens[data.offsets[:-1]].astype(np.int64)[:, None]


def root_and_digits(data: Sequences) -> NDArray[np.int64]:
    """Root operator and its value over the digits that are its direct arguments (-1: none), shape (n, 2)."""
    tokens = np.asarray(data.tokens).astype(np.int64)
    opens, closes = (tokens >= OPERATOR) & (tokens < END), tokens == END
    steps, starts, lengths = opens.astype(np.int64) - closes, data.offsets[:-1], np.diff(data.offsets)
    depth = steps.cumsum()
    depth -= np.repeat(depth[starts] - steps[starts], lengths)  # what cut expressions before this one left open
    direct = (depth == 1) & ~opens & ~closes
    example = np.repeat(np.arange(len(data)), lengths)[direct]
    counts = np.zeros((len(data), 10), np.int64)
    np.add.at(counts, (example, tokens[direct] - DIGIT), 1)
    total, upto = counts.sum(axis=1), counts.cumsum(axis=1)

    def nth(rank: NDArray[np.int64]) -> NDArray[np.int64]:
        return (upto > rank[:, None]).argmax(axis=1)

    median = (nth((total - 1) // 2) + nth(total // 2)) // 2
    values = [nth(np.zeros_like(total)), nth(total - 1), median, counts @ np.arange(10) % 10]
    root = root_operator(data)[:, 0]
    return np.stack([root, np.where(total > 0, np.choose(root - OPERATOR, values, mode="clip"), -1)], axis=1)


def histogram(data: Sequences) -> NDArray[np.float32]:
    """Share of each id among the tokens of each sequence, shape (n * parts, vocab_size)."""
    counts = np.stack([np.bincount(tokens, minlength=data.vocab_size) for tokens in _rows(data)])
    return counts.astype(np.float32) / counts.sum(axis=1, dtype=np.float32)[:, None]


def pair_histograms(data: Sequences) -> NDArray[np.float32]:
    """Difference and product of the two documents' histograms, shape (n, 2 * vocab_size)."""
    first, second = histogram(data).reshape(len(data), 2, -1).transpose(1, 0, 2)
    return np.concatenate([abs(first - second), 100 * first * second], axis=1)


def levels(data: Sequences) -> NDArray[np.float32]:
    """Grey levels 0..1 in raster order, shape (n, pixels)."""
    return (np.asarray(data.tokens).reshape(len(data), -1) - 1).astype(np.float32) / np.float32(255)


def coarse(data: Sequences) -> NDArray[np.float32]:
    """Square pictures, of squares of 2 x 2 pixels the mean, each centred and scaled, shape (n, pixels / 4).

    Those of an odd width keep every pixel.
    """
    width, pixels = isqrt(int(data.lengths[0])), levels(data)
    if width % 2 == 0:
        pixels = pixels.reshape(len(data), width // 2, 2, width // 2, 2).mean((2, 4)).reshape(len(data), -1)
    pixels -= pixels.mean(axis=1, keepdims=True)
    return pixels / np.maximum(pixels.std(axis=1, keepdims=True), np.float32(1e-6))


class Neighbours(KNeighborsClassifier):
    """The majority among the ten nearest training examples, or among all where there are fewer."""

    def __init__(self) -> None:
        super().__init__(10, algorithm="brute")

    def fit(self, features: NDArray[np.float32], labels: NDArray[np.int64]) -> Neighbours:
        """Keep the training examples."""
        self.n_neighbors = min(10, len(features))
        return super().fit(features, labels)


def dots(data: Sequences) -> NDArray[np.float64]:
    """Centres (y, x) of the two dots of square pictures, the upper one first, and their distance, shape (n, 5).

    A dot is where a blurred picture is brightest; the other one is the brightest place farther away than two dots
    that touch. Dots have a radius of 1.5 pixels in pictures of 32 x 32, and of 3 in those of 128 x 128.
    """
    width = isqrt(int(data.lengths[0]))
    scale = (width / 32) ** 0.5
    parts = np.array_split(np.arange(len(data)), -(-len(data) // 1024))  # all at once would take 20 bytes a pixel
    places = [_brightest_two(levels(data.select(part)).reshape(-1, width, width), scale) for part in parts]
    first, second = np.concatenate(places, axis=1)
    swap = (first[:, 0] > second[:, 0])[:, None]
    first, second = np.where(swap, second, first), np.where(swap, first, second)
    return np.hstack([first, second, np.hypot(*(first - second).T)[:, None]])


def _brightest_two(pictures: NDArray[np.float32], scale: float) -> NDArray[np.int64]:
    """(y, x) of the two dots of each picture, shape (2, n, 2)."""
    blurred = gaussian_filter(pictures, (0, scale, scale), mode="constant")
    n, height, width = pictures.shape
    rows, columns = np.mgrid[:height, :width]
    found = []
    for _ in range(2):
        y, x = np.divmod(blurred.reshape(n, -1).argmax(axis=1), width)
        found.append(np.stack([y, x], axis=1))
        near = (rows - y[:, None, None]) ** 2 + (columns - x[:, None, None]) ** 2 <= (3.2 * scale) ** 2
        blurred[near] = -1
    return np.stack(found)


def documents(data: Sequences) -> list[str]:
    """Each of the n * parts documents, one character a byte."""
    return [bytes((tokens - 1).astype(np.uint8)).decode("latin-1") for tokens in _rows(data)]


def _rows(data: Sequences) -> Iterator[NDArray[np.int64]]:
    """Each of the n * parts sequences."""
    for start, stop in pairwise(data.offsets):
        yield data.tokens[start:stop]


def _n_grams(low: int, high: int) -> Callable[[], Any]:
    return lambda: make_pipeline(
        HashingVectorizer(analyzer="char", ngram_range=(low, high), n_features=2**20, norm=None, alternate_sign=False),
        TfidfTransformer(sublinear_tf=True),
        LinearSVC(C=0.5, random_state=0),
    )


def _latent_semantics() -> Any:
    """Words of both documents of a pair in 100 directions (LSA), compared entry by entry."""
    return make_pipeline(
        HashingVectorizer(n_features=2**16, norm=None, alternate_sign=False),
        TfidfTransformer(sublinear_tf=True),
        TruncatedSVD(100, random_state=0),
        Normalizer(),
        FunctionTransformer(_compared),  # from a row a document to a row a pair
        _logistic(),
    )


def _compared(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Product and distance of neighbouring rows."""
    return np.hstack([rows[::2] * rows[1::2], abs(rows[::2] - rows[1::2])])


def _logistic() -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))


MAJORITY = Floor(nothing, lambda: DummyClassifier(strategy="most_frequent"))
FLOORS: dict[str, dict[str, Floor]] = {
    "listops": {
        "root operator": Floor(root_operator, DecisionTreeClassifier),
        "root operator and its digits": Floor(root_and_digits, DecisionTreeClassifier),
    },
    "text": {
        "byte histogram": Floor(histogram, _logistic),
        "byte bigrams": Floor(documents, _n_grams(2, 2), costly=True),
        "byte 1- to 4-grams": Floor(documents, _n_grams(1, 4), costly=True),
    },
    "retrieval": {
        "byte histograms": Floor(pair_histograms, _logistic),
        "latent semantic analysis": Floor(documents, _latent_semantics),
    },
    "image": {
        "grey-level histogram": Floor(histogram, _logistic, costly=True),
        "linear on pixels": Floor(levels, RidgeClassifier),
        "nearest neighbours": Floor(coarse, Neighbours),
    },
    "pathfinder": {
        "linear on pixels": Floor(levels, RidgeClassifier),
        "places of the dots": Floor(dots, partial(HistGradientBoostingClassifier, random_state=0)),
    },
    "mnist": {"linear on pixels": Floor(levels, RidgeClassifier), "nearest neighbours": Floor(coarse, Neighbours)},
    "digits": {"sample histogram": Floor(histogram, _logistic)},
}
