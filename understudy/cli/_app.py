"""The commands by name, how they are found, and the exit code of each."""

import contextlib
import errno
import importlib
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from io import TextIOWrapper
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

import understudy
from understudy.cli._options import TRUSTED
from understudy.errors import UserError
from understudy.printable import message, shown
from understudy.training.interrupt import Stopped
from understudy.trusted import USED

OF_NAMES = (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR)  # errors of the operating system about a file name

OF_OUTPUTS = (errno.ENOSPC, errno.EPIPE, errno.EIO, errno.EBADF)  # where no file is named

# A command is the function, or the ``app``, of the module with its name. The module is imported when the command runs.
SUMMARIES = {
    "demo": "Train a thin, deep student alone, by soft targets, and as a FitNet, and see whether distillation helps.",
    "distill": "Check a recipe and train its students. A run that was stopped continues with the same command.",
    "answers": "Store the teachers' answers that a recipe reads, without training a student.",
    "path": "Search the best path of assistants from teacher to student. A stopped search continues with the same "
    "command.",
    "advise": "Tell which sizes and shapes of a family to train at a budget; with --try, which one after short "
    "trainings.",
    "check": "Check data, teacher, taps, losses and gradients without training.",
    "tune": "Search a method's settings by validation. A stopped search continues with the same command.",
    "taps": "List the taps of a network with shape, resolution and depth, and propose pairs for hints.",
    "methods": "List the distillation methods, or show one with its settings and a recipe to copy.",
    "bench": "Time and memory of a step, part by part, and against the floors: the networks alone, at "
    "the same settings.",
    "report": "Write the report of a finished run, or compare several runs and choose a student, as one HTML file.",
    "landscape": "Measure the loss around each student of a run, in two random directions, and draw it in the report.",
    "export": "Write a student for another runtime, test the file on real data, and keep it only if it passes.",
    "predict": "Predict by a run's student or by an exported file; of classes, the likeliest are listed.",
    "card": "Write the model card of a student (README.md beside it) from the record of its run.",
    "cache": "List, check and prune a cache: a folder of finished trainings, each under the key of what determines "
    "its result.",
}


class LazyCommands(Mapping[str, Any]):
    """The commands by name. Each one is imported when it is looked up."""

    def __init__(self) -> None:
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in SUMMARIES:
            raise KeyError(name)
        if name not in self._loaded:
            module = importlib.import_module(f"{__package__}.{name}")
            app = getattr(module, "app", None)
            if app is None:
                app = typer.Typer(add_completion=False)
                app.command(name)(getattr(module, name))
            self._loaded[name] = typer.main.get_command(app)
            self._loaded[name].name = name
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(SUMMARIES)

    def __len__(self) -> int:
        return len(SUMMARIES)


class LazyGroup(TyperGroup):
    """Lists the commands by their summaries, and imports the one that runs."""

    def __init__(self, **options: Any):
        super().__init__(**options)
        self.commands = LazyCommands()  # type: ignore[assignment]

    def list_commands(self, ctx: Any) -> list[str]:
        return list(SUMMARIES)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in SUMMARIES:
            return None
        return TyperCommand(cmd_name, help=SUMMARIES[cmd_name])

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Stopped(signal.SIGINT, saved=False) from None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        return name, self.commands[name] if name in SUMMARIES else command, rest


def _tell_version(asked: bool) -> None:
    if asked:
        typer.echo(f"understudy {understudy.__version__}")
        raise typer.Exit


app = typer.Typer(
    name="understudy",
    cls=LazyGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_tell_version, help="Its version.")
    ] = False,
) -> None:
    """Train a small, thin, fast network to stand in for a large one, and prove how well it does."""


def run() -> int | str | None:
    """Run a command and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a character that the terminal cannot show must not end a run
            stream.reconfigure(errors="backslashreplace")
    try:
        return _finished()
    except UserError as error:
        typer.echo(f"understudy: {error}", err=True)
        return 2
    except Stopped as stopped:
        name = signal.Signals(stopped.signal_number).name
        saved = "; everything is saved: run the same command again to go on" if stopped.saved else ""
        typer.echo(f"understudy: stopped by {name}{saved}", err=True)
        return 128 + stopped.signal_number
    except MemoryError:
        typer.echo("understudy: there is not enough memory", err=True)
        return 1
    except OSError as error:
        if error.filename is not None and error.errno in OF_NAMES:
            typer.echo(f"understudy: {message(f'{error.filename}: {error.strerror}')}", err=True)
            return 2
        if error.filename is not None or error.errno not in OF_OUTPUTS:
            raise
        with contextlib.suppress(OSError, ValueError):  # the interpreter flushes the streams again when it exits
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            typer.echo(f"understudy: the output cannot be written: {error.strerror}", err=True)
        return 1


def _finished() -> int | str | None:
    code: int | str | None = 0
    try:
        app()
    except SystemExit as end:
        code = end.code
    if not code:
        for name in TRUSTED:
            if name not in USED:
                typer.echo(f"understudy: nothing asked for the code of --trust {shown(name)}: leave it out", err=True)
    sys.stdout.flush()
    return code
