"""Readers of the official layouts: what they find in small files made here, and what they say of damage."""

import os
import pickle
from codecs import BOM_UTF8
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile

from astro_sim.errors import InputError
from rmaat.data import audio, image, text
from rmaat.data.pathfinder_files import read_pathfinder
from rmaat.data.tasks import read_layout

rng = np.random.default_rng(0)


def real(name):
    """Where a real data set lies: in $RMAAT_DATA, beside the caches, or in ../shared/data."""
    folders = [Path(os.environ.get("RMAAT_DATA", "data")), Path(__file__).parents[4] / "shared" / "data"]
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    pytest.skip(f"{name} is neither in {folders[0]} nor in {folders[1]}")


def test_reviews_are_their_bytes(imdb):
    splits = text.read_imdb(imdb)
    data = splits["test"]
    assert data.labels.tolist() == [0] * 5 + [1] * 5 and data.vocab_size == 257
    assert text.decode_bytes(data[7]) == "test pos 2 ö\n"
    assert data[7].min() > 0


@pytest.mark.parametrize("harm", ["no folder", "empty file"])
def test_damaged_reviews_are_refused(imdb, harm):
    victim = imdb / "test" / "pos"
    if harm == "no folder":
        for path in victim.iterdir():
            path.unlink()
    else:
        victim = victim / "2_7.txt"
        victim.write_bytes(b"")
    with pytest.raises(InputError) as refused:
        text.read_imdb(imdb)
    assert str(victim) in str(refused.value)


def test_pairs_file(tmp_path):
    path = tmp_path / "new_aan_pairs.eval.tsv"
    path.write_bytes(b'1.0\tA1\tB2\tfirst "quoted\tsecond\n0.0\tA\tB\tx\t' + b"y" * 12_000 + b"\n")
    data = text.read_pairs(path)
    assert data.labels.tolist() == [1, 0] and data.parts == 2
    assert np.diff(data.offsets).tolist() == [13, 6, 1, 10_000]
    assert text.decode_bytes(data[0]) == 'first "quotedsecond'
    path.write_bytes(BOM_UTF8 + path.read_bytes() + b"\n")
    assert np.array_equal(text.read_pairs(path).tokens, data.tokens)


@pytest.mark.parametrize(
    "row", [b"1\tA\tB\tx", b"2\tA\tB\tx\ty", b"one\tA\tB\tx\ty", b"1\tA\tB\t\ty", b"1\tA\tB\tx\ty\tz"]
)
def test_a_damaged_pair_is_named_by_its_row(tmp_path, row):
    path = tmp_path / "new_aan_pairs.test.tsv"
    path.write_bytes(b"1\tA\tB\tx\ty\n" + row + b"\n")
    with pytest.raises(InputError, match="row 2"):
        text.read_pairs(path)


def test_newsgroup_pairs_are_balanced_disjoint_and_without_headers(tmp_path):
    for group in range(3):
        (tmp_path / f"group{group}").mkdir()
        for i in range(40):
            message = f"Newsgroups: group{group}\nSubject: x\n\nbody {group} number {i}\n"
            if i < 4:  # posted twice, two groups the same
                message = f"Newsgroups: group{group}\nSubject: x\n\nbody {min(group, 1)} posted again {i // 2}\n"
            (tmp_path / f"group{group}" / str(i)).write_text(message)
    splits = text.read_newsgroup_pairs(tmp_path, pairs=200, held_out=20, seed=1)
    assert {name: len(data) for name, data in splits.items()} == {"train": 200, "validation": 20, "test": 20}
    for name, data in text.read_newsgroup_pairs(tmp_path, pairs=600, held_out=20, seed=1).items():
        same = slice(0, splits[name].offsets[-1])  # more training pairs: the same first ones, the same held out
        assert np.array_equal(data.tokens[same], splits[name].tokens)
    seen = {}
    for name, data in splits.items():
        assert data.labels.mean() == 0.5
        bodies = [text.decode_bytes(data.tokens[a:b]) for a, b in zip(data.offsets, data.offsets[1:], strict=False)]
        assert all(body.startswith("body") for body in bodies)
        groups = np.array([int(body.split()[1]) for body in bodies]).reshape(-1, 2)
        assert np.array_equal(groups[:, 0] == groups[:, 1], data.labels == 1)
        seen[name] = set(bodies)
    assert not seen["train"] & seen["test"] and not seen["train"] & seen["validation"]
    assert not any("again" in body for bodies in seen.values() for body in bodies)


