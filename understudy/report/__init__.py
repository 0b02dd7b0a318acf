"""The report of one run or several: one HTML file, and its figures beside it."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from understudy.files import write_atomically
from understudy.measure import Budget, Choice
from understudy.report.reading import read
from understudy.report.students import Students
from understudy.tuning.outcome import OUTCOME

if TYPE_CHECKING:
    from understudy.report.figures.drawing import Drawn

PAGE, FIGURES, COMPARISON = "report.html", "figures", "comparison.html"


def write_report(
    run: Path,
    *,
    page: Path | None = None,
    figures: Path | None = None,
    warn: Callable[[str], None] | None = None,
) -> Path:
    """Write ``report.html`` and ``figures/*.svg`` into the folder of a finished run or search.

    The page depends only on the folder's content: written again, it has equal bytes. Returns its
    path.

    Args:
        page: another place for the page.
        figures: a folder for the figures as SVG and PNG, beside those that the run folder has.
        warn: called with a line about each damaged part that is left out; the page shows the same.
    """
    if (run / OUTCOME).exists():
        drawn, html = _of_search(run / OUTCOME)
        return _finish_run(run, html, drawn, page, figures)
    record = read(run)
    if warn and record.left_out:
        warn(record.left_out)
    from understudy.report.figures import draw_all
    from understudy.report.page import page as page_of

    drawn = draw_all(record)
    return _finish_run(run, page_of(record, drawn), drawn, page, figures)


def _of_search(outcome: Path) -> "tuple[dict[str, Drawn], str]":
    """The figures and the page of a search."""
    from understudy.report.figures.search import draw_search
    from understudy.report.search import read_search, search_page

    search = read_search(outcome)
    drawn = draw_search(search)
    return drawn, search_page(search, drawn)


def _finish_run(run: Path, html: str, drawn: "Mapping[str, Drawn]", page: Path | None, figures: Path | None) -> Path:
    for figure in drawn.values():
        write_atomically(run / FIGURES / f"{figure.name}.svg", figure.standalone.encode())
    return _finish(page or run / PAGE, html, drawn, figures)


def write_comparison(
    runs: Sequence[Path],
    budget: Budget | None = None,
    *,
    sort: str = "value",
    page: Path | None = None,
    figures: Path | None = None,
) -> tuple[Path, Students, Choice]:
    """Write the page of several finished runs of one task with the chosen student, by default beside the runs."""
    students = Students.of({run: read(run) for run in dict.fromkeys(runs)})
    budget = budget or Budget()
    choice = students.choice(budget)
    from understudy.report.comparison import comparison
    from understudy.report.figures.frontier import frontier

    chosen = students.named(choice.chosen.name) if choice.chosen else None
    figure = frontier(students, budget, chosen)
    html = comparison(students, budget, choice, figure, sort=sort)
    drawn = {"frontier": figure} if figure else {}
    parents = [os.path.dirname(os.path.abspath(run)) for run in runs]
    return _finish(page or Path(os.path.commonpath(parents)) / COMPARISON, html, drawn, figures), students, choice


def _finish(page: Path, html: str, drawn: "Mapping[str, Drawn]", figures: Path | None) -> Path:
    for figure in drawn.values() if figures else ():
        assert figures is not None
        write_atomically(figures / f"{figure.name}.svg", figure.standalone.encode())
        write_atomically(figures / f"{figure.name}.png", figure.png())
    write_atomically(page, html.encode())
    return page
