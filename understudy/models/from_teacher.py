"""A student that starts from layers of its teacher: DistilBERT's start, of any network whose layers stand in a list."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from understudy.bounds import Whole
from understudy.errors import UserError
from understudy.models.preprocessing import OwnTokens
from understudy.taps import Tap, find, inner, layers
from understudy.taps.attention import list_of_layers


@dataclass(frozen=True)
class FromTeacher:
    """Which layers of the teacher a student starts from.

    Args:
        layers: the number of the teacher's layer, from 0, for each layer of the student.
        at: the list of layers, ``"encoder.layer"``, or of both networks, ``"bert.encoder.layer -> layers"``. By default
            the largest ``ModuleList`` or ``Sequential`` of each network whose modules are of one class.

    >>> FromTeacher((0, 3)).at is None
    True
    """

    layers: tuple[Whole, ...]
    at: str | None = None


def from_teacher(
    student: nn.Module, teacher: nn.Module, layers: Sequence[int], *, at: str | None = None
) -> tuple[str, ...]:
    """Copies layers of the teacher into the student, and returns the names of what was copied.

    Each layer of the student gets the weights of one layer of the teacher. What stands beside the layers (embeddings, a
    last norm, a classifier) is copied where the teacher has a weight of the same name; the rest stays as it is.

    Args:
        student, teacher: networks whose layers have the same names and shapes.
        layers: the number of the teacher's layer, from 0, for each layer of the student.
        at: the path of the list of layers; see ``FromTeacher``.

    >>> student, teacher = (understudy.models.build("text-encoder", width=8, heads=2, depth=d) for d in (1, 4))
    >>> names = from_teacher(student, teacher, [3])
    >>> torch.equal(student.layers[0].norm1.weight, teacher.layers[3].norm1.weight), "tokens.weight" in names
    (True, True)
    """
    _check_words(student, teacher)
    student, teacher = inner(student), inner(teacher)
    theirs, ours = _lists(student, teacher, at)
    numbers, own_layers, given_layers = list(layers), _layers(student, ours), _layers(teacher, theirs)
    if len(numbers) != len(own_layers):
        raise UserError(
            f"layers = {numbers}: the student has {len(own_layers)} layers at {ours!r}; give the number of a teacher's "
            "layer for each of them"
        )
    if not all(type(number) is int and 0 <= number < len(given_layers) for number in numbers):
        raise UserError(
            f"layers = {numbers}: the teacher's layers at {theirs!r} are numbered 0 to {len(given_layers) - 1}"
        )
    chosen = {layer: given_layers[number] for layer, number in zip(own_layers, numbers, strict=True)}
    own, given = student.state_dict(keep_vars=True), teacher.state_dict(keep_vars=True)
    copied = {name: given[other] for name in own if (other := _named(name, ours, theirs, chosen, given)) is not None}
    _check_shapes(own, copied)
    with torch.no_grad():
        for name, value in copied.items():
            own[name].copy_(value)
    return tuple(copied)


def _check_words(student: nn.Module, teacher: nn.Module) -> None:
    """Row i of an embedding is another word where texts become tokens by other tables."""
    ours, theirs = (
        next((layer.table for layer in layers(network) if isinstance(layer, OwnTokens)), "")
        for network in (student, teacher)
    )
    if ours != theirs:
        own, given = (f"token_table = {table!r}" if table else "the data's own tokens" for table in (ours, theirs))
        raise UserError(
            f"the student reads texts by {own}, the teacher by {given}: its embeddings, which are copied, are those of "
            "other words; give both the same table"
        )


def _lists(student: nn.Module, teacher: nn.Module, at: str | None) -> tuple[str, str]:
    """The paths of the teacher's and of the student's list."""
    if at is not None:
        theirs, arrow, ours = (word.strip() for word in at.partition("->"))
        return theirs, ours if arrow else theirs
    theirs, ours = list_of_layers(teacher), list_of_layers(student)
    for path, called in ((theirs, "teacher"), (ours, "student")):
        if not path:
            raise UserError(
                f"the {called} has no list of layers of one class: name it, at = 'teacher.path -> student.path'"
            )
    return theirs, ours


def _layers(network: nn.Module, path: str) -> list[str]:
    """The names of the layers in their list: numbers, or those of an ``OrderedDict``."""
    return [name for name, _ in find(network, Tap(path)).named_children()]


def _named(name: str, ours: str, theirs: str, chosen: Mapping[str, str], given: Mapping[str, Tensor]) -> str | None:
    """The name of the teacher's weight for one of the student; None if it stays as it is.

    ``chosen`` is the name of the teacher's layer for each of the student's.
    """
    layer, _, rest = name.removeprefix(f"{ours}.").partition(".")
    if name.startswith(f"{ours}.") and layer in chosen:
        other = f"{theirs}.{chosen[layer]}.{rest}"
        if other not in given:
            raise UserError(f"the student's {name!r} has no counterpart: the teacher has no {other!r}")
        return other
    begins, other_begins = _beginnings(ours, theirs)
    other = other_begins + name.removeprefix(begins) if name.startswith(begins) else name
    return other if other in given else name if name in given else None


def _beginnings(ours: str, theirs: str) -> tuple[str, str]:
    """What the two paths have before their common end: ``bert.`` and nothing."""
    parts, others = ours.split("."), theirs.split(".")
    while parts and others and parts[-1] == others[-1]:
        parts, others = parts[:-1], others[:-1]
    return "".join(f"{part}." for part in parts), "".join(f"{part}." for part in others)


def _check_shapes(own: dict[str, Tensor], copied: dict[str, Tensor]) -> None:
    wrong = [name for name, value in copied.items() if own[name].shape != value.shape]
    if wrong:
        name, further = wrong[0], f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise UserError(
            f"the student's {name!r} has shape {tuple(own[name].shape)}, the teacher's {tuple(copied[name].shape)}"
            f"{further}: a student starts from layers of its teacher's own width"
        )
