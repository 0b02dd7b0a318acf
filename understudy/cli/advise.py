"""``understudy advise``: which size and shape of a family to train at a budget."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from understudy.cli._completion import family_names, method_names
from understudy.cli._live import Live
from understudy.cli._options import RunOptions, with_options
from understudy.cli._shared import err, out, print_findings, print_json
from understudy.cli._unwritten import OPTIONS, SOURCE, unwritten
from understudy.errors import UserError, did_you_mean
from understudy.training.interrupt import listening

if TYPE_CHECKING:
    from understudy.config.settings import Settings
    from understudy.recipe import Recipe
    from understudy.runs.advice import AdviceRecord

FAMILY = "wrn"  # where neither student nor teacher is of a family with sizes
PLACEHOLDER = "wrn-10-1"  # the student of a command line with --data, until the shapes are known


@with_options
def advise(
    source: Annotated[
        str,
        typer.Argument(
            metavar="TEACHER|RECIPE",
            help="With --data: a trained network's folder, or a network by name, which is trained first. Without: a "
            "recipe in TOML, whose student takes the shapes.",
            show_default=False,
        ),
    ],
    data: Annotated[
        str | None,
        typer.Option(
            help="A folder of images by class, a file such as an .npz, or a data set by name.", show_default=False
        ),
    ] = None,
    family: Annotated[
        list[str] | None,
        typer.Option(
            help="Whose sizes: wrn, resnet, plain, or another one with a list of sizes. Repeatable. By default the "
            "student's, else the teacher's, else wrn.",
            show_default=False,
            autocompletion=family_names,
        ),
    ] = None,
    max_latency: Annotated[
        str | None, typer.Option("--max-latency", metavar="3ms", help="The median for one image.")
    ] = None,
    max_parameters: Annotated[
        int | None, typer.Option("--max-parameters", min=1, max=10**9, help="Of the network.", show_default=False)
    ] = None,
    max_multiplications: Annotated[
        int | None,
        typer.Option("--max-multiplications", min=1, max=10**9, help="Of one image.", show_default=False),
    ] = None,
    most: Annotated[
        int, typer.Option("--try", min=0, max=1000, help="How many shapes are trained for a few epochs.")
    ] = 0,
    folder: Annotated[
        Path | None,
        typer.Option("--out", help="The run folder of these trainings. What was stopped goes on there."),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="How they learn. By default a recipe's first method with a teacher; with --data, kd.",
            show_default=False,
            autocompletion=method_names,
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Of each short training; by default a third of the course.", show_default=False),
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, max=1000, help="How many; by default one.")] = None,
    *,
    options: RunOptions,
) -> None:
    """Tell which sizes and shapes of a family to train at a budget; with --try, which one after short trainings.

    Example: understudy advise runs/teacher --data photos/ --max-latency 3ms --try 3 --out runs/shapes
    """
    from understudy.cli._bounds import budget
    from understudy.cli._run import prepared, show_plan, with_threads
    from understudy.measure.shapes import Limits, widest
    from understudy.models.sizes import Sized
    from understudy.plans.training import Builders
    from understudy.recipe import write
    from understudy.runs.advice import ADVICE, AdviceRecord, AdviceRun, measured_by, read_advice
    from understudy.runs.folder import RunFolder
    from understudy.training import preflight

    limits = Limits(budget(max_latency, None).latency_ms, max_parameters, max_multiplications)
    if bool(most) != (folder is not None):
        raise UserError("--try trains shapes in the run folder --out: give both, or neither")
    begun = RunFolder(folder).settings() if folder else None
    read = _short(_read(source, data, method, options, begun), method, epochs, seeds)
    own, settings = _family(read, of_recipe=data is None)
    families = family or [own]
    with listening() as stop, Live(err) as live:
        builders = Builders(options.trust or (), live.downloads)
        read = builders.answered(read)
        record = read_advice(folder / ADVICE, families, limits) if folder else None
        if record is None:
            builder, alone = builders.of(read.data), with_threads(read).settings if not most else read.settings
            shape, outputs = builder.data.shape, builder.data.task.outputs
            settings = settings if [Sized.of(name).pattern for name in families] == [own] else {}
            measure = measured_by(alone, builder)
            found = widest(families, limits, shape, outputs, measure, settings=settings)
            record = AdviceRecord.of(families, limits, found)
        if not most:
            _show(record, json=options.json)
            return
        assert folder is not None
        make = partial(
            AdviceRun,
            out=folder,
            record=record,
            most=most,
            callback=live,
            stop=stop,
            checkpoint_seconds=options.seconds,
            cache=options.opened_cache,
        )
        run = prepared(make, read, options, live, folder, partial(AdviceRun.first_of, record, most), builders=builders)
        run.folder.look(write(run.recipe))
        if options.dry_run:
            show_plan(run, out, json=options.json)
            return
        if options.check and record.chosen is None:
            findings = list(run.check())
            print_findings(findings, err, verbose=options.verbose)
            preflight.passes(findings)
        record = run.advise()
    _show(record, json=options.json)
    if not options.json:
        _say(_next(record, source, data, method, options, read.student.settings))


def _read(source: str, data: str | None, method: str | None, options: RunOptions, begun: "Settings | None") -> "Recipe":
    from understudy import recipe as recipes

    changes = options.changes or []
    if data is None:
        return recipes.read(Path(source), changes, settings=options.settings, begun=begun)
    text = unwritten(source, PLACEHOLDER, data, method)
    return recipes.parse(
        text, SOURCE, changes, settings=options.settings, begun=begun, options={**OPTIONS, ("teacher",): "TEACHER"}
    )


def _short(recipe: "Recipe", method: str | None, epochs: int | None, seeds: int | None) -> "Recipe":
    """The recipe with one method, on a short course."""
    from understudy.methods import find

    taught = [name for name, table in recipe.methods.items() if find(table.method).reads_teacher]
    name = method or (taught or list(recipe.methods))[0]
    if name not in recipe.methods:
        raise UserError(f"the recipe has no method {name!r}{did_you_mean(name, recipe.methods)}")
    table = recipe.methods[name]
    if table.assistants:
        raise UserError(f"methods.{name} has assistants, which a short training does not train: give another --method")
    config = replace(table.train, epochs=epochs or max(1, round(table.train.epochs / 3)))
    table = table.model_copy(update={"train": config, "seeds": None})
    chosen = {"methods": {name: table}, "seeds": tuple(range(seeds)) if seeds else recipe.seeds[:1], "keep": None}
    return recipe.model_copy(update={**chosen, "path": None, "tune": None})


def _family(recipe: "Recipe", *, of_recipe: bool) -> "tuple[str, Mapping[str, object]]":
    """The family of a recipe's student with the student's settings, or else the teacher's."""
    from understudy.models.sizes import Sized

    for table in (*([recipe.student] if of_recipe else []), *recipe.taught_by.values()):
        sized = Sized.to_which_belongs(table.network)
        if sized and sized.published:
            return sized.pattern, table.settings if table is recipe.student else {}
    return Sized.of(FAMILY).pattern, {}


