"""From what a user has, token ids or features, to the integers that a program reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from astro_sim.errors import InputError
from rmaat_lava.arithmetic import LIMIT, Integers

if TYPE_CHECKING:
    from rmaat_lava.deployment import Deployment


def prepare(deployment: Deployment, inputs: Any, lengths: np.ndarray | None) -> tuple[Integers, Integers]:
    """Check and convert inputs.

    Parameters
    ----------
    deployment : Deployment
    inputs, lengths
        As in `rmaat_lava.run`.

    Returns
    -------
    int64 array
        Rows of the embedding that each token activates, (sequences, length, active), or messages of features,
        (sequences, length, features). The documents of a pair are neighbouring sequences.
    int64 array of shape (sequences,)
        Tokens that exist.

    Raises
    ------
    InputError
        If the inputs do not fit the deployment.
    """
    if deployment.program.documents == 2:
        inputs, lengths = _apart(inputs, lengths)
    if lengths is None:
        padded, lengths = _padded(inputs)
    else:
        padded, lengths = _numbers("inputs", inputs), _numbers("lengths", lengths)
    if padded.ndim < 2:
        raise InputError("inputs", f"shape {padded.shape}", "(sequences, length) and, of features, (…, features)")
    if not len(padded):
        raise InputError("inputs", "no sequence", "at least one")
    longest = min(padded.shape[1], deployment.max_length)
    outside = lengths[(lengths < 1) | (lengths > longest) | (lengths % 1 != 0)]
    if lengths.shape != padded.shape[:1] or outside.size:
        shown = outside[0].item() if outside.size else f"{lengths.size} numbers"
        raise InputError("lengths", shown, f"{len(padded)} of 1 to {longest} tokens")
    lengths = lengths.astype(np.int64)
    about = deployment.description
    if about["input_kind"] == "features":
        if padded.ndim != 3 or padded.shape[2] != about["input_dim"] or not np.isfinite(padded).all():
            wanted = f"finite features (sequences, length, {about['input_dim']})"
            raise InputError("inputs", padded.shape, wanted)
        messages = np.rint(padded * 2.0 ** about["exponents"]["inputs"])
        return np.clip(messages, -LIMIT, LIMIT).astype(np.int64), lengths
    vocabulary = about["vocab_size"]
    if padded.ndim != 2 or padded.min() < 0 or padded.max() >= vocabulary or (padded % 1).any():
        raise InputError("inputs", padded.shape, f"token ids (sequences, length) from 0 to {vocabulary - 1}")
    size = deployment.program.segment_length
    ids = np.pad(padded.astype(np.int64), [(0, 0), (0, -padded.shape[1] % size)]).reshape(-1, size)
    rows = active_rows(ids, about["ngrams"], vocabulary, about["buckets"])
    return rows.reshape(len(padded), -1, rows.shape[-1])[:, : padded.shape[1]], lengths


def _apart(inputs: Any, lengths: np.ndarray | None) -> tuple[np.ndarray | list[np.ndarray], np.ndarray | None]:
    """The documents of pairs one after the other, in one padded array or as a list."""
    if lengths is None:
        for pair in inputs:
            if not np.iterable(pair) or len([*pair]) != 2 or not all(map(np.iterable, pair)):
                shown = f"an example of shape {np.shape(pair)}" if isinstance(pair, np.ndarray) else repr(pair)[:60]
                raise InputError("inputs", shown, "pairs of documents")
        return [document for pair in inputs for document in pair], None
    padded, lengths = _numbers("inputs", inputs), _numbers("lengths", lengths)
    if padded.ndim < 3 or padded.shape[1] != 2:
        raise InputError("inputs", padded.shape, "pairs of documents (pairs, 2, length)")
    if lengths.shape != padded.shape[:2]:
        raise InputError("lengths", lengths.shape, f"numbers of shape {padded.shape[:2]}")
    return padded.reshape(-1, *padded.shape[2:]), lengths.ravel()


def _numbers(field: str, values: Any) -> np.ndarray:
    """`values` as an array of numbers; rows of several lengths are none."""
    try:
        found = np.asarray(values)
    except ValueError:
        raise InputError(field, values, "one array, rows of one length") from None
    if found.dtype.kind not in "buif":
        raise InputError(field, f"values of {found.dtype}", "numbers")
    return found


def _padded(inputs: np.ndarray | Sequence[np.ndarray]) -> tuple[np.ndarray, Integers]:
    """Sequences of any lengths in one array, zeros at their ends."""
    rows = [_numbers("inputs", row) for row in (inputs if np.iterable(inputs) else [inputs])]
    for row in rows:
        if row.ndim == 0 or row.shape[1:] != rows[0].shape[1:]:
            allowed = "(length,) or (length, features), one array a sequence and as many features in all"
            raise InputError("inputs", f"shape {row.shape}", allowed)
    lengths = np.array([len(row) for row in rows], np.int64)
    padded = np.zeros((len(rows), max(lengths, default=0), *(rows[0].shape[1:] if rows else ())), np.float64)
    for i, row in enumerate(rows):
        padded[i, : len(row)] = row
    return padded, lengths


def active_rows(ids: Integers, longest: int, vocabulary: int, buckets: int) -> Integers:
    """Rows of the embedding that the tokens of a segment activate, (segments, n, longest).

    A token's own row, then those of the bigram, trigram, ... that end at it; see `rmaat.stem.HashedNGrams`.

    Parameters
    ----------
    ids : int64 array of shape (segments, n)
    longest : int
        Tokens of the longest n-gram, 1 for none.
    vocabulary, buckets : int
        Rows of the tokens, then of the n-grams of each length.
    """
    rows, code = [ids], ids
    for before in range(1, longest):
        earlier = np.pad(ids, [(0, 0), (before, 0)])[:, : ids.shape[1]]
        code = (code * 1_000_003 + earlier) % (2**31 - 1)
        rows.append(vocabulary + (before - 1) * buckets + code % buckets)
    return np.stack(rows, axis=-1)
