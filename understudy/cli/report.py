"""``understudy report``: the page of a run, or of several with the student to choose."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from understudy.cli._bounds import budget
from understudy.cli._options import JsonOption
from understudy.cli._shared import err, out, print_json
from understudy.measure import Budget, Choice
from understudy.report import COMPARISON, write_comparison, write_report
from understudy.report.markdown import as_markdown
from understudy.report.reading import finished_of, read_result
from understudy.report.students import Student, Students

Order = Literal["accuracy", "latency", "size", "multiplications", "test"]


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders.", show_default=False)],
    sort: Annotated[Order | None, typer.Option(help="The order of the students.", show_default=False)] = None,
    max_latency: Annotated[
        str | None, typer.Option("--max-latency", metavar="3ms", help="For one image, of the student to choose.")
    ] = None,
    max_size: Annotated[str | None, typer.Option("--max-size", metavar="2MB", help="Of its weights.")] = None,
    min_accuracy: Annotated[str | None, typer.Option("--min-accuracy", metavar="90", help="In percent.")] = None,
    page: Annotated[Path | None, typer.Option("--out", help="Where the page is written.", show_default=False)] = None,
    figures: Annotated[
        Path | None, typer.Option(help="A folder for the figures as SVG and PNG.", show_default=False)
    ] = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the result as a table in Markdown instead.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Write the page of a finished run, or compare several and choose a student; in one file that opens from disk.

    Example: understudy report runs/* --max-latency 3ms --max-size 2MB --sort latency
    """
    bounds = budget(max_latency, max_size, min_accuracy)
    # What an earlier call left beside the runs is caught by runs/*, too.
    runs = [run for run in runs if not (run.name == COMPARISON and run.is_file())] or runs
    finished, others = finished_of(runs)
    if finished:
        runs = finished
        for reason in others:
            _left_out(reason)
    if markdown:
        typer.echo("\n".join(as_markdown(run) for run in runs), nl=False)
    elif len(runs) == 1 and sort is None and bounds == Budget():
        written = write_report(runs[0], page=page, figures=figures, warn=_left_out)
        if json:
            print_json(read_result(runs[0]))
        else:
            out.print(str(written), markup=False, highlight=False, soft_wrap=True)
    else:
        order = sort or "accuracy"
        written, students, choice = write_comparison(runs, bounds, sort=order, page=page, figures=figures)
        if json:
            print_json(_plain(written, students, choice, order))
        else:
            out.print(f"{choice.reason}\n{written}", markup=False, highlight=False, soft_wrap=True)


def _left_out(reason: str) -> None:
    err.print(f"left out: {reason}", style="yellow", markup=False, highlight=False, soft_wrap=True)


def _plain(page: Path, students: Students, choice: Choice, order: str) -> dict[str, Any]:
    return {
        "chosen": choice.chosen.name if choice.chosen else None,
        "reason": choice.reason,
        "chosen_by": students.chosen_by,
        "students": [_row(students, student) for student in students.sorted(order)],
        "page": str(page),
    }


def _row(students: Students, student: Student) -> dict[str, Any]:
    return {
        "name": student.name,
        "run": str(student.run),
        "method": student.method,
        "network": student.network.network,
        students.chosen_by: students.worth(student),
        "accuracy": asdict(student.accuracy)["values"],
        "latency_ms": student.latency_ms,
        "speed_up": students.speed_up(student),
        "bytes": student.network.bytes,
        "multiplications": student.network.multiplications,
    }
