"""Default taps: the values of a method's tap settings for two given networks, if the user sets none.

| setting | proposed |
|---|---|
| ``pair`` | the middle of both networks, FitNets' place |
| ``pairs`` | the end of every stage that the two share, from input to output |
| ``maps`` | the last feature maps larger than 1x1, before they are pooled; tokens are laid out as a grid |
| ``embedding`` | what goes into the classifiers; the last feature maps of networks without one |
| ``heads`` | the classifiers themselves |
| ``attention`` | the last attention modules of both |
| ``attentions`` | the attention module of each layer of the student, and of every k-th layer of the teacher |
| ``shared`` | the end of the first stage, where both networks have one shape there; else nothing, ``""`` |

A method may have a setting proposed by another rule (``Method.proposed_by``):

| rule | proposed |
|---|---|
| ``pair of maps`` | as ``pair``, tokens laid out as a grid |
| ``before activations`` | as ``pairs``, each value before the activation that ends the stage, where it can be read |
| ``before the teacher's activations`` | the same for the teacher, the student's stages as they end |
| ``pooled`` | as ``maps``, if the classifiers are given the means of both, and the teacher's is hardly ever negative; |
| | else as ``embedding`` |
| ``layers before the last`` | each layer of the student's list of layers, and every k-th of the teacher's; of |
| | several pairs without the last |
| ``embeddings and layers`` | the inputs of both first layers, and each layer of the student beside every k-th of the |
| | teacher's |
"""

from collections.abc import Callable
from dataclasses import replace

from torch import nn

from understudy.errors import UserError
from understudy.nested import Nested
from understudy.taps import Pair, Tap, inner
from understudy.taps.attention import attention_modules, evenly, list_of_layers
from understudy.taps.proposals import Proposal, corresponding, default_pair, propose
from understudy.taps.stages import (
    MOST_UNREACHABLE,
    classifier,
    gives_the_answer,
    last_map,
    stages,
    unreachable,
    value_at,
)
from understudy.taps.tracing import Traced, trace


def _pair(teacher: nn.Module, student: nn.Module, example: Nested) -> str:
    places = _pair_of_places(teacher, student, example)
    return str(places.pair if places else default_pair(teacher, student, example))


def _pair_of_maps(teacher: nn.Module, student: nn.Module, example: Nested) -> str:
    places = _pair_of_places(teacher, student, example)
    return str(
        Pair(places.teacher.map_tap, places.student.map_tap) if places else default_pair(teacher, student, example)
    )


def _pair_of_places(teacher: nn.Module, student: nn.Module, example: Nested) -> Proposal | None:
    """The first proposal of two maps or tokens."""
    proposals = propose(trace(teacher, example), trace(student, example))
    return next((p for p in proposals if p.teacher.resolution and p.student.resolution), None)


def _pairs(teacher: nn.Module, student: nn.Module, example: Nested) -> tuple[str, ...]:
    return _read_by(teacher, student, example, _as_map, _as_map)


def _before_activations(teacher: nn.Module, student: nn.Module, example: Nested) -> tuple[str, ...]:
    return _read_by(teacher, student, example, _before_activation, _before_activation)


def _before_teachers_activations(teacher: nn.Module, student: nn.Module, example: Nested) -> tuple[str, ...]:
    return _read_by(teacher, student, example, _before_activation, _as_map)


def _read_by(
    teacher: nn.Module,
    student: nn.Module,
    example: Nested,
    of_teacher: Callable[[Traced], Tap],
    of_student: Callable[[Traced], Tap],
) -> tuple[str, ...]:
    """The stages that both share, each read by one of these."""
    pairs = corresponding(trace(teacher, example), trace(student, example))
    if not pairs:
        raise UserError("no pairs of stages suggest themselves: name some, as in ['layer2 -> layer2']")
    return tuple(str(Pair(of_teacher(theirs), of_student(ours))) for theirs, ours in pairs)


def _as_map(traced: Traced) -> Tap:
    return traced.map_tap


def _before_activation(traced: Traced) -> Tap:
    """The value before the activation that ends a stage; the stage's value where there is no such place."""
    before = traced.before_activation
    return traced.map_tap if before is None else replace(before, form=traced.form)


def _maps(teacher: nn.Module, student: nn.Module, example: Nested) -> str:
    return str(Pair(last_map(teacher, example), last_map(student, example)))


