"""Errors of the user, and suggestions for their messages."""

import sys
import warnings
from collections.abc import Iterable
from difflib import get_close_matches

from understudy.printable import message, shown


class UserError(Exception):
    """An error that the user can correct: one or two lines with the cause and the remedy (exit code 2).

    What the text repeats of a file cannot steer the terminal and has a bounded length.

    >>> try:
    ...     understudy.data.load("cifar11")
    ... except UserError as error:
    ...     print(error)
    there is no data set 'cifar11'; did you mean 'cifar10', 'cifar100', 'cifar100-people'?
    """

    def __init__(self, text: str):
        super().__init__(message(str(text)))


class FailedTrainingError(UserError):
    """A training failed for its course (divergence, for example). A search counts it as a result and continues."""

    def __init__(self, text: str, *, training: str, reason: str):
        super().__init__(text)
        self.training, self.reason = training, reason  # the reason in a few words, without the way out


class OptionalPackageError(UserError):
    """A package that only some users need is not installed."""

    def __init__(self, package: str, extra: str, purpose: str):
        super().__init__(f"{purpose} needs the package {package!r}: pip install 'understudy[{extra}]'")


def nearest(word: str, known: Iterable[str], limit: int = 3) -> list[str]:
    """The ``known`` words most similar to ``word``, the best first."""
    known = list(dict.fromkeys(known))
    if len(word) > 200:  # like nothing that is known, and slow to compare
        return []
    close = get_close_matches(word, known, n=limit, cutoff=0.5)
    if not close:  # "KD" for "kd"
        lowered = {k.lower(): k for k in reversed(known)}
        close = [lowered[match] for match in get_close_matches(word.lower(), lowered, n=limit, cutoff=0.5)]
    tail = word.rsplit(".", 1)[-1]
    same_tail = [k for k in known if k not in close and tail and k.rsplit(".", 1)[-1] == tail]
    return (close + same_tail)[:limit]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``"; did you mean 'a', 'b'?"``, or the known words if none is similar."""
    known = list(known)
    close = nearest(word, known)
    if close:
        return "; did you mean " + ", ".join(map(shown, close)) + "?"
    if not known:
        return ""
    few = ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
    return f"; known: {few}"


def warn_caller(text: str) -> None:
    """A warning that points to the line of the user's own code, however many calls of PyTorch stand between.

    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     warn_caller("pass epoch=")
    >>> str(caught[0].message)
    'pass epoch='
    """
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] in (
        "understudy",
        "torch",
    ):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, stacklevel=level)
