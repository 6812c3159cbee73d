"""Reviews in the official layout, for readers and for the commands that call them."""

import pytest


@pytest.fixture
def imdb(tmp_path):
    folder = tmp_path / "aclImdb"
    for split in ("train", "test"):
        for label in ("neg", "pos"):
            (folder / split / label).mkdir(parents=True)
            for i in range(5):
                (folder / split / label / f"{i}_7.txt").write_bytes(f"{split} {label} {i} ö\n".encode())
    return folder
