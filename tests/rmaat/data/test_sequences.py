"""Flat sequence arrays: round trips, padding, batches."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from astro_sim.errors import InputError
from rmaat.data.sequences import Sequences, length_bucketed_batches

rows = st.lists(arrays(np.uint8, st.integers(1, 30), elements=st.integers(1, 99)), min_size=2, max_size=20)


def pack(some, parts=1):
    labels = [int(row[0]) % 3 for row in some[::parts]]
    return Sequences.from_list(some, labels, vocab_size=100, num_labels=3, parts=parts)


@given(rows)
@settings(max_examples=30, deadline=None)
def test_rows_come_back_from_disk_and_from_a_padded_batch(tmp_path_factory, some):
    folder = tmp_path_factory.mktemp("cache") / "split"
    pack(some).save(folder)
    data = Sequences.open(folder)
    ids, lengths = data.padded(np.arange(len(some)))
    assert isinstance(data.tokens, np.memmap) and ids.shape[1] == max(map(len, some))
    for i, row in enumerate(some):
        assert np.array_equal(data[i], row) and data.labels[i] == row[0] % 3
        assert np.array_equal(ids[i, : lengths[i]], row) and not ids[i, lengths[i] :].any()


def test_pairs_keep_their_two_documents_together():
    some = [np.arange(1, 4), np.arange(5, 7), np.arange(10, 15), np.arange(20, 21)]
    data = Sequences.from_list(some, [0, 1], 100, 2, parts=2)
    ids, lengths = data.select(np.array([1])).padded(np.array([0]), max_length=4)
    assert lengths.tolist() == [4, 1] and ids.tolist() == [[10, 11, 12, 13], [20, 0, 0, 0]]
    assert data.lengths.tolist() == [3, 5]


def test_cut_sequences_are_those_of_padded_batches():
    some = [np.arange(1, 4), np.arange(5, 7), np.arange(10, 15), np.arange(20, 21)]
    data = Sequences.from_list(some, [0, 1], 100, 2, parts=2)
    cut = data.cut(2)
    assert cut.parts == 2 and cut.labels.tolist() == [0, 1]
    for ours, theirs in zip(cut.padded(np.arange(2)), data.padded(np.arange(2), max_length=2), strict=True):
        assert np.array_equal(ours, theirs)


def test_split_is_a_partition():
    data = pack([np.full(i + 1, i + 1) for i in range(40)])
    first, second = data.split(0.25, seed=1)
    assert len(second) == 10
    assert sorted([*first.lengths.tolist(), *second.lengths.tolist()]) == list(range(1, 41))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("tokens", np.arange(8.0), "tokens.npy.* a row of whole numbers"),
        ("tokens", np.ones((2, 4), np.uint8), "tokens.npy.* a row of whole numbers"),
        ("tokens", np.array([1, 2, 3, 0, 5, 6, 7, 8]), "tokens.npy.* ids from 1 to 99"),
        ("tokens", np.array([1, 2, 3, 4, 5, 6, 7, 100]), "tokens.npy.* ids from 1 to 99"),
        ("offsets", np.array([0.0, 3.0, 8.0]), "offsets.npy.* a row of whole numbers"),
        ("offsets", np.array([1, 3, 8]), "that fit together"),
        ("offsets", np.array([0, 9, 8]), "that fit together"),
        ("offsets", np.array([0, 0, 8]), "that fit together"),
        ("offsets", np.array([0, 9, 8], np.uint64), "offsets.npy.* whole numbers of 64 bits"),
        ("labels", np.array([0, 1], np.int32), "labels.npy.* whole numbers of 64 bits"),
        ("labels", np.array([0, 1], ">i8"), "labels.npy.* a row of whole numbers"),
        ("labels", np.array([[0], [1]]), "labels.npy.* a row of whole numbers"),
        ("labels", np.array(0), "labels.npy.* a row of whole numbers"),
        ("labels", np.array([], np.int64), "labels.npy.* a row of whole numbers"),
        ("labels", np.array([0, -1]), "labels.npy.* from 0 to 2"),
        ("about", {"num_labels": "a"}, "about.json: num_labels: got 'a'"),
        ("about", {"vocab_size": 0}, "about.json: vocab_size: got 0"),
        ("about", {"parts": None}, "about.json: parts: got None"),
        ("about", {"about": None}, "about.json: about: got None, expected a table"),
    ],
)
def test_arrays_that_are_no_sequences_are_refused(tmp_path, name, content, said):
    folder = pack([np.arange(1, 4), np.arange(4, 9)]).save(tmp_path / "cache")
    if name == "about":
        path = folder / "about.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | content))
    else:
        np.save(folder / f"{name}.npy", content)
    with pytest.raises(InputError, match=said):
        Sequences.open(folder)


@pytest.mark.parametrize("harm", ["missing", "truncated", "empty", "other", "no class", "fraction"])
def test_a_damaged_cache_is_refused(tmp_path, harm):
    folder = pack([np.arange(1, 9)] * 3).save(tmp_path / "cache")
    tokens = folder / "tokens.npy"
    if harm == "missing":
        tokens.unlink()
    elif harm == "truncated":
        tokens.write_bytes(tokens.read_bytes()[:-5])
    elif harm == "empty":
        tokens.write_bytes(b"")
    elif harm == "no class":
        np.save(folder / "labels.npy", np.array([0, 99, 1]))
    elif harm == "fraction":
        np.save(folder / "labels.npy", np.array([0.0, 0.5, 1.0]))
    else:
        np.save(tokens, np.arange(1, 20, dtype=np.uint8))
    with pytest.raises(InputError, match="cache"):
        Sequences.open(folder)


def test_batches_of_an_epoch():
    """Every example at most once, all but the incomplete batch; a function of seed and epoch; less padding
    than batches of random examples."""
    lengths = np.random.default_rng(0).integers(1, 2000, 1010)
    batches = list(length_bucketed_batches(lengths, 32, seed=3, epoch=1))
    seen = np.concatenate(batches)
    assert len(batches) == 1010 // 32 and len(set(seen.tolist())) == len(seen)
    again = list(length_bucketed_batches(lengths, 32, seed=3, epoch=1))
    assert all(np.array_equal(a, b) for a, b in zip(batches, again, strict=True))
    assert not np.array_equal(seen, np.concatenate(list(length_bucketed_batches(lengths, 32, 3, 2))))
    padded = sum(32 * lengths[batch].max() for batch in batches)
    assert padded < 1.1 * lengths[seen].sum()
