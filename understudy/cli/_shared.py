"""What the commands print with: consoles, findings, results as JSON."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:
    from understudy.training.preflight import Finding

out = Console()
err = Console(stderr=True)

_MARKS = {"ok": "[green]ok[/]", "warning": "[yellow]warning[/]", "error": "[red]error[/]"}


def at_a_terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def confirmed(student: Path, trust: Sequence[str] | None) -> list[str]:
    """What is trusted; at a terminal a student that runs code asks for it, elsewhere it must be named."""
    from understudy.export.open import needs_trust

    named = list(trust or [])
    needed = needs_trust(student)
    if needed is None or needed in named or not at_a_terminal():
        return named
    run = typer.confirm(f"{student} runs the code of {needed} when it is opened. Do you trust it?", err=True)
    return [*named, needed] if run else named


def student_in(path: Path, method: str | None, training: str | None) -> Path:
    """The folder of the student that is meant; where a run holds several, a line on standard error says which it is."""
    from understudy.runs import keep

    folder, called = keep.student_in(path, method, training)
    if called:
        err.print(f"student of {path}: {called}", markup=False, highlight=False, soft_wrap=True)
    return folder


def print_json(content: Any) -> None:
    """A record as its file holds it, or any other plain values."""
    if isinstance(content, (list, dict)):
        typer.echo(json.dumps(content, indent=2))
    else:
        typer.echo(content.text(), nl=False)


def print_findings(findings: "Sequence[Finding]", console: Console, *, verbose: bool = False) -> None:
    """What is wrong or worth knowing, a line each; the rest as a number, or in full where ``verbose``."""
    shown = [finding for finding in findings if verbose or finding.worth or finding.level != "ok"]
    for finding in shown:
        # In one go: a live display that redraws itself in between would wipe out what came before it.
        told = f"{_MARKS[finding.level]} {escape(finding.subject)}: {escape(finding.text)}"
        console.print(told, highlight=False)
    if hidden := len(findings) - len(shown):
        console.print(
            f"[green]ok[/] {hidden} more {'checks' if hidden > 1 else 'check'} (--verbose shows them)", highlight=False
        )
