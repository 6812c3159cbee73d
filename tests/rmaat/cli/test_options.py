"""The shared `--config`: a TOML file gives defaults, flags override them, mistakes are named."""

from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from astro_sim.errors import InputError
from rmaat.cli.options import ConfigOption, SeedOption

app = typer.Typer()


@app.command()
def echo(
    config: ConfigOption = None,
    seed: SeedOption = 0,
    learning_rate: Annotated[float, typer.Option()] = 0.1,
    settings: Annotated[list[str] | None, typer.Option("--set")] = None,
) -> None:
    print(seed, learning_rate, *settings or [])


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output.strip()


def test_flags_override_the_file_and_the_file_overrides_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text("seed = 3\nlearning-rate = 0.5\n")
    assert run() == "0 0.1"
    assert run("--config", str(path)) == "3 0.5"
    assert run("--seed", "7", "--config", str(path)) == "7 0.5"


@pytest.mark.parametrize("text", ['settings = ["a=300s", "b=1"]', '[settings]\na = "300s"\nb = 1'])
def test_settings_are_a_list_or_a_table(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(text)
    assert run("--config", str(path)) == "0 0.1 a=300s b=1"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('settings = "a=1"', "settings: got 'a=1', expected a list"),
        ("sed = 3\n", "sed"),
        ("seed = \n", "TOML"),
        ("[seed\n", "TOML"),
        (None, "existing TOML file"),
    ],
)
def test_a_bad_file_is_refused_by_name(tmp_path: Path, text: str | None, named: str) -> None:
    path = tmp_path / "run.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=named):
        run("--config", str(path))
