"""Broken students, which a mean over seeds would hide, and the reasons."""

import math
from collections.abc import Sequence

from torch import Tensor

from understudy.nested import Nested
from understudy.tasks import Figure, Task

SAME = 0.99  # the share of samples with equal answers from which a student is broken
HUGE = 1e4  # the largest plausible value of an answer, as a multiple of the task's magnitude; float16 ends at 65,504


def reasons(
    figure: Figure,
    value: float,
    luck: float = 0.0,
    *,
    constant: float | None = None,
    usual: float = 0.0,
    largest: float | None = None,
) -> list[str]:
    """The reasons why a student is broken; empty where there are none.

    Args:
        value: the student's first figure.
        luck: how far from chance a figure may be by luck; see ``Task.luck``.
        constant: the share of samples that have the most frequent answer.
        usual: the share of samples with the most frequent target, which a student may reach with one answer.
        largest: the largest absolute value of all answers, as a multiple of the task's magnitude.

    Example:
        >>> reasons(Figure("accuracy", "accuracy", unit="share", chance=0.1), 0.1, constant=1.0)
        ['its accuracy of 10.00 % cannot be told from chance (10.00 %)', 'it gives one answer for 100 % of the samples']
    """
    sentences = []
    if not math.isfinite(value):
        sentences.append(f"its {figure.title} is no number")
    elif at_chance(figure, value, luck):
        chance = figure.text(figure.chance or 0.0)
        sentences.append(f"its {figure.title} of {figure.text(value)} cannot be told from chance ({chance})")
    if constant is not None and constant >= SAME and (constant == 1 or usual < SAME):
        sentences.append(f"it gives one answer for {100 * constant:.3g} % of the samples")
    if largest is not None and not largest <= HUGE:
        size = f"as large as {largest:.2g}" if math.isfinite(largest) else "that are no numbers"
        sentences.append(f"its answers have values {size}")
    return sentences


def commonest(task: Task, targets: Nested) -> float:
    """The share of samples that have the most frequent target; 0 for targets of several tensors.

    Of distributions the likeliest class counts.

    >>> import torch
    >>> from understudy.tasks import Classification
    >>> commonest(Classification(("a", "b")), torch.tensor([0, 1, 1, 1]))
    0.75
    """
    classes = task.strata(targets) if task.targets_are_distributions else None
    targets = targets if classes is None else classes
    if not isinstance(targets, Tensor) or not len(targets):
        return 0.0
    _, counts = targets.unique(dim=0, return_counts=True)
    return int(counts.max()) / len(targets)


def collapse(figure: Figure, values: Sequence[float], luck: float = 0.0) -> str | None:
    """The sentence of a training whose figure on validation was better once and ended at chance; otherwise None.

    Example:
        >>> collapse(Figure("accuracy", "accuracy", unit="share", chance=0.1), [0.1, 0.8, 0.1])
        'its accuracy on validation fell from 80.00 % to 10.00 %'
    """
    finite = [value for value in values if math.isfinite(value)]
    if len(values) < 2 or not finite or figure.chance is None:
        return None
    best, last = (max if figure.better == "higher" else min)(finite), values[-1]
    if at_chance(figure, best, luck) or not at_chance(figure, last, luck):
        return None
    return f"its {figure.title} on validation fell from {figure.text(best)} to {figure.text(last)}"


def at_chance(figure: Figure, value: float, luck: float) -> bool:
    """Whether a figure is no better than chance."""
    if figure.chance is None:
        return False
    return not figure.gain(value, figure.chance) > luck
