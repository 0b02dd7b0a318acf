"""A run as text: Markdown for notes and issues, LaTeX for papers, and the table for a terminal."""

from pathlib import Path

from rich.console import Console

from understudy.models.student import WEIGHTS
from understudy.plans.folders import TRAININGS
from understudy.printable import printable
from understudy.report import render, tables
from understudy.report.format import NONE, count, plural
from understudy.report.page import heading
from understudy.report.reading import read_result
from understudy.report.render import markdown_text
from understudy.runs.records import Result


def as_markdown(run: Path) -> str:
    """The trainings, their results seed by seed, and the conditions of the run."""
    result = read_result(run)
    table = tables.students(result)
    paragraphs = [
        f"# {markdown_text(result.title or result.data.name or run.name)}",
        f"    {_line(result.command)}" if result.command else "",
        render.markdown(table),
        "\n".join(f"- {markdown_text(sentence)}" for sentence in _sentences(result)),
        render.markdown(tables.paths(result.path, result.first)) if result.path else "",
        _searched(result),
        _measured(result),
        _where(result),
    ]
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph) + "\n"


def as_latex(run: Path) -> str:
    """The table of students for a paper, with the verdicts as its caption."""
    result = read_result(run)
    table = tables.students(result).without("seeds", "bytes", "training")
    caption = " ".join([tables.measured_note(result), *_sentences(result)])
    lines = [
        f"% {_line(result.command)}" if result.command else "",
        r"\begin{table}",
        r"\centering",
        render.latex(table),
        rf"\caption{{{render.latex_text(f'{heading(result)}. {caption}')}}}",
        r"\end{table}",
    ]
    return "\n".join(line for line in lines if line) + "\n"


def show(result: Result, console: Console) -> None:
    """The first figure, size and speed compared with the teacher, then the verdicts."""
    table = tables.students(result).without("seeds")
    render.show(table, console, title=result.title)
    render.say(console, table.note, "dim")
    for training, reasons in result.broken.items():
        render.say(console, f"broken: {training}: {'; '.join(reasons)}", "bold red")
    for verdict in result.verdicts.values():
        render.say(console, verdict.sentence, render.STYLES[verdict.verdict])
    for note in result.notes:
        render.say(console, note, "yellow")


def show_students(result: Result, folder: Path, console: Console) -> None:
    """The folders of the students: the kept one with the reason, then those of each method."""
    because = f", {result.kept_because}" if result.kept_because else ""
    _path(console, f"student: {folder / WEIGHTS} ({result.kept}{because})")
    if len(result.trained) > 1:
        for name, method in result.methods.items():
            first, *others = [row.training for row in method.trainings]
            beside = f", {', '.join(others)}" if others else ""
            _path(console, f"  {name}: {folder / TRAININGS / first}{beside}")


def _path(console: Console, line: str) -> None:
    console.print(printable(line), markup=False, highlight=False, soft_wrap=True)


def _sentences(result: Result) -> list[str]:
    """Broken students, then the verdicts, preferring those with enough seeds."""
    broken = [f"Broken: {training}: {'; '.join(reasons)}." for training, reasons in result.broken.items()]
    verdicts = list(result.verdicts.values())
    sure = [verdict for verdict in verdicts if verdict.verdict != "unknown"]
    return broken + [verdict.sentence for verdict in sure or verdicts]


def _searched(result: Result) -> str:
    if result.path is None:
        return ""
    counted = [f"{plural(result.path.trainings, 'training')} in all, each once."] if result.path.trainings else []
    return markdown_text(" ".join([*result.path.sentences, *counted]))


def _measured(result: Result) -> str:
    data = result.data
    sentence = f"Measured once, on {count(data.measured)} {data.measured_on} samples; {count(data.train)} trained, "
    if data.unlabelled:
        sentence = f"{sentence.removesuffix(', ')} and {count(data.unlabelled)} without labels, "
    sentence += f"{count(data.validation)} selected."
    seeds = ", ".join(map(str, result.seeds))
    return sentence + (f" Mean ± sample standard deviation over seeds {seeds}." if "," in seeds else f" Seed {seeds}.")


def _where(result: Result) -> str:
    seconds = sum(sum(method.seconds.values) for method in result.methods.values() if method.seconds)
    machine = result.machine
    if not machine:
        return ""
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    return markdown_text(
        f"Students trained for {seconds / 60:.0f} min in all, on {machine.get('processor') or machine.get('system')} "
        f"({machine.get('cores', NONE)} cores, {machine.get('threads', NONE)} threads used), {versions}."
    )


def _line(text: str) -> str:
    return printable(" ".join(text.split()))
