"""What the pre-flight check finds: one line each, an error, a warning or a fact."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from understudy.errors import UserError

ABOUT_IMAGES = "images"  # the subject of findings about their values
ABOUT_UNLABELLED = "unlabelled"  # the subject of findings about training samples without labels
ABOUT_INPUTS = "'s inputs"  # the end of the subject of findings about a teacher's normalisation, or tokens
ABOUT_ANSWERS = "'s answers"  # the end of the subject of findings about answers that are no logits
ABOUT_STORED = "stored answers"  # the end of the subject of findings about them


@dataclass(frozen=True)
class Finding:
    """One line of the pre-flight."""

    level: Literal["ok", "warning", "error"]
    subject: str
    text: str
    seconds: float = 0.0  # the estimated time of a training
    worth: bool = False  # shown although nothing is wrong


def passes(findings: Sequence[Finding]) -> None:
    """Raise a UserError with all errors, if there are any."""
    errors = [f"{f.subject}: {f.text}" for f in findings if f.level == "error"]
    if errors:
        raise UserError("\n".join(errors))


def duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
