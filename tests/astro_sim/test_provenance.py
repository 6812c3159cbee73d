"""Files are whole or absent; hashes are the standard ones."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from astro_sim.errors import InputError
from astro_sim.provenance import file_sha256, remove_broken_off, replacing, versions


def test_sha256_of_the_fips_example(tmp_path: Path) -> None:
    """FIPS 180-4's example message "abc"."""
    (tmp_path / "abc").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_sha256(tmp_path / "abc") == expected


def test_replacing_writes_a_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "result.txt"
    for text in ("first", "second"):
        with replacing(target) as temporary:
            temporary.write_text(text)
        assert target.read_text() == text
    assert [path.name for path in target.parent.iterdir()] == ["result.txt"]


def test_replacing_keeps_the_old_file_when_the_writer_fails(tmp_path: Path) -> None:
    target = tmp_path / "result.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), replacing(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_what_a_killed_writer_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    killed = (
        "import os, sys\n"
        "from astro_sim.provenance import replacing\n"
        "with replacing(sys.argv[1]) as room:\n"
        "    room.mkdir()\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    for name in ("step-12", "step-7", "checkpoint"):
        assert subprocess.run([sys.executable, "-c", killed, str(tmp_path / name)]).returncode == -signal.SIGKILL
    for name in ("step-7", "notes", ".notes", ".step-7.settings"):
        (tmp_path / name).touch()
    assert len(list(tmp_path.iterdir())) == 7
    remove_broken_off(tmp_path, ["step-*"])
    left = {path.name.split(".")[1] or path.name for path in tmp_path.glob(".*")}
    assert left == {"checkpoint", "notes", "step-7"}
    assert (tmp_path / "step-7").is_file() and (tmp_path / "notes").is_file()


def test_what_was_there_is_back_after_a_kill_between_the_two_renames(tmp_path: Path) -> None:
    room = tmp_path / ".checkpoint.abcd_123"
    for path in (room / "old-checkpoint", room / "checkpoint"):
        path.mkdir(parents=True)
        (path / "weights").write_text(path.name)
    remove_broken_off(tmp_path, ["checkpoint"])
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]
    assert (tmp_path / "checkpoint" / "weights").read_text() == "old-checkpoint"


def test_replacing_swaps_a_folder_for_its_like(tmp_path: Path) -> None:
    target = tmp_path / "checkpoint"
    for text in ("first", "second"):
        with replacing(target) as temporary:
            temporary.mkdir()
            (temporary / "weights").write_text(text)
        assert (target / "weights").read_text() == text
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("writes_folder", [False, True])
def test_a_folder_with_other_things_in_it_is_never_lost(tmp_path: Path, writes_folder: bool) -> None:
    target = tmp_path / "thesis"
    target.mkdir()
    (target / "chapter").write_text("years of work")
    with pytest.raises(InputError, match="thesis"), replacing(target) as temporary:
        if writes_folder:
            temporary.mkdir()
            (temporary / "weights").touch()
        else:
            temporary.touch()
    assert (target / "chapter").read_text() == "years of work"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_in_a_folder_is_not_lost_either(tmp_path: Path) -> None:
    (tmp_path / "data" / "train").mkdir(parents=True)
    (tmp_path / "data" / "train" / "picture").write_text("years of work")
    with pytest.raises(InputError, match=r"data/train.*holds 'picture'"), replacing(tmp_path / "data") as temporary:
        (temporary / "train").mkdir(parents=True)
        (temporary / "train" / "tokens").touch()
    assert (tmp_path / "data" / "train" / "picture").read_text() == "years of work"


@pytest.mark.parametrize("left", [".DS_Store", ".nfs000000000123456700000001", "Thumbs.db"])
def test_what_a_file_system_leaves_in_a_folder_does_not_keep_it(tmp_path: Path, left: str) -> None:
    target = tmp_path / "checkpoint"
    target.mkdir()
    (target / left).touch()
    with replacing(target) as temporary:
        temporary.mkdir()
        (temporary / "weights").write_text("new")
    assert [path.name for path in target.iterdir()] == ["weights"]


def test_a_file_is_never_lost_to_a_folder(tmp_path: Path) -> None:
    target = tmp_path / "thesis"
    target.write_text("years of work")
    with pytest.raises(InputError, match="thesis"), replacing(target) as temporary:
        temporary.mkdir()
    assert target.read_text() == "years of work"


@pytest.mark.parametrize("name", ["train", "tokens"], ids=["file-for-folder", "folder-for-file"])
def test_a_file_inside_a_folder_is_never_lost_to_a_folder_or_the_reverse(tmp_path: Path, name: str) -> None:
    target = tmp_path / "data"
    mine = target / name if name == "train" else target / "train" / name / "notes"
    mine.parent.mkdir(parents=True)
    mine.write_text("years of work")
    with pytest.raises(InputError, match=rf"data/.*{name}', expected the path of a f"), replacing(target) as temporary:
        (temporary / "train").mkdir(parents=True)
        (temporary / "train" / "tokens").touch()
    assert mine.read_text() == "years of work"


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "data").symlink_to("elsewhere")
    with replacing(tmp_path / "data") as temporary:
        temporary.mkdir()
        (temporary / "tokens").touch()
    assert (tmp_path / "data").is_symlink() and (tmp_path / "elsewhere" / "tokens").is_file()
    (tmp_path / "round").symlink_to("round")
    with pytest.raises(InputError, match="round"), replacing(tmp_path / "round") as temporary:
        temporary.touch()


def test_the_present_folder_can_be_the_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with replacing(".") as temporary:
        temporary.mkdir()
        (temporary / "tokens").touch()
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["tokens"]


def test_what_is_no_file_is_never_replaced(tmp_path: Path) -> None:
    """A pipe here, as a device needs root; refused before anything is written."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(InputError, match=r"pipe.*there is a device"), replacing(pipe):
        raise AssertionError("the block must not begin")
    assert pipe.is_fifo() and list(tmp_path.iterdir()) == [pipe]


def test_versions_name_the_packages_that_decide_a_result() -> None:
    import numpy

    assert versions()["numpy"] == numpy.__version__


def test_a_place_that_cannot_be_written_is_named_as_it_was_given(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here")
    said = r"^output: got '.*/file/a\.nc', expected a path that can be written"
    with pytest.raises(InputError, match=said), replacing(tmp_path / "file" / "a.nc"):
        pass