def test_windows_of_a_text_file(tmp_path):
    path = tmp_path / "story.txt"
    path.write_bytes(bytes(rng.integers(32, 127, 5000, dtype=np.uint8)))
    splits = text.read_plain_text(path, length=100)
    assert {name: len(data) for name, data in splits.items()} == {"train": 45, "validation": 2, "test": 2}
    assert text.decode_bytes(splits["train"].tokens[:4500]).encode() == path.read_bytes()[:4500]


def cifar_records(n):
    return rng.integers(0, 10, n).astype(np.uint8), rng.integers(0, 256, (n, 3072), dtype=np.uint8)


@pytest.fixture(params=["binary", "python"])
def cifar(request, tmp_path):
    """The official folder in one of its two forms, with the arrays that went in."""
    records = {}
    for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
        labels, colour = records[name] = cifar_records(4)
        if request.param == "binary":
            (tmp_path / f"{name}.bin").write_bytes(np.column_stack([labels, colour]).tobytes())
        else:
            batch = {b"data": colour, b"labels": labels.tolist(), b"filenames": [b"a.png"] * 4}
            (tmp_path / name).write_bytes(pickle.dumps(batch, protocol=2))
    return tmp_path, records


def test_cifar_folder(cifar):
    folder, records = cifar
    splits = image.read_cifar(folder)
    labels, colour = records["test_batch"]
    red, green, blue = np.float32(colour.reshape(4, 3, 1024).transpose(1, 0, 2)) / np.float32(255)
    luma = np.float32(0.2989) * red + np.float32(0.5870) * green + np.float32(0.1140) * blue
    assert len(splits["train"]) == 20 and splits["test"].labels.tolist() == labels.tolist()
    grey = splits["test"].tokens.reshape(4, 1024).astype(int) - 1
    assert abs(grey - np.floor(255.5 * luma)).max() <= 1  # the order of a float32 sum moves the last bit
    assert (grey == np.floor(255.5 * luma)).mean() > 0.99


class Malicious:
    def __reduce__(self):
        return (os.system, ("echo harm",))


@pytest.mark.parametrize("harm", ["code", "garbage", "truncated", "shape", "missing"])
def test_a_python_batch_that_is_none_is_refused_and_runs_nothing(tmp_path, capfd, harm):
    labels, colour = cifar_records(4)
    content = {
        "code": pickle.dumps({b"data": Malicious(), b"labels": [1]}),
        "garbage": b"not a pickle",
        "truncated": pickle.dumps({b"data": colour, b"labels": labels.tolist()})[:-200],
        "shape": pickle.dumps({b"data": colour[:3], b"labels": labels.tolist()}),
        "missing": pickle.dumps({b"data": colour}),
    }[harm]
    (tmp_path / "data_batch_1").write_bytes(content)
    with pytest.raises(InputError, match="data_batch_1"):
        image.read_cifar(tmp_path)
    assert "harm" not in capfd.readouterr().out


def test_a_binary_batch_of_broken_records_is_refused(tmp_path):
    labels, colour = cifar_records(4)
    content = np.column_stack([labels, colour])
    path = tmp_path / "data_batch_1.bin"
    path.write_bytes(content.tobytes()[:-7])
    with pytest.raises(InputError, match="3073"):
        image.read_cifar(tmp_path)
    content[2, 0] = 200
    path.write_bytes(content.tobytes())
    with pytest.raises(InputError, match="row 3"):
        image.read_cifar(tmp_path)