def _pooled(teacher: nn.Module, student: nn.Module, example: Nested) -> str:
    try:
        maps = Pair(last_map(teacher, example), last_map(student, example))
    except UserError:  # networks of vectors only
        return _embedding(teacher, student, example)
    as_they_are = not maps.student.form and all(
        gives_the_answer(network, tap, example) for network, tap in ((teacher, maps.teacher), (student, maps.student))
    )
    rectified = as_they_are and unreachable(value_at(teacher, maps.teacher, example)) <= MOST_UNREACHABLE
    return str(maps) if rectified else _embedding(teacher, student, example)


def _embedding(teacher: nn.Module, student: nn.Module, example: Nested) -> str:
    return str(Pair(_entering(teacher, example), _entering(student, example)))


def _heads(teacher: nn.Module, student: nn.Module, example: Nested) -> str:
    return str(Pair(Tap(classifier(trace(teacher, example)).path), Tap(classifier(trace(student, example)).path)))


def _shared(teacher: nn.Module, student: nn.Module, example: Nested) -> str:
    theirs, ours = stages(trace(teacher, example)), stages(trace(student, example))
    if not theirs or not ours or theirs[0].read_shape != ours[0].read_shape:
        return ""
    return str(Pair(theirs[0].tap, ours[0].tap))


def _attention(teacher: nn.Module, student: nn.Module, example: Nested) -> str:
    return _attentions(teacher, student, example)[-1]


def _attentions(teacher: nn.Module, student: nn.Module, example: Nested) -> tuple[str, ...]:
    found = [attention_modules(inner(network)) for network in (teacher, student)]
    return _every(found, "attention modules whose queries and keys can be read")


def _layers_before_the_last(teacher: nn.Module, student: nn.Module, example: Nested) -> tuple[str, ...]:
    pairs = _every([_layers(teacher), _layers(student)], "list of layers of one class")
    return pairs[:-1] or pairs


def _embeddings_and_layers(teacher: nn.Module, student: nn.Module, example: Nested) -> tuple[str, ...]:
    theirs, ours = _layers(teacher), _layers(student)
    pairs = _every([theirs, ours], "list of layers of one class")
    return str(Pair(Tap(theirs[0], "input"), Tap(ours[0], "input"))), *pairs


def _layers(network: nn.Module) -> list[str]:
    """The paths of the layers of a network, from the first to the last."""
    path = list_of_layers(inner(network))
    return [f"{path}.{name}" for name, _ in inner(network).get_submodule(path).named_children()] if path else []


def _every(found: list[list[str]], what: str) -> tuple[str, ...]:
    """As many pairs as the network with fewer paths has, the last with the last."""
    for paths, called in zip(found, ("teacher", "student"), strict=True):
        if not paths:
            raise UserError(
                f"the {called} has no {what}: this method is for transformers; name the taps, or take another"
            )
    theirs, ours = found
    count = min(len(theirs), len(ours))
    return tuple(f"{t} -> {s}" for t, s in zip(evenly(theirs, count), evenly(ours, count), strict=True))


PROPOSALS: dict[str, Callable[[nn.Module, nn.Module, Nested], str | tuple[str, ...]]] = {
    "pair": _pair,
    "pair of maps": _pair_of_maps,
    "pairs": _pairs,
    "before activations": _before_activations,
    "before the teacher's activations": _before_teachers_activations,
    "maps": _maps,
    "pooled": _pooled,
    "embedding": _embedding,
    "heads": _heads,
    "shared": _shared,
    "attention": _attention,
    "attentions": _attentions,
    "layers before the last": _layers_before_the_last,
    "embeddings and layers": _embeddings_and_layers,
}

PLACEHOLDERS: dict[str, object] = {  # valid values for checks without networks
    "pair": "teacher -> student",
    "pairs": ("first -> first", "second -> second"),
    "maps": "teacher -> student",
    "embedding": "teacher:input -> student:input",
    "heads": "teacher -> student",
    "shared": "teacher -> student",
    "attention": "teacher -> student",
    "attentions": ("first -> first", "second -> second"),
}


def _entering(network: nn.Module, example: Nested) -> Tap:
    traces = trace(network, example)
    headless = not any(t.type.endswith("Linear") for t in traces) or not any(t.answers for t in traces)
    dense = headless and any(t.resolution for t in stages(traces))
    return last_map(network, example, traces) if dense else Tap(classifier(traces).path, "input")
