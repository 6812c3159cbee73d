"""`rmaat doctor`: remedies that can be copied, and the exit code."""

import pytest

from rmaat.cli import doctor
from rmaat.cli.doctor import Finding

COMMAND = "pip install --no-deps --ignore-requires-python lava-nc==0.10.0"


def test_a_command_stays_in_one_piece(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(doctor, "_lava", lambda: [Finding("deploy target lava", "not available", COMMAND)])
    doctor.doctor()
    assert f"deploy target lava: {COMMAND}" in capsys.readouterr().out.splitlines()


def test_a_missing_package_exits_with_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(doctor, "requires", lambda _: ["not-there>=2"])
    with pytest.raises(SystemExit) as exit_:
        doctor.doctor()
    assert exit_.value.code == 1
    assert "not-there: pip install 'not-there>=2'" in capsys.readouterr().out.splitlines()
