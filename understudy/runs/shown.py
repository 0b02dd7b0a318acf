"""The display of progress for callers of ``understudy.distill``."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from understudy.training.callbacks import Callback, Callbacks, PrintEpochs, WarnNotes


@contextmanager
def shown(callback: Callback | None, progress: bool | None) -> Iterator[Callback]:
    """The callback of a call: the caller's own, and bars at a terminal or lines in a notebook.

    >>> with shown(None, progress=False) as callback:
    ...     print(type(callback).__name__)
    WarnNotes

    Args:
        callback: the caller's own.
        progress: whether progress is shown; None shows it at a terminal and in a notebook, unless there is a callback.
    """
    if progress is None:
        progress = callback is None and (in_a_notebook() or sys.stderr.isatty())
    if not progress:
        yield callback or WarnNotes()
        return
    others = [callback] if callback else []
    if in_a_notebook():
        yield Callbacks(PrintEpochs(sys.stdout), *others)
        return
    from rich.console import Console

    from understudy.cli._live import Live  # imported here: it imports runs

    with Live(Console(stderr=True)) as live:
        yield Callbacks(live, *others)


def in_a_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    return "ipykernel" in sys.modules
