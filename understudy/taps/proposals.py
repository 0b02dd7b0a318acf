"""Which pairs of taps make good hints, and which stages of two networks belong together."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from understudy.errors import UserError
from understudy.nested import Nested
from understudy.taps import Pair, inner
from understudy.taps.regressors import regressor
from understudy.taps.stages import blocks, parts, stages, the_row
from understudy.taps.tracing import Traced, trace

MIDDLE = 2 / 3  # where hints work best: FitNets' pair lies at 0.75, CRD's benchmark's (the second of three) at 0.67
MIDDLE_ENDS = (0.3, 0.9)  # earlier there is little to learn from, later the hint decides too much of the student


@dataclass(frozen=True)
class Proposal:
    """A pair of taps for a hint, why, and the regressor that it calls for."""

    pair: Pair
    reason: str
    regressor: str
    teacher: Traced
    student: Traced


def propose(teacher: Sequence[Traced], student: Sequence[Traced]) -> list[Proposal]:
    """Pairs for hints, the middle one first: aligned by resolution where both have it, else by depth.

    Of a network whose blocks are all of one size, the pairs of ``corresponding`` stages come after these.
    """
    ours, theirs = stages(student), stages(teacher)
    pairs: list[tuple[Traced, Traced, str]]
    pairs = [(t, s, "equal resolution") for t in theirs for s in ours if t.resolution and _size(t) == _size(s)]
    left = [s for s in ours if all(s is not pair[1] for pair in pairs)]
    for t in theirs:
        if left and all(t is not pair[0] for pair in pairs):
            pairs.append((t, _nearest(left, t.depth), "nearest in depth"))
    if not any(_in_the_middle(t) and _in_the_middle(s) for t, s, _ in pairs):
        pairs += _middle_pair(teacher, student)
    unique = {(t.path, s.path): (t, s, why) for t, s, why in reversed(pairs)}
    best_first = sorted(unique.values(), key=lambda pair: _off_the_middle(pair[0], pair[1]))
    if the_row(teacher) or the_row(student):
        best_first += [(t, s, "same place") for t, s in _in_order(teacher, student) if (t.path, s.path) not in unique]
    proposals = [_proposal(t, s, why, first=not i) for i, (t, s, why) in enumerate(best_first)]
    return [p for p in proposals if p is not None]


def corresponding(teacher: Sequence[Traced], student: Sequence[Traced]) -> list[tuple[Traced, Traced]]:
    """The stages that two networks share, from input to output: maps or tokens, vectors only where there are none."""
    if the_row(teacher) or the_row(student):
        return _in_order(teacher, student)
    proposals = propose(teacher, student)
    by_student: dict[str, tuple[Traced, Traced]] = {}
    for p in [p for p in proposals if p.teacher.resolution and p.student.resolution] or proposals:
        by_student.setdefault(p.student.path, (p.teacher, p.student))
    pairs = sorted(by_student.values(), key=lambda pair: pair[1].ended)
    return [pair for i, pair in enumerate(pairs) if all(pair[0].ended >= before[0].ended for before in pairs[:i])]


def _in_order(teacher: Sequence[Traced], student: Sequence[Traced]) -> list[tuple[Traced, Traced]]:
    """Stage by stage, the last with the last; of the network that has more, as many as the other has."""
    theirs, ours = ([t for t in parts(traces) if t.resolution] for traces in (teacher, student))
    count = min(len(theirs), len(ours))
    return list(zip(_evenly(theirs, count), _evenly(ours, count), strict=True))


def _evenly(traces: Sequence[Traced], count: int) -> list[Traced]:
    """So many of them, evenly, the last one among them."""
    return [traces[-(-len(traces) * part // count) - 1] for part in range(1, count + 1)]


def default_pair(teacher: nn.Module, student: nn.Module, example: Nested) -> Pair:
    """The pair for somebody who names none."""
    proposals = propose(trace(teacher, example), trace(student, example))
    if not proposals:
        raise UserError(
            f"no pair of taps suggests itself between {type(inner(teacher)).__name__} and "
            f"{type(inner(student)).__name__}: name one, as in 'layer2 -> layer3.1'"
        )
    return proposals[0].pair


def _middle_pair(teacher: Sequence[Traced], student: Sequence[Traced]) -> list[tuple[Traced, Traced, str]]:
    theirs, ours = blocks(teacher), blocks(student)
    if not theirs or not ours:
        return []
    middle = _nearest(theirs, MIDDLE)
    guided = _nearest(ours, middle.depth)
    return [(_outermost(middle, teacher), _outermost(guided, student), "nearest to the middle")]


def _outermost(tap: Traced, traces: Sequence[Traced]) -> Traced:
    """The module that ends where the tap does: layer2 rather than its last block."""
    around = [t for t in traces if t.tappable and tap.path.startswith(f"{t.path}.")]
    alike = [t for t in around if (t.shape, t.depth) == (tap.shape, tap.depth)]
    return min(alike, key=lambda t: t.path.count("."), default=tap)


def _nearest(traces: Sequence[Traced], depth: float) -> Traced:
    """Nearest in depth; of several at one depth the last, which has its activation behind it."""
    return min(reversed(traces), key=lambda t: abs(t.depth - depth))


def _in_the_middle(t: Traced) -> bool:
    return MIDDLE_ENDS[0] <= t.depth <= MIDDLE_ENDS[1]


def _off_the_middle(teacher: Traced, student: Traced) -> float:
    apart = abs(teacher.depth - student.depth)
    return apart + abs(teacher.depth - MIDDLE) + abs(student.depth - MIDDLE)


def _proposal(teacher: Traced, student: Traced, why: str, *, first: bool) -> Proposal | None:
    """None where no regressor joins the two."""
    try:
        with torch.device("meta"):
            built = regressor(torch.empty(1, *student.read_shape), torch.empty(1, *teacher.read_shape))
    except UserError:
        return None
    reason = f"{why}: teacher's {teacher.where}, student's {student.where} of the multiplications"
    reason = (
        f"the middle of both; {reason}" if first and _in_the_middle(teacher) and _in_the_middle(student) else reason
    )
    return Proposal(
        Pair(teacher.tap, student.tap), reason, "none needed" if built is None else repr(built), teacher, student
    )


def _size(t: Traced) -> tuple[int, ...] | None:
    """The grid of maps and of an image's tokens, the number of other tokens."""
    return t.grid or t.resolution