def test_npz_images_and_what_is_refused(tmp_path):
    path = tmp_path / "images.npz"
    arrays = {
        "x_train": rng.integers(0, 256, (6, 8, 8), dtype=np.uint8),
        "y_train": np.arange(6),
        "x_test": rng.integers(0, 256, (2, 8, 8), dtype=np.uint8),
        "y_test": np.arange(2),
    }
    np.savez(path, **arrays)
    splits = image.read_npz(path)
    assert np.array_equal(splits["train"][3] - 1, arrays["x_train"][3].ravel())
    assert image.read_images(path.parent)["train"].tokens.tobytes() == splits["train"].tokens.tobytes()
    np.savez(path, **arrays | {"x_test": np.array([{}, {}], dtype=object)})
    with pytest.raises(InputError, match=r"images\.npz"):
        image.read_npz(path)
    np.savez(path, **{name: array for name, array in arrays.items() if name != "y_test"})
    with pytest.raises(InputError, match="y_test"):
        image.read_npz(path)
    for name, array, said in (
        ("y_train", np.array([0, 1, 2, -1, 4, 5]), "y_train: row 4: got -1, expected a label from 0 to 5"),
        (
            "y_train",
            np.array([0, 1, 2, 99, 4, 3]),
            "y_train: row 4: got 99, expected classes .* no image is of class 5",
        ),
        ("y_train", np.arange(6) + 1, "y_train: row 1: got 1, expected classes .* no image is of class 0"),
        ("y_test", np.array([0, 6]), "y_test: row 2: got 6, expected a label from 0 to 5"),
        ("y_test", np.array([0.0, np.nan]), "y_test: got 'float64 .2,.', expected 2 whole numbers"),
        ("y_train", np.eye(6, dtype=np.int64), "y_train: got 'int64 .6, 6.', expected 6 whole numbers"),
        ("y_train", np.array(list("abcdef")), "expected 6 whole numbers"),
        ("x_test", arrays["x_test"].repeat(2, axis=1), "x_test: got 'uint8 .2, 16, 8.', expected .*square"),
        ("x_train", rng.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8), "x_train: got 'uint8 .6, 8, 8, 3.'"),
        ("x_train", rng.integers(0, 256, (6, 60), dtype=np.uint8), "x_train: got 'uint8 .6, 60.'"),
        ("x_train", np.zeros((6, 0), np.uint8), "x_train: got 'uint8 .6, 0.'"),
        ("x_train", np.uint8(3), "x_train: got 'uint8 ..'"),
    ):
        np.savez(path, **arrays | {name: array})
        with pytest.raises(InputError, match=said):
            image.read_npz(path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(InputError, match=r"images\.npz"):
        image.read_npz(path)


def test_damage_anywhere_in_a_compressed_npz_is_one_line(tmp_path):
    """zipfile and zlib raise errors of their own, another one at nearly every place."""
    path = tmp_path / "images.npz"
    images, labels = rng.integers(0, 256, (6, 8, 8), dtype=np.uint8), np.arange(6)
    np.savez_compressed(path, x_train=images, y_train=labels, x_test=images, y_test=labels)
    whole = path.read_bytes()
    refused = 0
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            image.read_npz(path)  # a flipped date, say, does no harm
        except InputError as error:
            refused += "images.npz" in str(error)
    assert refused > len(whole) / 7 / 2


@pytest.fixture(params=["text", "array"])
def pathfinder_folder(request, tmp_path):
    (tmp_path / "metadata").mkdir()
    for batch in ("0", "10", "2"):
        (tmp_path / "imgs" / batch).mkdir(parents=True)
        lines = []
        for i in range(10):
            name = f"sample_{i}.png"
            level = int(batch) * 10 + i
            Image.fromarray(np.full((32, 32), level, np.uint8)).save(tmp_path / "imgs" / batch / name)
            lines.append([f"imgs/{batch}", name, str(i), str(i % 2), "1.0", "14"])
        path = tmp_path / "metadata" / f"{batch}.npy"
        if request.param == "text":
            path.write_text("".join(" ".join(line) + "\n" for line in lines))
        else:
            np.save(path, np.array(lines))
    return tmp_path


def test_pathfinder_folder(pathfinder_folder):
    (pathfinder_folder / "imgs" / "0" / "sample_4.png").write_bytes(b"")
    splits = read_pathfinder(pathfinder_folder)
    levels = np.concatenate([splits[name].tokens[::1024] for name in ("train", "validation", "test")]) - 1
    order = [batch * 10 + i for batch in (0, 2, 10) for i in range(10)]
    order.remove(4)
    assert levels.tolist() == order
    assert [len(splits[name]) for name in ("train", "validation", "test")] == [23, 3, 3]
    assert splits["train"].labels[:5].tolist() == [0, 1, 0, 1, 1]


def test_damaged_pathfinder_files_are_named(pathfinder_folder):
    listing = pathfinder_folder / "metadata" / "2.npy"
    listing.write_text("imgs/2 sample_0.png 0 1\nimgs/2 sample_1.png 1\n")
    with pytest.raises(InputError, match=r"2\.npy: row 2"):
        read_pathfinder(pathfinder_folder)
    (pathfinder_folder / "imgs" / "0" / "sample_3.png").write_bytes(b"\x89PNG broken")
    with pytest.raises(InputError, match=r"sample_3\.png"):
        read_pathfinder(pathfinder_folder)
    (pathfinder_folder / "imgs" / "0" / "sample_3.png").unlink()
    with pytest.raises(InputError, match=r"0\.npy: row 4: got '.*sample_3\.png', expected an existing image"):
        read_pathfinder(pathfinder_folder)


def test_a_pathfinder_picture_that_is_not_square_is_named(pathfinder_folder):
    Image.fromarray(np.zeros((32, 48), np.uint8)).save(pathfinder_folder / "imgs" / "0" / "sample_0.png")
    with pytest.raises(InputError, match=r"sample_0\.png: got \(32, 48\), expected a square image"):
        read_pathfinder(pathfinder_folder)


def test_spoken_digits(tmp_path):
    samples = (3000 * np.sin(np.arange(800) / 5)).astype(np.int16)
    for name in ("3_ann_0", "3_ann_5", "7_bob_12"):
        wavfile.write(tmp_path / f"{name}.wav", 8000, samples)
    splits = audio.read_spoken_digits(tmp_path)
    assert splits["test"].labels.tolist() == [3] and sorted(splits["train"].labels) == [3, 7]
    wavfile.write(tmp_path / "7_bob_13.wav", 16000, samples)
    with pytest.raises(InputError, match="7_bob_13"):
        audio.read_spoken_digits(tmp_path)
    whole = (tmp_path / "7_bob_12.wav").read_bytes()
    for length in (0, 4, 10, 21, 30, 43):
        (tmp_path / "7_bob_13.wav").write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"7_bob_13.*a WAV file"):
            audio.read_spoken_digits(tmp_path)