def _show(record: "AdviceRecord", *, json: bool) -> None:
    if json:
        print_json(record)
        return
    latency = record.shapes[0].latency_ms
    on = "1 thread" if latency.threads == 1 else f"{latency.threads} threads"
    caption = f"multiplications of one image; latency of one image, the median, {on}"
    table = Table(caption=". ".join(filter(None, (caption, latency.warning))), caption_justify="left")
    table.add_column("shape", min_width=18)
    for heading in ("depth", "parameters", "mult.", "latency"):
        table.add_column(heading, justify="right", no_wrap=True)
    if record.figure:
        table.add_column("validation", justify="right", no_wrap=True)
    for one in record.shapes:
        reached = one.validation.spread.text(record.figure.unit) if record.figure and one.validation else one.failed
        table.add_row(
            str(one.shape),
            str(one.depth),
            f"{one.parameters:,}",
            f"{one.multiplications / 1e6:,.1f} M",
            f"{one.latency_ms.p50:.3g} ms",
            *([reached or ""] if record.figure else []),
            style="green" if str(one.shape) == record.chosen else None,
        )
    out.print(table)
    for sentence in record.sentences:
        _say(sentence)


def _next(
    record: "AdviceRecord",
    source: str,
    data: str | None,
    method: str | None,
    options: RunOptions,
    before: Mapping[str, object],
) -> str:
    """The command that trains the chosen shape out, of the recipe as it was changed here; ``before`` are the settings
    of its own student.
    """
    chosen = next(one for one in record.shapes if str(one.shape) == record.chosen)
    settings = [f'--set student.settings.{key}="{value}"' for key, value in chosen.settings.items()]
    if not before.keys() <= chosen.settings.keys():  # of another family
        settings = ["--set student.settings={}", *settings]
    network = f"--student {chosen.network}" if data else f"--set student.network={chosen.network}"
    named = f"--teacher {quote(source)} --data {quote(data)}" if data else quote(source)
    changes = [f"--set {quote(change)}" for change in options.changes or ()]
    trusted = [f"--trust {quote(module)}" for module in options.trust or ()]
    by = [f"--method {method}"] if method else []
    words = ["understudy distill", named, *changes, *trusted, network, *settings, *by]
    return f"train it out: {' '.join(words)} --out ANOTHER-FOLDER"


def _say(text: str) -> None:
    out.print(text, markup=False, highlight=False, soft_wrap=True)
