"""The command's surface: every subcommand explains itself, bad input is one line and exit code 2."""

import subprocess
import sys
from pathlib import Path

import pytest

import rmaat.cli
from rmaat.cli.app import COMMANDS, main


def test_every_module_of_the_command_is_reachable() -> None:
    modules = {path.stem for path in Path(rmaat.cli.__file__).parent.glob("*.py")}
    assert set(COMMANDS) == modules - {"__init__", "app", "options"}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([command, "--help"])
    assert exit_.value.code == 0
    assert "Usage: rmaat" in " ".join(capsys.readouterr().out.split())


def test_a_mistyped_command_exits_with_2() -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["simulat"])
    assert exit_.value.code == 2


def test_input_errors_are_one_line_on_stderr(tmp_path: object, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["fit", f"{tmp_path}/absent [red].nc"])
    captured = capsys.readouterr()
    assert exit_.value.code == 2
    assert captured.err.count("\n") == 1
    assert "absent [red].nc" in captured.err


def test_the_command_starts_without_importing_a_simulator_or_torch() -> None:
    """`rmaat --help` must answer at once: none of the heavy libraries may be imported by it."""
    code = (
        "import sys, rmaat.cli.app;"
        "heavy = ('brian2', 'torch', 'lava', 'scipy', 'matplotlib', 'xarray');"
        "print([name for name in heavy if name in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[]"
