"""The options that commands share: how a recipe is read, and how its trainings run."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer

from understudy.bounds import LARGEST
from understudy.cli._bounds import not_nan
from understudy.cli._completion import completed_change

if TYPE_CHECKING:
    from understudy.plans import TrainingCache

CACHE_VARIABLE = "UNDERSTUDY_CACHE"  # of the environment
RecipeArgument = Annotated[Path, typer.Argument(help="A recipe in TOML.", show_default=False)]
OutOption = Annotated[Path, typer.Option("--out", help="The run folder. What was stopped goes on there.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
TRUSTED: list[str] = []  # what was named with --trust


def _remembered(names: list[str] | None) -> list[str] | None:
    TRUSTED[:] = names or []
    return names


TrustOption = Annotated[
    list[str] | None,
    typer.Option(
        "--trust",
        callback=_remembered,
        metavar="MODULE",
        help="A module of your own whose code the recipe may run. Repeatable.",
    ),
]
MethodOption = Annotated[
    str | None,
    typer.Option("--method", help="Of a run: this method's student, the best seed on validation.", show_default=False),
]
TrainingOption = Annotated[
    str | None, typer.Option("--training", metavar="NAME", help="Of a run: the student of this training, as kd-2.")
]
StudentTrustOption = Annotated[
    list[str] | None,
    typer.Option(
        "--trust", metavar="NAME", help="A module of your own, or a .pt2 file, whose code may run. Repeatable."
    ),
]


@dataclass(frozen=True)
class ReadOptions:
    """How a recipe is read, and the form of the output."""

    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change a value of the recipe, as in train.epochs=10. Repeatable.",
            autocompletion=completed_change,
        ),
    ] = None
    settings: Annotated[
        Literal["auto", "plain"] | None,
        typer.Option(
            "--settings",
            help="auto: precision, memory format and threads follow from the hardware, as far as the recipe leaves "
            "them open; plain: the defaults of [settings]. [default: auto for a recipe without [settings]]",
            show_default=False,
        ),
    ] = None
    trust: TrustOption = None
    json: JsonOption = False


@dataclass(frozen=True)
class CheckOptions(ReadOptions):
    """How much of the pre-flight check is shown."""

    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show every line of the pre-flight check, not only what matters.")
    ] = False


@dataclass(frozen=True)
class TrainOptions(CheckOptions):
    """How the trainings of a recipe start, and where finished ones are cached."""

    seconds: Annotated[
        float,
        typer.Option("--checkpoint-seconds", min=0, max=LARGEST, callback=not_nan, help="Between two checkpoints."),
    ] = 20.0
    check: Annotated[bool, typer.Option(help="Run the pre-flight check first.")] = True
    cache: Annotated[
        Path | None,
        typer.Option(
            envvar=CACHE_VARIABLE, help="Finished trainings are taken from here, and put here.", show_default=False
        ),
    ] = None

    @property
    def opened_cache(self) -> "TrainingCache | None":
        from understudy.plans import TrainingCache

        return TrainingCache(self.cache.expanduser()) if self.cache else None


@dataclass(frozen=True)
class RunOptions(TrainOptions):
    """Where the trainings of a plan run, and how many at once."""

    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1024,
            help="Trainings at once, each in a process of its own. [default: as many as the cores of a CPU are worth; "
            "1 on an accelerator; together: 8; ray: as many as the cluster has room for]",
            show_default=False,
        ),
    ] = None
    engine: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="local: worker processes of this machine; together: all in this process, in turn, with each pass of "
            "their teacher shared; ray: a Ray cluster; or the engine of a plugin. [default: local]",
            show_default=False,
        ),
    ] = None
    address: Annotated[
        str | None,
        typer.Option(
            envvar="RAY_ADDRESS", help="Of the Ray cluster; without one, it is started here.", show_default=False
        ),
    ] = None
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be trained and what is there already.")
    ] = False


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """The command with one option for each field of the dataclass of its parameter ``options``."""
    hints = get_type_hints(command, include_extras=True)
    kind = hints.pop("options")
    shared = get_type_hints(kind, include_extras=True)
    names = [field.name for field in fields(kind)]

    @wraps(command)
    def called(**given: Any) -> None:
        options = kind(**{name: given.pop(name) for name in names})
        command(options=options, **given)

    parameters = [
        parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(command).parameters.items()
        if name != "options"
    ]
    parameters += [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=shared[field.name]
        )
        for field in sorted(fields(kind), key=lambda field: field.name == "json")  # which comes last everywhere
    ]
    del called.__wrapped__  # or typer would read the signature of the command itself
    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return called
