"""Floors against direct computation and against the shares that the grammar is known to give."""

import numpy as np
import pytest

from rmaat.data.image import pixels
from rmaat.data.listops import decode, encode, generate
from rmaat.data.pathfinder import Layout
from rmaat.data.pathfinder import generate as contours
from rmaat.data.sequences import Sequences
from rmaat.training.floors import Neighbours, coarse, dots, floors, root_and_digits


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
    alone = Sequences.from_list([encode(["5"]), encode(["[MAX", "2", "4", "]"])], [5, 4], data.vocab_size, 10)
    assert root_and_digits(alone)[:, 1].tolist() == [-1, 4]


@pytest.mark.parametrize("longest", [200, 600])
def test_a_cut_expression_leaves_nothing_open_for_the_next(longest):
    """Each example by itself gives what all of them together give."""
    data = generate(20, 5).cut(longest)
    alone = [
        root_and_digits(Sequences.from_list([row], [0], data.vocab_size, 10))[0]
        for row in map(data.__getitem__, range(20))
    ]
    assert (data.lengths == longest).any()
    np.testing.assert_array_equal(root_and_digits(data), alone)


def test_listops_floors():
    """17.0 % majority, 36.3 % root operator, 47.5 % root operator and digits on regenerated data; 4,000 test
    examples have a standard error of 0.8 points, so 3 points of tolerance."""
    reached = floors("listops", generate(20_000, 1), generate(4_000, 2))
    assert reached["majority class"] == pytest.approx(0.17, abs=0.03)
    assert reached["root operator"] == pytest.approx(0.363, abs=0.03)
    assert reached["root operator and its digits"] == pytest.approx(0.475, abs=0.03)


def test_text_and_pixel_floors_find_what_is_there():
    """Reviews told apart by one letter, images by one pixel: the simple models find it, the majority does not."""
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 2
    rows = [rng.integers(98, 123, 60) for _ in labels]
    for row, label in zip(rows, labels, strict=True):
        row[rng.integers(0, 60, 6)] = 60 + label
    some = Sequences.from_list(rows, labels.tolist(), 257, 2)
    reached = floors("text", some.select(np.arange(100)), some.select(np.arange(100, 200)), costly=True)
    assert reached["majority class"] == 0.5
    assert set(reached) == {"majority class", "byte histogram", "byte bigrams", "byte 1- to 4-grams"}
    assert all(score > 0.9 for name, score in reached.items() if name != "majority class")
    images = rng.integers(0, 256, (200, 16), dtype=np.uint8)
    images[:, 3] = 200 * labels
    shown = pixels(images, labels, 2)
    reached = floors("image", shown.select(np.arange(100)), shown.select(np.arange(100, 200)))
    assert reached["linear on pixels"] > 0.9


@pytest.mark.parametrize(("width", "radius", "apart"), [(32, 1.5, 6), (128, 3.0, 9)])
def test_dots_are_found_where_they_are(width, radius, apart):
    """Dots of the published radius, dashes of 0.75 of their level between them: within a pixel."""
    rng = np.random.default_rng(2)
    y, x = np.mgrid[:width, :width]
    pictures, expected = [], []
    for _ in range(80):
        first, second = rng.uniform(radius, width - radius - 1, (2, 2))
        if rng.random() < 0.5:  # near ones too
            second = (first + rng.uniform(-1.5, 1.5, 2) * apart).clip(radius, width - radius - 1)
        if abs(first[0] - second[0]) < 2 or np.hypot(*(first - second)) < apart:
            continue
        picture = np.zeros((width, width))
        for top, left in rng.integers(0, width - 3, (20, 2)):
            picture[top, left : left + 3] = 191
        for place in (first, second):
            picture[np.hypot(y - place[0], x - place[1]) <= radius] = 255
        pictures.append(picture.astype(np.uint8))
        upper, lower = sorted((first, second), key=lambda place: float(place[0]))
        expected.append([*upper, *lower, np.hypot(*(first - second))])
    assert len(expected) > 20
    found = dots(pixels(np.stack(pictures), np.zeros(len(pictures), int), 2))
    assert np.abs(found[:, :4] - np.array(expected)[:, :4]).max() <= 1.0
    np.testing.assert_allclose(found[:, 4], np.hypot(*(found[:, :2] - found[:, 2:4]).T))


