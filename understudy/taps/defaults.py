"""Taps for somebody who names none: what a method's settings of these names stand for in two given networks.

| setting | proposed |
|---|---|
| ``pair`` | the middle of both networks, FitNets' place |
| ``pairs`` | the end of every stage that the two share, from input to output |
| ``maps`` | the last feature maps before they are pooled |
| ``embedding`` | what goes into the classifiers; the last feature maps of networks without one |
| ``heads`` | the classifiers themselves |
| ``shared`` | the end of the first stage, where both networks have one shape there; else nothing, ``""`` |
"""

from collections.abc import Callable, Sequence

from torch import nn

from understudy.errors import UserError
from understudy.nested import Nested
from understudy.taps import Pair, Tap
from understudy.taps.tracing import Proposal, Traced, default_pair, propose, stages, trace


def _pair(teacher: nn.Module, student: nn.Module, example: Nested) -> str:
    mapped = _mapped(propose(trace(teacher, example), trace(student, example)))
    return str(mapped[0].pair if mapped else default_pair(teacher, student, example))


def _mapped(proposals: Sequence[Proposal]) -> list[Proposal]:
    """Pairs of maps or tokens, for which most losses on hidden values are made; any where there are none."""
    return [p for p in proposals if p.teacher.resolution and p.student.resolution] or list(proposals)


def _pairs(teacher: nn.Module, student: nn.Module, example: Nested) -> tuple[str, ...]:
    theirs, ours = trace(teacher, example), trace(student, example)
    found: dict[str, Pair] = {}
    for proposal in _mapped(propose(theirs, ours)):
        found.setdefault(proposal.pair.student.path, proposal.pair)
    depth = {traced.path: traced.ended for traced in ours}
    ordered = sorted(found.values(), key=lambda pair: depth[pair.student.path])
    if not ordered:
        raise UserError("no pairs of stages suggest themselves: name some, as in ['layer2 -> layer2']")
    return tuple(map(str, ordered))


def _maps(teacher: nn.Module, student: nn.Module, example: Nested) -> str:
    return str(Pair(_last_map(trace(teacher, example)), _last_map(trace(student, example))))


def _embedding(teacher: nn.Module, student: nn.Module, example: Nested) -> str:
    return str(Pair(_entering(trace(teacher, example)), _entering(trace(student, example))))


def _heads(teacher: nn.Module, student: nn.Module, example: Nested) -> str:
    return str(Pair(Tap(classifier(trace(teacher, example)).path), Tap(classifier(trace(student, example)).path)))


def _shared(teacher: nn.Module, student: nn.Module, example: Nested) -> str:
    theirs, ours = stages(trace(teacher, example)), stages(trace(student, example))
    if not theirs or not ours or theirs[0].shape != ours[0].shape:
        return ""
    return str(Pair(Tap(theirs[0].path), Tap(ours[0].path)))


PROPOSALS: dict[str, Callable[[nn.Module, nn.Module, Nested], str | tuple[str, ...]]] = {
    "pair": _pair,
    "pairs": _pairs,
    "maps": _maps,
    "embedding": _embedding,
    "heads": _heads,
    "shared": _shared,
}

PLACEHOLDERS: dict[str, object] = {  # of the right form, where there are no networks yet to ask
    "pair": "teacher -> student",
    "pairs": ("first -> first", "second -> second"),
    "maps": "teacher -> student",
    "embedding": "teacher:input -> student:input",
    "heads": "teacher -> student",
    "shared": "teacher -> student",
}


def classifier(traces: Sequence[Traced]) -> Traced:
    """The linear layer that answers last."""
    linear = [t for t in traces if t.fired == 1 and t.type.endswith("Linear")]
    if not linear:
        raise UserError("the network has no linear layer at its end: name the taps yourself")
    return max(linear, key=lambda t: t.ended)


def _entering(traces: Sequence[Traced]) -> Tap:
    dense = not any(t.type.endswith("Linear") for t in traces) and any(t.resolution for t in stages(traces))
    return _last_map(traces) if dense else Tap(classifier(traces).path, "input")


def _last_map(traces: Sequence[Traced]) -> Tap:
    maps = [t for t in stages(traces) if t.resolution]
    if not maps:
        raise UserError("the network has no feature maps: name the taps yourself")
    return Tap(maps[-1].path)
