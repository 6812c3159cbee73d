"""`rmaat fit` as a user runs it."""

import pytest

from rmaat.cli.app import main
from rmaat_bridge import BioParameters


def run(*arguments):
    with pytest.raises(SystemExit) as stop:
        main(["fit", *map(str, arguments)])
    return stop.value.code or 0


def test_fit_writes_the_file_and_a_table(macro_file, bio, tmp_path, capsys):
    out = tmp_path / "deep" / "bio.toml"
    assert run(macro_file, "--out", out) == 0
    made = BioParameters.load(out)
    assert made.retention == bio.retention
    table = capsys.readouterr().out
    assert "tau_p_long" in table
    assert "±" in table
    assert "0.99" in table
    assert run(macro_file, "--check", out) == 0


def test_bad_recordings_end_in_one_line_and_no_file(macro_file, tmp_path, capsys):
    out = tmp_path / "bio.toml"
    truncated = tmp_path / "truncated.nc"
    truncated.write_bytes(macro_file.read_bytes()[:5000])
    for recording in (tmp_path / "missing.nc", truncated):
        assert run(recording, "--out", out) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert recording.name in error
    assert not out.exists()


def test_mismatch_between_recording_and_file_is_reported(macro_file, bio, tmp_path, capsys):
    other = tmp_path / "other.nc"
    other.write_bytes(macro_file.read_bytes() + b" ")
    assert run(other, "--check", bio.save(tmp_path / "bio.toml")) == 2
    assert "sha256" in capsys.readouterr().err