def test_places_of_the_dots_tell_short_contours():
    """92 % of contours of 2 dashes when fitted on 6,400; fewer examples here."""
    layout = Layout(contour_length=2)
    reached = floors("pathfinder", contours(1500, 1, layout, workers=1), contours(500, 2, layout, workers=1))
    assert reached["places of the dots"] > 0.85 and reached["linear on pixels"] < 0.6


def test_pair_floor_compares_the_two_documents():
    rng = np.random.default_rng(1)
    labels = np.arange(300) % 2
    rows = []
    for label in labels:
        letter = rng.integers(1, 20)
        other = letter if label else (letter + rng.integers(1, 19)) % 20 + 1
        rows += [np.full(30, letter), np.full(30, other)]
    pairs = Sequences.from_list(rows, labels.tolist(), 257, 2, parts=2)
    reached = floors("retrieval", pairs.select(np.arange(200)), pairs.select(np.arange(200, 300)))
    assert reached["byte histograms"] > 0.9 and reached["majority class"] == 0.5


def test_latent_semantics_tells_documents_of_one_topic_that_share_few_words():
    """Each of ten topics has 40 words of its own made of the same letters, each document ten of them."""
    rng = np.random.default_rng(3)
    words = ["".join(rng.permutation(list("abcdefgh"))) for _ in range(400)]
    labels, rows = np.arange(1000) % 2, []
    for label in labels:
        topic = rng.integers(10)
        other = topic if label else (topic + rng.integers(1, 10)) % 10
        texts = [" ".join(rng.choice(words[40 * t : 40 * t + 40], 10, replace=False)) for t in (topic, other)]
        rows += [np.frombuffer(text.encode(), np.uint8).astype(int) + 1 for text in texts]
    pairs = Sequences.from_list(rows, labels.tolist(), 257, 2, parts=2)
    reached = floors("retrieval", pairs.select(np.arange(700)), pairs.select(np.arange(700, 1000)))
    assert reached["latent semantic analysis"] > 0.9 and reached["byte histograms"] < 0.6


def test_next_byte_floors_by_hand():
    """Training text "ababac": after a comes b twice and c once, after b comes a. Test text "abca": the
    commonest successor overall is a (2) or b (2), the first of them a; right at one place of three. After the last:
    a -> b right, b -> a wrong (c), c -> nothing seen, id 0, wrong."""
    ids = {"a": 1, "b": 2, "c": 3}
    train, test = (Sequences.from_list([np.array([ids[x] for x in t])], [0], 4, 4) for t in ("ababac", "abca"))
    reached = floors("language", train, test)
    assert reached["commonest byte"] == pytest.approx(1 / 3)
    assert reached["commonest byte after the last"] == pytest.approx(1 / 3)


def test_nearest_neighbours_see_shape_and_neither_brightness_nor_contrast() -> None:
    """Two shapes at any level and contrast; by hand, the majority of the ten nearest of the pictures that are kept."""
    rng = np.random.default_rng(0)
    shapes = rng.normal(size=(2, 64))

    def drawn(n: int) -> Sequences:
        labels = rng.integers(0, 2, n)
        contrast, level = rng.uniform(10, 25, (n, 1)), rng.uniform(90, 150, (n, 1))
        noise = rng.normal(size=(n, 64))
        return pixels(np.clip(contrast * (shapes[labels] + noise) + level, 0, 255).astype(np.uint8), labels, 2)

    train, test = drawn(200), drawn(100)
    images = [d.tokens.reshape(-1, 4, 2, 4, 2).mean((2, 4)).reshape(-1, 16) for d in (train, test)]
    kept, seen = ((x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True) for x in images)
    nearest = np.argsort(((seen[:, None] - kept) ** 2).sum(-1), axis=1)[:, :10]
    votes = train.labels[nearest].mean(1)
    clear = votes != 0.5
    found = Neighbours().fit(coarse(train), train.labels).predict(coarse(test))
    assert np.array_equal(found[clear], votes[clear] > 0.5) and clear.mean() > 0.8
    assert floors("image", train, test)["nearest neighbours"] > 0.9
    few = train.select(np.arange(4))
    assert 0 <= floors("image", few, test)["nearest neighbours"] <= 1
