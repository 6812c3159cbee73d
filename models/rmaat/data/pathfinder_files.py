"""Pathfinder in the official folders: ``imgs/<batch>/sample_<i>.png`` and ``metadata/<batch>.npy``.

The metadata of Long Range Arena's release are text in spite of their name, one line an image: folder, file,
index, label and further columns. A fresh run of the original generator writes arrays of strings instead;
both are read.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from astro_sim.errors import InputError
from rmaat.data.image import pixels
from rmaat.data.sequences import Sequences

LABEL_COLUMN = 3
SHARES = {"train": (0.0, 0.8), "validation": (0.8, 0.9), "test": (0.9, 1.0)}


def read_pathfinder(folder: Path) -> dict[str, Sequences]:
    """Images in file order, split 80/10/10 as in Long Range Arena; empty files are left out.

    Raises
    ------
    InputError
        If folders or images are missing, an image is damaged or of another size, or a line of the metadata
        has too few columns or a label that is not 0 or 1.
    """
    listings = sorted((folder / "metadata").glob("*.npy"), key=lambda path: (len(path.stem), path.stem))
    if not listings:
        raise InputError("Pathfinder folder", str(folder), "a folder with imgs/ and metadata/*.npy")
    images: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    for listing in listings:
        for number, columns in enumerate(_lines(listing), start=1):
            if len(columns) <= LABEL_COLUMN or columns[LABEL_COLUMN] not in ("0", "1"):
                said = " ".join(columns)[:80]
                raise InputError(f"{listing}: row {number}", said, "folder, file, index and a label 0 or 1")
            path = folder / columns[0] / columns[1]
            if not path.is_file():
                raise InputError(f"{listing}: row {number}", str(path), "an existing image")
            if path.stat().st_size == 0:
                continue
            images.append(_grey_levels(path))
            labels.append(int(columns[LABEL_COLUMN]))
            if images[-1].shape != images[0].shape:
                raise InputError(str(path), images[-1].shape, f"an image of {images[0].shape} pixels")
            if len(set(images[-1].shape)) > 1:
                raise InputError(str(path), images[-1].shape, "a square image")
    n = len(images)
    if n < 10:
        raise InputError("Pathfinder folder", str(folder), f"at least 10 images ({n} found)")
    stacked, known = np.stack(images), np.array(labels)
    cuts = {split: slice(int(low * n), int(high * n)) for split, (low, high) in SHARES.items()}
    return {split: pixels(stacked[cut], known[cut], num_labels=2) for split, cut in cuts.items()}


def _lines(path: Path) -> list[list[str]]:
    content = path.read_bytes()
    if content.startswith(b"\x93NUMPY"):
        try:
            return np.load(path, allow_pickle=False).astype(str).tolist()
        except ValueError as error:
            raise InputError("metadata", str(path), f"text or an array of strings ({error})") from None
    return [line.split() for line in content.decode("utf-8", "replace").splitlines() if line.strip()]


def _grey_levels(path: Path) -> NDArray[np.uint8]:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("L"))
    except (OSError, UnidentifiedImageError) as error:
        raise InputError("image", str(path), f"a whole PNG ({error})") from None
