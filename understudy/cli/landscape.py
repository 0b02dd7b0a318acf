"""``understudy landscape``: the flatness of the loss around each trained student."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.progress import Progress

from understudy.bounds import MOST
from understudy.cli._options import JsonOption, TrustOption
from understudy.cli._shared import err, out, print_json
from understudy.errors import UserError

if TYPE_CHECKING:
    from understudy.recipe import Recipe


def landscape(
    run: Annotated[Path, typer.Argument(help="The folder of a finished run.", show_default=False)],
    grid: Annotated[int, typer.Option(min=3, max=1001, help="Points along each side of the square; odd.")] = 21,
    samples: Annotated[int, typer.Option(min=1, max=MOST, help="On how many samples the loss is measured.")] = 1000,
    part: Annotated[Literal["train", "validation"], typer.Option(help="Of which part.")] = "train",
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of the two random directions.")] = 0,
    trust: TrustOption = None,
    json: JsonOption = False,
) -> None:
    """Measure the loss around each student of a run, in two random directions, and draw it in the report.

    Example: understudy landscape runs/mnist --grid 15 --samples 500
    """
    from understudy.report import write_report
    from understudy.report.reading import read_result
    from understudy.report.render import say, show
    from understudy.report.tables import sharpness
    from understudy.runs import Run
    from understudy.runs.landscape import survey

    read_result(run)
    made = Run(_recipe(run), run, trusted=trust or [])
    with made.folder.locked(), Progress(console=err, transient=True, disable=not err.is_terminal) as bars:
        bar = bars.add_task("")
        landscapes = survey(
            made,
            grid=grid,
            samples=samples,
            part=part,
            seed=seed,
            progress=lambda name, done, of: bars.update(bar, description=name, completed=done, total=of),
        )
    page = write_report(run)
    if json:
        print_json(landscapes)
        return
    table = sharpness(landscapes)
    show(table, out)
    say(out, table.note, "dim")
    say(out, f"report: {page}")


def _recipe(run: Path) -> "Recipe":
    from understudy import recipe as recipes
    from understudy.runs.folder import RECIPE, read_recipe

    path = run / RECIPE
    raw = read_recipe(path) if path.exists() else {}
    if "methods" not in raw:
        raise UserError(
            f"{run} holds no run of a recipe, from which its students could be rebuilt: "
            "use understudy.measure.landscape(network, inputs, labels)"
        )
    return recipes.read(path)
