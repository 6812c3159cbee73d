"""Entry point of the `rmaat` command."""

import importlib
import logging
import sys
from itertools import pairwise
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.text import Text

from astro_sim.errors import InputError

# One module a command: `rmaat.cli.<name>` holds a function of the same name, or a group named `app`.
INTERRUPTED = 130  # the exit code of a command ended by Ctrl-C
COMMANDS = (
    "demo",
    "simulate",
    "sweep",
    "fit",
    "data",
    "train",
    "evaluate",
    "deploy",
    "bench",
    "figures",
    "report",
    "doctor",
)

app = typer.Typer(
    name="rmaat",
    help="From the astrocyte to the chip: simulate, fit, train, deploy.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _common(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    pass


for _name in COMMANDS:
    _module = importlib.import_module(f"rmaat.cli.{_name}")
    _command = getattr(_module, "app", None)
    if _command is not None:
        app.add_typer(_command, name=_name)
    else:
        app.command(_name)(getattr(_module, _name))


# The base of Typer's usage errors (unknown option, value out of range); Typer exports only its subclass.
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]


def main(arguments: list[str] | None = None) -> None:
    """Run the command; bad input ends in one line on stderr and exit code 2."""
    arguments = sys.argv[1:] if arguments is None else arguments
    show_traceback = "--debug" in arguments  # before or after the subcommand
    arguments = [argument for argument in arguments if argument != "--debug"]
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.disable(logging.INFO)  # Lightning sets levels of its own when it is imported
    try:
        _refuse_empty(arguments)
        code = app(arguments, prog_name="rmaat", standalone_mode=False)
        if code == INTERRUPTED:  # typer turns Ctrl-C into its code
            _interrupted()
        sys.exit(code)
    except InputError as error:
        if show_traceback:
            raise
        _refuse(str(error))
    except OSError as error:
        if show_traceback or error.filename is None:
            raise
        _refuse(f"{error.filename}: {error.strerror}")
    except _UsageError as error:
        context = getattr(error, "ctx", None)
        message = error.format_message()  # type: ignore[attr-defined]
        if not message:  # a group without a subcommand has printed its help
            sys.exit(2)
        _refuse(f"{message} (see {context.command_path if context else 'rmaat'} --help)")
    except (typer.Abort, KeyboardInterrupt):
        _interrupted()
    except Exception as error:
        if show_traceback:
            raise
        if _comes_of_an_interrupt(error):
            _interrupted()
        if _is_out_of_memory(error):
            _refuse(f"memory: {error}; a smaller model, batch or length needs less")
        raise


def _refuse_empty(arguments: list[str]) -> None:
    """InputError at an empty argument: as a path it would be the current folder."""
    for before, argument in pairwise(["rmaat", *arguments]):
        option, equals, value = argument.partition("=") if argument.startswith("--") else (before, "=", argument)
        if equals and not value:
            raise InputError(option, "", "a value that is not empty")


def _is_out_of_memory(error: Exception) -> bool:
    """Whether memory could not be had; PyTorch has no class of its own for that on a CPU."""
    return isinstance(error, MemoryError) or any(word in str(error) for word in ("allocate memory", "out of memory"))


def _comes_of_an_interrupt(error: BaseException | None) -> bool:
    """Whether Ctrl-C is among what raised `error`: libraries wrap it while they compile."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False


def _interrupted() -> NoReturn:
    print("interrupted; a run that had begun to record keeps its rows, another leaves nothing", file=sys.stderr)
    sys.exit(INTERRUPTED)


def _refuse(message: str) -> NoReturn:
    line = Text.assemble(("error: ", "bold red"), " ".join(message.split()))
    Console(stderr=True, soft_wrap=True, highlight=False).print(line)
    sys.exit(2)
