"""What a working memory remembered: how well it recalled its patterns, and how long its calcium stayed up."""

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from astro_sim.errors import InputError
from astro_sim.working_memory_model import ZONE, WorkingMemoryModel

MOST_SPIKES = 30  # the largest threshold that is tried


def spike_counts(recording: xr.Dataset, window: float = 0.25) -> xr.DataArray:
    """Spikes of every neuron in the first `window` seconds of every show, dimensions (show, neuron).

    Raises
    ------
    InputError
        If the recording ends before a window does.
    """
    start, end = recording.start.values, float(recording.time[-1])
    if not 0 < window <= end - start.max() + 1e-9:
        raise InputError("window", window, f"above 0 and at most {end - start.max():g} s, which follow the last show")
    time, neuron = recording.spike_time.values, recording.spike_neuron.values
    counts = [
        np.bincount(neuron[(time >= begin) & (time < begin + window)], minlength=recording.sizes["neuron"])
        for begin in start
    ]
    return xr.DataArray(np.array(counts), dims=("show", "neuron"), attrs={"units": "1"})


def recall_correlation(recording: xr.Dataset, *, window: float = 0.25, threshold: int | None = None) -> xr.DataArray:
    """How well the neurons that fired at each cue are those of its clean pattern.

    A neuron is recalled if it fires more than `threshold` times in the `window` that starts with the cue. The
    correlation is the mean of two shares, the pattern's neurons that are recalled and the others that are not: 1 is the
    pattern itself, 0.5 is chance, and a cue with a share q of its pixels flipped is 1 − q away from its own pattern.

    Parameters
    ----------
    recording : xarray.Dataset
        Of `simulate_working_memory`.
    window : float
        Seconds; default the length of the astrocytes' enhancement.
    threshold : int, optional
        Spikes. Default: the one of 1 to 30 at which the mean over the cues of learned patterns (over all cues, if none
        was learned) is largest, as in the published run.

    Returns
    -------
    xarray.DataArray
        Dimension ``show``, one for each cue, with the coordinates ``character``, ``start``, ``learned`` (whether the
        pattern was), and the threshold in ``attrs``.

    Raises
    ------
    InputError
        If `threshold` is no number of spikes, or the recording ends before a window does.

    References
    ----------
    Gordleeva et al. (2021) Front Cell Neurosci 15:631485; the definition is that of its published run.
    """
    if threshold is not None and (not isinstance(threshold, int) or threshold < 0):
        raise InputError("threshold", threshold, "a whole number of spikes >= 0")
    cues = np.flatnonzero(recording.is_cue.values == 1)
    character = recording.character.values
    learned = np.isin(character[cues], character[recording.is_cue.values == 0])
    pattern = recording.pattern.values[cues] == 1
    counts = spike_counts(recording, window).values[cues]
    scored = learned if learned.any() else np.ones_like(learned)

    def correlation(limit: int) -> NDArray[np.float64]:
        return 0.5 * (_share(counts > limit, pattern) + _share(counts <= limit, ~pattern))

    if threshold is None:
        threshold = max(range(1, MOST_SPIKES + 1), key=lambda limit: correlation(limit)[scored].mean())
    return xr.DataArray(
        correlation(threshold),
        dims="show",
        coords={
            "character": ("show", character[cues]),
            "start": ("show", recording.start.values[cues], {"units": "s"}),
            "learned": ("show", learned),
        },
        attrs={"units": "1", "long_name": "recall correlation", "threshold": threshold, "window_s": window},
        name="recall_correlation",
    )


def memory_window(recording: xr.Dataset) -> xr.Dataset:
    """When the calcium of the astrocytes under each learned pattern is high enough to enhance synapses.

    Those astrocytes are the ones of whose 16 neurons enough belong to the pattern to drive them.

    Returns
    -------
    xarray.Dataset
        Dimension ``show``, one for each learned pattern, with its ``character``: ``opens`` and ``closes``, seconds from
        the start of the show, medians over those astrocytes that open, at the recorded rows: 0 where calcium is still
        up from an earlier pattern, ``closes`` nan where it stays up to the end (later cues drive it again).
        ``opened``: the share of the astrocytes that open.
    """
    model = WorkingMemoryModel.from_json(recording.attrs["parameters"])
    shows = np.flatnonzero(recording.is_cue.values == 0)
    seen, least = model.zones(), model.memory.F_act * ZONE**2
    calcium, time = recording.calcium.values, recording.time.values
    rows = []
    for show in shows:
        begin = recording.start.values[show]
        driven = recording.pattern.values[show][seen].sum(axis=1) >= least
        up = calcium[time >= begin][:, driven] > model.memory.Ca_thr
        since = np.round(time[time >= begin] - begin, 9)
        up = up[:, up.any(axis=0)]
        opens = since[up.argmax(axis=0)]
        after = ~up & (since[:, None] > opens)
        closes = np.where(after.any(axis=0), since[after.argmax(axis=0)], np.nan)
        share = up.shape[1] / max(1, driven.sum())
        rows.append((np.median(opens), np.median(closes), share) if up.size else (np.nan, np.nan, 0.0))
    opens, closes, opened = np.array(rows).reshape(-1, 3).T
    return xr.Dataset(
        {
            "opens": ("show", opens, {"units": "s"}),
            "closes": ("show", closes, {"units": "s"}),
            "opened": ("show", opened, {"units": "1"}),
        },
        coords={"character": ("show", recording.character.values[shows])},
    )


def _share(found: NDArray[np.bool_], among: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The share of `among` that is found, by show."""
    return np.asarray((found & among).sum(axis=1) / among.sum(axis=1))
