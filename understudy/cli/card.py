"""``understudy card``: write the model card of a student, and push it to the Hub."""

from pathlib import Path
from typing import Annotated

import typer

from understudy.cli._shared import err, out


def card(
    student: Annotated[Path, typer.Argument(help="A run folder, or a student's own.", show_default=False)],
    push: Annotated[
        str | None,
        typer.Option(metavar="USER/NAME", help="Upload the student to this place on the Hugging Face Hub."),
    ] = None,
    into: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Write all that --push would upload into this folder."),
    ] = None,
) -> None:
    """Write the model card of a student (README.md beside it) from the record of its run.

    With --push, the card is uploaded to the Hub, with the student and its exports; with --out, the same files go into a
    folder. A card that you have changed is taken as it is, any other one written anew.

    Example: understudy card runs/mine
    """
    from understudy.shipping import card as cards
    from understudy.shipping import hub

    path = student / cards.CARD
    if (push is None and into is None) or not path.exists() or cards.is_ours(path):
        path = cards.write_card(student)
        for note in cards.left_out(student):
            err.print(note, style="yellow", markup=False, highlight=False, soft_wrap=True)
    elif (warning := cards.of_another(student)) is not None:
        err.print(warning, style="yellow", markup=False, highlight=False, soft_wrap=True)
    out.print(str(path), markup=False, highlight=False, soft_wrap=True)
    if into is not None:
        hub.assemble(student, into, cards.files(student))
        out.print(str(into), markup=False, highlight=False, soft_wrap=True)
    if push is not None:
        out.print(hub.push(student, push, cards.files(student)), markup=False, highlight=False, soft_wrap=True)
