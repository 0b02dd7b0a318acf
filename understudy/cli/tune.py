"""``understudy tune``: search a method's settings on the validation part."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from understudy.cli._options import OutOption, RecipeArgument, TrainOptions, with_options
from understudy.cli._shared import err, out, print_findings, print_json
from understudy.training.interrupt import listening

if TYPE_CHECKING:
    from understudy.runs.records import SearchRecord


@with_options
def tune(
    recipe: RecipeArgument,
    folder: OutOption,
    search: Annotated[
        list[str] | None,
        typer.Option(
            "--search",
            metavar="KEY=SPACE",
            help="A setting and what to try: 1..20, 0.05..1 step 0.05, 1e-4..0.1 log, or {1,2,5,10}. Repeatable.",
        ),
    ] = None,
    trials: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="How many trials in all, those of before included.")
    ] = 30,
    method: Annotated[
        str | None, typer.Option(help="Whose settings; by default those that are searched.", show_default=False)
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1, max=1000, help="On how many seeds each trial is trained; by default the first.", show_default=False
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=1024, help="How many trials are trained side by side.")] = 1,
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="Where: processes of this machine, or workers of a Ray cluster.")
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(
            envvar="RAY_ADDRESS", help="Of the Ray cluster; without one, it is started here.", show_default=False
        ),
    ] = None,
    optimistic: Annotated[
        bool, typer.Option("--also-optimistic", help="Also tell the best of all trials on test, as papers do.")
    ] = False,
    *,
    options: TrainOptions,
) -> None:
    """Search a method's settings by validation. A stopped search continues with the same command.

    Example: understudy tune recipe.toml --out runs/tune --search 'methods.kd.temperature=1..20' --trials 30
    """
    from understudy import recipe as recipes
    from understudy.cli._run import with_threads
    from understudy.cli._trials import LiveTrials
    from understudy.plans.engines.ray import Ray, Share
    from understudy.plans.training import Builders
    from understudy.report import write_report
    from understudy.runs.folder import RunFolder
    from understudy.training import preflight
    from understudy.tuning import Tuning
    from understudy.tuning.outcome import OUTCOME, execute

    chosen: dict[str, object] = {"method": method, "seeds": list(range(seeds)) if seeds else None}
    read = recipes.read_searched(
        recipe,
        options.changes or [],
        search or [],
        settings=options.settings,
        begun=RunFolder(folder).settings(),
        **{key: value for key, value in chosen.items() if value is not None},
    )
    with listening() as stop, LiveTrials(err) as live:
        builders = Builders(options.trust or (), live.downloads)
        read = read.settled(with_threads(read.recipe, folder, workers))
        tuning = Tuning(
            read,
            folder,
            builders=builders,
            callback=live,
            stop=stop,
            checkpoint_seconds=options.seconds,
            cache=options.opened_cache,
        )
        tuning.look()
        if options.check and not (folder / OUTCOME).exists():
            findings = list(tuning.trainer.check())
            print_findings(findings, err, verbose=options.verbose)
            preflight.passes(findings)
        with ExitStack() as stack:
            settings, cluster = read.recipe.settings, None
            if engine == "ray":
                share = Share(settings.threads or 1, int(settings.torch_device.type == "cuda"))
                cluster = stack.enter_context(Ray(workers, address, share, live, stop))
            record = execute(tuning, trials, also_optimistic=optimistic, workers=workers, engine=cluster)
    page = write_report(folder)
    if options.json:
        print_json(record)
    else:
        _show(record, folder)
        _say(f"report: {page}")


def _show(record: "SearchRecord", folder: Path) -> None:
    from understudy.tuning.outcome import TUNED

    best, figure = record.best, record.task.first
    states = [trial.state for trial in record.trials]
    counted = ", ".join(f"{states.count(state)} {state}" for state in ("complete", "stopped", "failed"))
    _say(f"{len(states)} trials: {counted}")
    _say(f"best by validation: trial {best.trial}, {best.validation.spread.text(figure.unit)} on validation")
    if record.tie:
        _say(record.tie)
    for name, measured in record.figures.items():
        _say(f"{name}: {measured.values.spread.text(figure.unit)} (trial {measured.trial})")
    _say(f"\n{best.lines}\n")
    _say(f"the whole recipe: {folder / TUNED}   run it: understudy distill {folder / TUNED} --out ANOTHER-FOLDER")


def _say(text: str) -> None:
    out.print(text, markup=False, highlight=False, soft_wrap=True)
