"""``understudy report``: the page of a run, or of several with the student to choose."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from understudy.cli._options import JsonOption
from understudy.cli._shared import err, out, print_json

if TYPE_CHECKING:
    from understudy.measure import Choice
    from understudy.report.students import Student, Students

Order = Literal["value", "latency", "size", "multiplications", "test"]


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders.", show_default=False)],
    sort: Annotated[Order | None, typer.Option(help="The order of the students.", show_default=False)] = None,
    max_latency: Annotated[
        str | None, typer.Option("--max-latency", metavar="3ms", help="For one image, of the student to choose.")
    ] = None,
    max_size: Annotated[str | None, typer.Option("--max-size", metavar="2MB", help="Of its weights.")] = None,
    reach: Annotated[
        str | None,
        typer.Option(
            "--reach",
            "--min-accuracy",
            metavar="90",
            help="What the first figure must reach: at least, or at most where less is better. Shares in percent.",
        ),
    ] = None,
    page: Annotated[Path | None, typer.Option("--out", help="Where the page is written.", show_default=False)] = None,
    figures: Annotated[
        Path | None, typer.Option(help="A folder for the figures as SVG and PNG.", show_default=False)
    ] = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the result as a table in Markdown instead.")
    ] = False,
    latex: Annotated[bool, typer.Option("--latex", help="Print the table in LaTeX instead.")] = False,
    json: JsonOption = False,
) -> None:
    """Write the report of a finished run, or compare several runs and choose a student, as one HTML file.

    Example: understudy report runs/* --max-latency 3ms --max-size 2MB --sort latency
    """
    from understudy.cli._bounds import budget, value
    from understudy.measure import Budget
    from understudy.report import COMPARISON, write_comparison, write_report
    from understudy.report.comparison import caveats
    from understudy.report.reading import finished_of, read_result
    from understudy.report.render import say
    from understudy.report.search import read_search
    from understudy.report.text import as_latex, as_markdown
    from understudy.tuning.outcome import OUTCOME

    bounds = budget(max_latency, max_size)
    # The pattern runs/* also matches files that an earlier call wrote beside the runs.
    runs = [run for run in runs if not (run.name == COMPARISON and run.is_file())] or runs
    finished, others = finished_of(runs)
    if finished:
        runs = finished
        for reason in others:
            _left_out(reason)
    if markdown or latex:
        typer.echo("\n".join((as_latex if latex else as_markdown)(run) for run in runs), nl=False)
    elif len(runs) == 1 and sort is None and bounds == Budget() and reach is None:
        written = write_report(runs[0], page=page, figures=figures, warn=_left_out)
        if json:
            outcome = runs[0] / OUTCOME
            print_json(read_search(outcome) if outcome.exists() else read_result(runs[0]))
        else:
            say(out, str(written))
    else:
        order = sort or "value"
        bounds = replace(bounds, value=value(reach, read_result(runs[0]).first) if reach is not None else None)
        written, students, choice = write_comparison(runs, bounds, sort=order, page=page, figures=figures)
        if json:
            print_json(_plain(written, students, choice, order))
        else:
            say(out, choice.reason)
            for caveat in caveats(students, choice):
                say(err, caveat, "yellow")
            say(out, str(written))


def _left_out(reason: str) -> None:
    from understudy.report.render import say

    say(err, f"left out: {reason}", "yellow")


def _plain(page: Path, students: "Students", choice: "Choice", order: str) -> dict[str, object]:
    from understudy.report.comparison import caveats

    return {
        "chosen": choice.chosen.name if choice.chosen else None,
        "reason": choice.reason,
        "caveats": caveats(students, choice),
        "figure": students.figure.name,
        "chosen_by": students.chosen_by,
        "students": [_row(students, student) for student in students.sorted(order)],
        "page": str(page),
    }


def _row(students: "Students", student: "Student") -> dict[str, object]:
    return {
        "name": student.name,
        "run": str(student.run),
        "method": student.method,
        "network": student.network.network,
        students.chosen_by: students.worth(student),
        "values": list(student.measured.values),
        "broken": student.broken,
        "latency_ms": student.latency_ms,
        "speed_up": students.speed_up(student),
        "bytes": student.network.bytes,
        "multiplications": student.network.multiplications,
    }
