"""Grey pixels in raster order: CIFAR-10 in its official layouts, MNIST, arrays of your own.

The id of a grey level is the level + 1, and 0 is padding.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from math import isqrt, prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_sim.errors import InputError
from rmaat.data.sequences import Sequences

VOCAB_SIZE = 257
LUMA = np.array([0.2989, 0.5870, 0.1140], np.float32)
RECORD = 1 + 3 * 1024
BATCHES = {"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)}


def grey(colour: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Grey levels of channel-first colour images, (n, 3 * pixels) to (n, pixels).

    Y = floor(255.5 * (0.2989 R + 0.5870 G + 0.1140 B) / 255), to the bit what tf.image.rgb_to_grayscale makes
    of bytes.
    """
    luma = np.einsum("c,ncp->np", LUMA, colour.reshape(len(colour), 3, -1).astype(np.float32) / 255)
    return (255.5 * luma).astype(np.uint8)


def pixels(images: NDArray[np.uint8], labels: NDArray[Any], num_labels: int = 10) -> Sequences:
    """Sequences of the flattened images, (n, pixels)."""
    images = images.reshape(len(images), -1)
    offsets = np.arange(len(images) + 1, dtype=np.int64) * images.shape[1]
    tokens = images.ravel().astype(np.uint16) + 1
    return Sequences(tokens, offsets, labels.astype(np.int64).ravel(), VOCAB_SIZE, num_labels)


def read_images(path: Path) -> dict[str, Sequences]:
    """Images from an ``.npz``, from a folder with nothing but one, or from the official CIFAR-10 folder."""
    inside = sorted(path.iterdir()) if path.is_dir() else []
    if [item.suffix for item in inside] == [".npz"]:
        path = inside[0]
    return read_npz(path) if path.suffix == ".npz" else read_cifar(path)


def read_cifar(folder: Path) -> dict[str, Sequences]:
    """CIFAR-10 from the official binary batches (``*.bin``) or the official Python batches, as grey pixels.

    Raises
    ------
    InputError
        If a batch is missing, is not a whole number of records, or is a pickle of anything but arrays.
    """
    binary = (folder / "test_batch.bin").exists() or (folder / "data_batch_1.bin").exists()
    splits = {}
    for split, names in BATCHES.items():
        parts = [_binary(folder / f"{name}.bin") if binary else _python(folder / name) for name in names]
        labels, colour = (np.concatenate(part) for part in zip(*parts, strict=True))
        splits[split] = pixels(grey(colour), labels)
    return splits


def _binary(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    if not path.is_file():
        raise InputError("CIFAR-10 batch", str(path), "an existing file")
    content = np.fromfile(path, np.uint8)
    if not len(content) or len(content) % RECORD:
        raise InputError(str(path), f"{len(content)} bytes", f"whole records of {RECORD} bytes")
    records = content.reshape(-1, RECORD)
    return _checked(records[:, 0], path), records[:, 1:]


class _ArraysOnly(pickle.Unpickler):
    """Unpickles dicts, lists, strings, numbers and numpy arrays, and refuses every other name."""

    ALLOWED = frozenset(
        {
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("_codecs", "encode"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} in it")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def _python(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    wanted = "a CIFAR-10 Python batch: a dict of data (n, 3072) and n labels"
    if not path.is_file():
        raise InputError("CIFAR-10 batch", str(path), "an existing file")
    try:
        batch = _ArraysOnly(io.BytesIO(path.read_bytes()), encoding="bytes").load()
        data, labels = np.asarray(batch[b"data"], np.uint8), np.asarray(batch[b"labels"], np.uint8)
    except Exception as error:  # a damaged pickle raises nearly anything
        raise InputError(str(path), f"{type(error).__name__} {error}", wanted) from None
    if data.shape != (len(labels), RECORD - 1):
        raise InputError(str(path), data.shape, wanted)
    return _checked(labels, path), data


def _checked(labels: NDArray[np.uint8], path: Path) -> NDArray[np.uint8]:
    if (labels > 9).any():
        row = int((labels > 9).argmax())
        raise InputError(f"{path}: row {row + 1}", int(labels[row]), "a label from 0 to 9")
    return labels


def read_npz(path: Path) -> dict[str, Sequences]:
    """Images from an ``.npz`` of x_train, y_train, x_test, y_test, grey bytes; never unpickles.

    Raises
    ------
    InputError
        If the file is missing or damaged, an array is missing, or images are not square grey bytes, all of one
        size, with one label each, from 0 to the greatest of y_train, which has them all.
    """
    wanted = "an .npz of uint8 arrays x_train, x_test and labels y_train, y_test"
    if path.is_file() and not zipfile.is_zipfile(path):  # NumPy would speak of pickles
        raise InputError("images", str(path), f"{wanted} (it is another file, or not whole)")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("x_train", "y_train", "x_test", "y_test")}
    except Exception as error:  # zipfile and zlib raise errors of their own
        raise InputError("images", str(path), f"{wanted} ({error})") from None
    splits = {}
    shape, greatest = arrays["x_train"].shape[1:], 0
    for split in ("train", "test"):
        images, labels = arrays[f"x_{split}"], arrays[f"y_{split}"]
        if images.dtype != np.uint8 or not _is_square(images.shape[1:]) or images.shape[1:] != shape or not len(images):
            square = "uint8 (n, pixels) or (n, width, width), grey and square, in x_test as in x_train"
            raise InputError(f"{path}: x_{split}", f"{images.dtype} {images.shape}", square)
        if labels.dtype.kind not in "iu" or labels.size != len(images):
            wanted = f"{len(images)} whole numbers, one label an image"
            raise InputError(f"{path}: y_{split}", f"{labels.dtype} {labels.shape}", wanted)
        if split == "train":
            greatest = int(labels.max())
        if labels.min() < 0 or labels.max() > greatest:
            row = int(((labels < 0) | (labels > greatest)).ravel().argmax())
            allowed = f"a label from 0 to {max(greatest, 0)}, the greatest of y_train"
            raise InputError(f"{path}: y_{split}: row {row + 1}", int(labels.ravel()[row]), allowed)
        if split == "train" and len(classes := np.unique(labels)) <= greatest:
            absent = int((classes != np.arange(len(classes))).argmax())
            row = int((labels.ravel() > absent).argmax())
            allowed = f"classes numbered from 0 without a gap; no image is of class {absent}"
            raise InputError(f"{path}: y_train: row {row + 1}", int(labels.ravel()[row]), allowed)
        splits[split] = pixels(images, labels, greatest + 1)
    return splits


def _is_square(shape: tuple[int, ...]) -> bool:
    """Whether pictures of this shape are (width, width), or a line of width² pixels."""
    width = isqrt(prod(shape))
    return width > 0 and shape in ((width**2,), (width, width))