def test_mu_law_inverts_to_half_a_step():
    """x = sign(y) ((1 + mu)^|y| - 1) / mu at the middle of a step is within half a step of y."""
    samples = np.arange(-32768, 32768, 37).astype(np.int16)
    y = (audio.mu_law(samples).astype(float) - 0.5) / 128 - 1
    back = np.sign(y) * (256 ** np.abs(y) - 1) / 255
    exact = np.sign(samples) * np.log1p(255 * np.abs(samples / 32768)) / np.log(256)
    assert abs(y - exact).max() <= 1 / 256 + 1e-9
    assert np.corrcoef(back, samples)[0, 1] > 0.999


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "name", "source", "sizes"),
    [
        ("text", "aclImdb.tar.xz", None, (22_500, 2_500, 12_500)),
        ("image", "cifar10_gray.npz", None, (45_000, 5_000, 1_000)),
        ("image", "cifar-10-binary-sample.tar.gz", None, (450, 50, 100)),
        ("mnist", "mnist.npz", None, (54_000, 6_000, 10_000)),
        ("digits", "fsdd.tar.xz", None, (2_430, 270, 300)),
        ("retrieval", "20news.tar.xz", "20news", (80_000, 2_000, 2_000)),
        ("language", "wikitext-2.tar.xz", None, (10_573, 1_095, 1_227)),
    ],
)
def test_the_real_data_sets(task, name, source, sizes):
    splits = read_layout(task, real(name), source)
    assert tuple(len(data) for data in splits.values()) == sizes


@pytest.mark.slow
def test_grey_pixels_are_exact():
    """100 official colour test images against the published grey ones, every pixel."""
    ours = read_layout("image", real("cifar-10-binary-sample.tar.gz"))["test"]
    with np.load(real("cifar10_gray.npz")) as known:
        assert np.array_equal(ours.tokens.reshape(100, 1024) - 1, known["x_test"][:100])
        assert np.array_equal(ours.labels, known["y_test"][:100])
