"""``understudy demo``: distillation on real images in about three minutes."""

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import understudy
from understudy.cli._live import Live
from understudy.cli._options import JsonOption
from understudy.cli._shared import err, out, print_json
from understudy.training.interrupt import listening

if TYPE_CHECKING:
    from understudy.recipe import Recipe

RECIPES = Path(understudy.__file__).parent / "demo"


def demo(
    folder: Annotated[Path, typer.Option("--out", help="The run folder.")] = Path("runs/demo"),
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="How many times each student is trained.")] = 2,
    train_teacher: Annotated[
        bool, typer.Option("--train-teacher", help="Train a teacher first, on the demo's own images.")
    ] = False,
    open_report: Annotated[bool, typer.Option("--open", help="Open the report in a browser.")] = False,
    json: JsonOption = False,
) -> None:
    """Train a thin, deep student alone, by soft targets, and as a FitNet, and see whether distillation helps.

    Example: understudy demo --seeds 3
    """
    from understudy import recipe as recipes
    from understudy.report import write_report
    from understudy.report.text import show, show_students
    from understudy.runs import Run

    recipe = _recipe(seeds, train_teacher)
    _introduce(recipe)
    with listening() as stop, Live(err) as live:
        run = Run(recipe, folder, callback=live, stop=stop)
        run.folder.look(recipes.write(recipe))
        if run.complete:
            err.print(f"this demo ran before; delete {folder} to see it train again", style="yellow", markup=False)
        result = run.execute()
    page = write_report(folder)
    if json:
        print_json(result)
    else:
        show(result, out)
        show_students(result, folder, out)
        out.print(f"report: {page.resolve().as_uri()}", markup=False, highlight=False, soft_wrap=True)
    if open_report:
        webbrowser.open(page.resolve().as_uri())


def _recipe(seeds: int, train_teacher: bool) -> "Recipe":
    from understudy import recipe as recipes

    name = "demo_with_teacher.toml" if train_teacher else "demo.toml"
    return recipes.read(RECIPES / name, [f"seeds={list(range(seeds))}"])


def _introduce(recipe: "Recipe") -> None:
    assert recipe.teacher is not None
    ways, seeds = len(recipe.methods), len(recipe.seeds)
    teacher = "is trained first" if recipe.teacher.train else "has seen 55,000 of them"
    err.print(
        f"A thin student learns from {recipe.data.student_samples:,} pictures of clothes in {ways} ways, over {seeds} "
        f"seeds; its teacher {teacher}.\nNothing is downloaded. Ctrl-C stops; the same command goes on.",
        markup=False,
        highlight=False,
    )
