"""The command line. Exit codes: 0 success, 2 a user's mistake, 1 failure, 128 + n stopped by signal n."""

import signal
import sys
from typing import Annotated

import typer

import understudy
from understudy.cli import (
    bench,
    card,
    check,
    demo,
    distill,
    export,
    landscape,
    methods,
    path,
    predict,
    report,
    store,
    taps,
    tune,
)
from understudy.errors import UserError
from understudy.training.interrupt import Stopped


def _tell_version(asked: bool) -> None:
    if asked:
        typer.echo(f"understudy {understudy.__version__}")
        raise typer.Exit


app = typer.Typer(
    name="understudy",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_tell_version, help="Its version.")
    ] = False,
) -> None:
    """Train a small, thin, fast network to stand in for a large one, and prove how well it does."""


for command in (
    demo.demo,
    distill.distill,
    path.path,
    check.check,
    tune.tune,
    taps.taps,
    methods.methods,
    bench.bench,
    report.report,
    landscape.landscape,
    export.export,
    predict.predict,
    card.card,
):
    app.command()(command)
app.add_typer(store.app, name="store")


def main() -> None:
    """The entry point: a user's mistake is a line, never a traceback."""
    try:
        app()
    except UserError as error:
        typer.echo(f"understudy: {error}", err=True)
        sys.exit(2)
    except Stopped as stopped:
        name = signal.Signals(stopped.signal_number).name
        typer.echo(f"understudy: stopped by {name}; everything is saved: run the same command again to go on", err=True)
        sys.exit(128 + stopped.signal_number)
    except BrokenPipeError:
        sys.exit(1)
