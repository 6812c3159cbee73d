"""Spoken digits as 8-bit mu-law samples, one token a sample: the Free Spoken Digit Dataset."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.io import wavfile

from astro_sim.errors import InputError
from rmaat.data.sequences import Sequences

VOCAB_SIZE = 257
SAMPLE_RATE_HZ = 8000
MU = 255


def mu_law(samples: NDArray[np.int16]) -> NDArray[np.uint16]:
    """Ids 1..256 of 16-bit samples, shape (n,).

    y = sign(x) ln(1 + mu |x|) / ln(1 + mu), mu = 255 (ITU-T G.711), in 256 equal steps.
    """
    x = samples.astype(np.float64) / 32768
    y = np.sign(x) * np.log1p(MU * np.abs(x)) / np.log1p(MU)
    return (np.floor((y + 1) / 2 * 256).clip(0, 255) + 1).astype(np.uint16)


def read_spoken_digits(folder: Path) -> dict[str, Sequences]:
    """Recordings ``{digit}_{speaker}_{index}.wav``; index 0-4 is the test split, as is usual.

    Raises
    ------
    InputError
        If there is no recording, or one is misnamed, damaged or not 16-bit mono at 8 kHz.
    """
    room = folder / "recordings" if (folder / "recordings").is_dir() else folder
    paths = sorted(room.glob("*.wav"))
    if not paths:
        raise InputError("spoken digits", str(room), "a folder of {digit}_{speaker}_{index}.wav")
    found: dict[str, tuple[list[NDArray[np.uint16]], list[int]]] = {"train": ([], []), "test": ([], [])}
    for path in paths:
        parts = path.stem.split("_")
        if len(parts) != 3 or not (parts[0].isdecimal() and len(parts[0]) == 1 and parts[2].isdecimal()):
            raise InputError("recording", str(path), "a name {digit}_{speaker}_{index}.wav")
        try:
            rate, samples = wavfile.read(path)
        except Exception as error:  # a damaged file raises nearly anything
            raise InputError("recording", str(path), f"a WAV file ({error})") from None
        if rate != SAMPLE_RATE_HZ or samples.dtype != np.int16 or samples.ndim != 1 or not len(samples):
            said = f"{rate} Hz, {samples.dtype}, {samples.ndim} channels"
            raise InputError(str(path), said, "16-bit mono at 8000 Hz")
        rows, labels = found["test" if int(parts[2]) < 5 else "train"]
        rows.append(mu_law(samples))
        labels.append(int(parts[0]))
    for split, (rows, _) in found.items():
        if not rows:
            raise InputError("spoken digits", str(room), f"recordings of the {split} split (index 0-4: test)")
    return {split: Sequences.from_list(*pair, VOCAB_SIZE, 10) for split, pair in found.items()}
