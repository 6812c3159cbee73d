"""`rmaat doctor`: remedies that can be copied."""

import pytest

from rmaat.cli import doctor
from rmaat.cli.doctor import Finding

COMMAND = "pip install --no-deps --ignore-requires-python lava-nc==0.10.0"


def test_a_command_stays_in_one_piece(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(doctor, "_lava", lambda: [Finding("deploy target lava", "not available", COMMAND)])
    doctor.doctor()
    assert f"deploy target lava: {COMMAND}" in capsys.readouterr().out.splitlines()
