"""``understudy distill``: carry a recipe out."""

import json
import tomllib
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import understudy
from understudy.cli._completion import method_names
from understudy.cli._live import Live
from understudy.cli._options import OutOption, RunOptions, with_options
from understudy.cli._shared import err, out, print_findings, print_json
from understudy.cli._unwritten import OPTIONS, SOURCE, unwritten
from understudy.errors import UserError, did_you_mean
from understudy.training.callbacks import Callbacks
from understudy.training.interrupt import listening

if TYPE_CHECKING:
    from understudy.config.settings import Settings
    from understudy.recipe import Recipe
    from understudy.recipe.resolve import HowSettings

DEMO = Path(understudy.__file__).parent / "demo" / "demo.toml"
# Between the demo's two networks, for methods that need one: the student at twice its width.
ASSISTANT = {
    "network": "resnet-blocks",
    "settings": {"blocks": [5], "widths": [32], "strides": [2], "stem": 16, "stem_stride": 2},
}


@with_options
def distill(
    folder: OutOption,
    recipe: Annotated[
        Path | None,
        typer.Argument(help="A recipe in TOML; without one, --teacher, --student and --data.", show_default=False),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            help="The folder of a trained network; or a network by name, which is trained first.", show_default=False
        ),
    ] = None,
    student: Annotated[str | None, typer.Option(help="A network by name.", show_default=False)] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="A folder of images by class, a file such as an .npz, or a data set by name.", show_default=False
        ),
    ] = None,
    unlabelled: Annotated[
        str | None,
        typer.Option(
            help="Further training samples, without labels: a folder of images, or a file of texts.",
            show_default=False,
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="Only this method of the recipe, or another one with its defaults; by itself, on the demo's images.",
            show_default=False,
            autocompletion=method_names,
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="As --set train.epochs=.", show_default=False)] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="How many: 3 is --set seeds=[0,1,2].", show_default=False)
    ] = None,
    retrain: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="A finished run, whose students are trained again, on train and validation, for the epochs found.",
            show_default=False,
        ),
    ] = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write TensorBoard events into the run folder, too.")
    ] = False,
    onnx: Annotated[
        bool, typer.Option("--onnx-latency", help="At the end, measure latencies by ONNX Runtime, too.")
    ] = False,
    *,
    options: RunOptions,
) -> None:
    """Check a recipe and train its students. A run that was stopped continues with the same command.

    Example: understudy distill --teacher runs/teacher --student resnet8 --data photos/ --out runs/photos

    Example: understudy distill recipes/fitnets_mnist.toml --out runs/mnist --set train.epochs=10
    """
    from understudy import recipe as recipes
    from understudy.cli._run import prepared, show_plan
    from understudy.measure.latency import need_onnx_runtime
    from understudy.plans.group import Group
    from understudy.plans.training import Builders
    from understudy.runs import Run
    from understudy.runs.folder import RECIPE, RunFolder
    from understudy.runs.retrain import check_data, retrained
    from understudy.trackers import TensorBoard
    from understudy.training import preflight

    group = Group.started()
    if group is not None and group.rank:
        with listening() as stop:
            group.follow(Builders(options.trust or ()), stop)
        return
    begun = RunFolder(folder).settings()
    changes = list(options.changes or [])
    changes += [f"train.epochs={epochs}"] if epochs else []
    changes += [f"seeds={list(range(seeds))}"] if seeds else []
    if unlabelled is not None and not (teacher or student or data):
        changes.append(f"data.unlabelled={json.dumps(unlabelled)}")
    if retrain is not None:
        if recipe or teacher or student or data or unlabelled or method or epochs or seeds:
            raise UserError("--retrain takes everything from its run: give no recipe, networks, data, method or epochs")
        text = recipes.write(retrained(retrain))
        read = recipes.parse(text, str(retrain), changes, settings=options.settings, begun=begun)
    elif teacher or student or data:
        if recipe is not None:
            raise UserError("give a recipe, or --teacher, --student and --data, not both")
        text = unwritten(teacher, student, data, method, unlabelled)
        read = recipes.parse(text, SOURCE, changes, settings=options.settings, begun=begun, options=OPTIONS)
    else:
        read = _read(recipe, method, changes, options.settings, begun)
    if onnx:
        need_onnx_runtime()
    events = [TensorBoard(folder)] if tensorboard else []
    with listening() as stop, Live(err) as live, group.led() if group else nullcontext():
        make = partial(
            Run,
            out=folder,
            callback=Callbacks(live, *events),
            stop=stop,
            checkpoint_seconds=options.seconds,
            cache=options.opened_cache,
            onnx=onnx,
        )
        run = prepared(make, read, options, live, folder, group=group)
        if retrain is not None:
            check_data(run, retrain)
        run.folder.look(recipes.write(run.recipe))
        if options.dry_run:
            show_plan(run, out, json=options.json)
            return
        if options.check and not run.complete:
            findings = list(run.check())
            print_findings(findings, err, verbose=options.verbose)
            preflight.passes(findings)
        result = run.execute()
    from understudy.report import write_report  # imported here, so that it does not delay the first step
    from understudy.report.text import show, show_students

    page = write_report(folder)
    if options.json:
        print_json(result)
        return
    show(result, out)
    show_students(result, folder, out)
    out.print(f"recipe: {folder / RECIPE}   report: {page}", markup=False, highlight=False, soft_wrap=True)


def _read(
    path: Path | None, method: str | None, changes: list[str], settings: "HowSettings", begun: "Settings | None"
) -> "Recipe":
    """The recipe, or the demo's, with the named method in place of its own methods."""
    import tomli_w

    from understudy import recipe as recipes
    from understudy.methods import METHODS

    if path is None and method is None:
        raise UserError("name a recipe, or --teacher, --student and --data, or --method kd to try on the demo's images")
    chosen = path or DEMO
    recipe = recipes.read(chosen, changes if method is None else [], settings=settings, begun=begun)
    if method is None:
        return recipe
    raw = tomllib.loads(chosen.read_text(encoding="utf-8"))
    tables = raw["methods"]
    if method not in tables and method not in METHODS:
        raise UserError(f"there is no method {method!r}{did_you_mean(method, [*tables, *METHODS])}")
    default = {"assistants": [ASSISTANT]} if path is None and METHODS[method].needs_assistants else {}
    raw["methods"] = {method: tables.get(method, default)}
    return recipes.parse(tomli_w.dumps(raw), str(chosen), changes, settings=settings, begun=begun)
