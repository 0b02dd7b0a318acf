"""The output of commands: consoles, findings, results as JSON."""

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.segment import Segment
from rich.text import Text

from understudy.printable import printable

if TYPE_CHECKING:
    from understudy.training.preflight import Finding


class Terminal(Console):
    """A console that prints text as it is: markup only where a call requests it, and no control characters."""

    def __init__(self, *, stderr: bool = False):
        super().__init__(stderr=stderr, markup=False, emoji=False)

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            plain = segment.control or segment.text.isprintable()
            yield segment if plain else Segment(printable(segment.text), segment.style)


out = Terminal()
err = Terminal(stderr=True)

_MARKS = {"ok": "[green]ok[/]", "warning": "[yellow]warning[/]", "error": "[red]error[/]"}


def at_a_terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def confirmed(student: Path, trust: Sequence[str] | None) -> list[str]:
    """The trusted modules. At a terminal the user confirms a student that runs code; elsewhere --trust names it."""
    from understudy.export.open import needs_trust

    named = list(trust or [])
    needed = needs_trust(student)
    if needed is None or needed in named or not at_a_terminal():
        return named
    run = typer.confirm(f"{student} runs the code of {needed} when it is opened. Do you trust it?", err=True)
    return [*named, needed] if run else named


def student_in(path: Path, method: str | None, training: str | None) -> Path:
    """The folder of the selected student. Where a run holds several, a line on standard error names it."""
    from understudy.runs import keep

    folder, called = keep.student_in(path, method, training)
    if called:
        err.print(f"student of {path}: {called}", markup=False, highlight=False, soft_wrap=True)
    return folder


def print_json(content: Any) -> None:
    """A record in the form of its file, or any other plain values."""
    text = json.dumps(content, indent=2) + "\n" if isinstance(content, (list, dict)) else content.text()
    typer.echo(text if text.isascii() else json_text(text), nl=False)


def json_text(text: str) -> str:
    """JSON in which control and formatting characters are escaped."""
    return "".join(c if printable(c) == c else json.dumps(c)[1:-1] for c in text)


def print_findings(findings: "Sequence[Finding]", console: Console, *, verbose: bool = False) -> None:
    """Print errors, warnings and hints, one per line, and the number of other findings; with ``verbose`` all.

    Errors are left out on standard error, where the command ends with them (``preflight.passes``).
    """
    if console is err:
        findings = [finding for finding in findings if finding.level != "error"]
    shown = [finding for finding in findings if verbose or finding.worth or finding.level != "ok"]
    for finding in shown:
        # In one write, because a live display that is redrawn in between would erase the lines before it.
        line = f"{_MARKS[finding.level]} {escape(finding.subject)}: {escape(finding.text)}"
        console.print(line, markup=True, highlight=False)
    if hidden := len(findings) - len(shown):
        more = f"[green]ok[/] {hidden} more {'checks' if hidden > 1 else 'check'} (--verbose shows them)"
        console.print(more, markup=True, highlight=False)
