"""Targets: which there are, which is chosen, and what is refused."""

import numpy as np
import pytest

from astro_sim.errors import InputError
from rmaat_lava import choose_target, run, shim, targets


def test_auto_takes_the_first_that_works(monkeypatch):
    assert choose_target("auto") == next(t.name for t in targets.TARGETS if t.missing() is None)
    monkeypatch.setattr(shim, "lava_version", lambda: None)
    assert choose_target("auto") == "numpy"


def test_missing_target_names_what_to_install(monkeypatch):
    with pytest.raises(InputError, match=r"loihi2.*needs"):
        choose_target("loihi2")
    monkeypatch.setattr(shim, "lava_version", lambda: None)
    with pytest.raises(InputError, match=r"pip install --no-deps --ignore-requires-python lava-nc==0\.10\.0"):
        choose_target("lava")


@pytest.mark.skipif(shim.lava_version() != shim.LAVA_VERSION, reason=f"lava-nc {shim.LAVA_VERSION} is not installed")
def test_loihi2_is_chosen_only_where_all_of_it_is_there(monkeypatch):
    """Compiler, board and neuro-core models appear one after the other; each missing one is named."""
    monkeypatch.delenv("NXSDKHOST", raising=False)
    monkeypatch.delenv("SLURM", raising=False)
    there: set[str] = set()
    monkeypatch.setattr(targets, "_found", lambda module: module in there)
    for named, arrives in (
        ("Loihi compiler", lambda: there.add("lava.magma.compiler.subcompilers.nc")),
        ("Loihi 2 board", lambda: monkeypatch.setenv("NXSDKHOST", "board")),
        ("rmaat_lava_nc", lambda: there.add("rmaat_lava_nc")),
    ):
        assert choose_target("auto") == "lava"
        with pytest.raises(InputError, match=named) as caught:
            choose_target("loihi2")
        assert "\n" not in str(caught.value)
        arrives()
    assert choose_target("loihi2") == choose_target("auto") == "loihi2"


def test_unknown_target_lists_the_known_ones():
    with pytest.raises(InputError, match="loihi2, lava, numpy, auto"):
        choose_target("gpu")


def test_shim_refuses_another_version(monkeypatch):
    monkeypatch.setattr(shim, "lava_version", lambda: "0.9.0")
    with pytest.raises(InputError, match=r"lava-nc 0\.10\.0"):
        shim.install()


@pytest.mark.parametrize(
    ("inputs", "lengths", "named"),
    [
        ([], None, "inputs"),
        ([np.array([1, 99])], None, "inputs"),
        ([np.array([1, -1])], None, "inputs"),
        ([np.array([1.5, 2])], None, "inputs"),
        (np.ones((3, 5), int), [5, 5], "lengths"),
        (np.ones((2, 5), int), [5, 6], "lengths"),
        (np.ones((2, 5), int), [5, 0], "lengths"),
        (np.ones((1, 3000), int), [3000], "lengths"),
        (np.ones((2, 5), int), [5, 4.5], "lengths: got 4.5, expected 2 of 1 to 5 tokens"),
        (np.ones((2, 5), int), [5, np.nan], "lengths: got nan"),
        (np.ones((2, 5), int), ["5", "4"], "lengths: got 'values of <U1', expected numbers"),
        (np.ones((2, 5), int), [[5], [4, 3]], r"lengths: got \[\[5\], \[4, 3\]\], expected one array"),
        (np.ones(5, int), [5], r"inputs: got 'shape \(5,\)', expected \(sequences, length\)"),
        (np.ones(5, int), None, r"inputs: got 'shape \(\)', expected \(length,\)"),
        (7, None, r"inputs: got 'shape \(\)'"),
        ([[1, 2], [3]], [2, 1], "inputs: got .* rows of one length"),
        ([[1, [2, 3]]], None, "inputs: got .* rows of one length"),
        ([np.ones(3, int), np.ones((3, 2), int)], None, "as many features in all"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(deployment, inputs, lengths, named):
    with pytest.raises(InputError, match=named):
        run(deployment, inputs, "numpy", lengths=lengths)


@pytest.mark.parametrize(
    ("inputs", "lengths", "named"),
    [
        ([], None, "no sequence"),
        ([np.ones(5, int)], None, "pairs of documents"),
        ([np.ones(2, int)], None, "pairs of documents"),
        ([1, 2], None, "pairs of documents"),
        ([[np.ones(5, int)] * 3], None, "pairs of documents"),
        (np.ones((4, 5), int), [5, 5, 5, 5], r"pairs of documents \(pairs, 2, length\)"),
        (np.ones((4, 2, 5), int), [5, 5, 5, 5], r"numbers of shape \(4, 2\)"),
        (np.ones((1, 2, 5), int), [[5, 6]], "lengths: got 6"),
        ([[np.array([1, 99]), np.array([1])]], None, "token ids"),
    ],
)
def test_inputs_that_are_no_pairs_are_refused(pair_deployment, inputs, lengths, named):
    with pytest.raises(InputError, match=named):
        run(pair_deployment, inputs, "numpy", lengths=lengths)


def test_list_and_padded_array_are_the_same(deployment):
    rows = [np.array([1, 2, 3, 4]), np.arange(1, 12)]
    padded = np.zeros((2, 20), int)
    for target, row in zip(padded, rows, strict=True):
        target[: len(row)] = row
    listed = run(deployment, rows, "numpy")
    np.testing.assert_array_equal(listed.logits, run(deployment, padded, "numpy", lengths=[4, 11]).logits)
    assert listed.target == "numpy"
