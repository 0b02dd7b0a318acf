"""``understudy path``: find the path of assistants with the best student."""

from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from understudy.cli._options import OutOption, RecipeArgument, RunOptions, with_options
from understudy.cli._shared import err, out, print_findings, print_json
from understudy.training.interrupt import listening

if TYPE_CHECKING:
    from understudy.runs.path import PathRun


class StrategyName(StrEnum):
    """How a path is searched."""

    EVERY = "every"
    BEST_FIRST = "best-first"
    LIMITED = "limited"
    RULE = "rule"


@with_options
def path(
    recipe: RecipeArgument,
    folder: OutOption,
    strategy: Annotated[
        StrategyName | None, typer.Option(help="Instead of the recipe's path.strategy.", show_default=False)
    ] = None,
    max_assistants: Annotated[
        int | None,
        typer.Option(min=0, max=1000, help="On one path; the strategy is then 'limited'.", show_default=False),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(metavar="20|3h", help="Trainings, or hours (h), minutes (m), seconds (s).", show_default=False),
    ] = None,
    *,
    options: RunOptions,
) -> None:
    """Search the best path of assistants from teacher to student. A stopped search continues with the same command.

    Example: understudy path recipes/path_cifar10.toml --out runs/path --strategy best-first --workers 2
    """
    from understudy import recipe as recipes
    from understudy.cli._graph import GraphLive
    from understudy.cli._run import prepared, show_plan
    from understudy.paths import Budget
    from understudy.report import write_report
    from understudy.report.render import say
    from understudy.report.text import show, show_students
    from understudy.runs.folder import RunFolder
    from understudy.runs.path import PathRun
    from understudy.training import preflight

    asked = (
        [f"path.strategy={strategy}"] if strategy else ["path.strategy=limited"] if max_assistants is not None else []
    )
    asked += [f"path.max_assistants={max_assistants}"] if max_assistants is not None else []
    changes, begun = [*(options.changes or []), *asked], RunFolder(folder).settings()
    read = recipes.read(recipe, changes, settings=options.settings, begun=begun)
    with listening() as stop, GraphLive(err) as live:
        make = partial(
            PathRun,
            out=folder,
            budget=Budget.parse(budget) if budget else None,
            observer=live.observe,
            callback=live,
            stop=stop,
            checkpoint_seconds=options.seconds,
            cache=options.opened_cache,
        )
        run = prepared(make, read, options, live, folder, PathRun.first)
        run.folder.look(recipes.write(run.recipe))
        if options.dry_run:
            show_plan(run, out, json=options.json)
            return
        if options.check and not run.complete:
            findings = list(run.check())
            print_findings(findings, err, verbose=options.verbose)
            preflight.passes(findings)
        result = run.execute()
    page = write_report(folder)
    if options.json:
        print_json(result)
        return
    show(result, out)
    for sentence in result.path.sentences if result.path else ():
        say(out, sentence)
    out.print(_counted(run), style="dim", highlight=False)
    show_students(result, folder, out)
    out.print(f"report: {page}", markup=False, highlight=False, soft_wrap=True)


def _counted(run: "PathRun") -> str:
    """The number of trainings of the search, and how many of them existed already."""
    from understudy.report.format import plural

    assert run.search is not None
    origins = list(run.search.origins.values())
    trained = origins.count("trained")
    return (
        f"{plural(len(origins), 'training')}, each once: {trained} trained now, {len(origins) - trained} there already"
    )
