"""Assistants in ``understudy.distill``: networks of middle size, each taught before it teaches."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import torch
from torch import nn

from understudy import methods, randomness
from understudy.data import Data
from understudy.errors import FailedTrainingError, UserError
from understudy.measure import Spread
from understudy.methods.shared.copies import fresh
from understudy.models import Normalized, build
from understudy.models.sizes import between, recognised
from understudy.paths import Rule, Sizes
from understudy.paths.edges import FAILED
from understudy.taps import inner
from understudy.training.course import Course

Assistants = Sequence[nn.Module | str] | Literal["auto"]


class Ended(Protocol):
    """What is asked of a training that has ended."""

    @property
    def accuracy(self) -> float: ...

    @property
    def validation(self) -> float | None: ...


# Trains a network from teachers: (teachers, network, method, its settings, course, the folder's name)
Train = Callable[[Sequence[nn.Module], nn.Module, str, Mapping[str, Any], Course, str], Ended]


@dataclass(frozen=True)
class Assisted:
    """From whom the student learns, and who helped."""

    teachers: list[nn.Module]
    told: list[dict[str, Any]]  # each assistant and its accuracy


def assist(
    assistants: Assistants,
    teachers: Sequence[nn.Module],
    student: nn.Module,
    data: Data,
    train: Train,
    *,
    method: str,
    own: Mapping[str, Any],
    course: Course,
    seed: int,
) -> Assisted:
    """Train each assistant as the student will be trained, by the one before it or by all that are larger."""
    chosen = methods.find(method)
    if assistants == "auto":
        assistants = [_by_the_rule(teachers, student, data, train, course, seed)]
    settings = chosen.for_assistants(own)
    networks: list[nn.Module] = []
    told = []
    for place, assistant in enumerate(assistants, start=1):
        name = assistant if isinstance(assistant, str) else type(inner(assistant)).__name__
        network = _built(assistant, data, seed) if isinstance(assistant, str) else assistant
        guides = _guides(chosen, teachers, networks)
        ended = train(guides, network, method, settings, course, f"{place}-{name.replace(':', '-').replace('/', '-')}")
        networks.append(network)
        told.append({"network": name, "accuracy": ended.accuracy, "validation": ended.validation})
    return Assisted(_guides(chosen, teachers, networks), told)


def _guides(method: methods.Method, teachers: Sequence[nn.Module], before: Sequence[nn.Module]) -> list[nn.Module]:
    return [*teachers, *before] if method.guides == "all" or not before else [before[-1]]


def _by_the_rule(
    teachers: Sequence[nn.Module], student: nn.Module, data: Data, train: Train, course: Course, seed: int
) -> str:
    """The network of the student's family whose own accuracy is nearest the mean of teacher's and student's."""
    spec, classes = recognised(inner(student), data.shape, len(data.classes)), len(data.classes)
    if spec is None:
        raise UserError(
            "no assistant can be proposed: the student is of no family that is known here; name them, as in "
            'assistants=["plain8", "plain4"], or pass networks'
        )
    if data.validation is None:
        raise UserError("choosing an assistant needs a validation part: name the assistants, or give one")
    smallest, largest = (sum(p.numel() for p in network.parameters()) for network in (student, teachers[0]))
    names = [found.name for found in between(spec, smallest, largest, data.shape, classes)]
    if not names:
        raise UserError(f"no network of {spec.name}'s family lies between student and teacher: name the assistants")
    if len(names) == 1:
        return names[0]
    quick = replace(course, epochs=max(1, round(course.epochs / 3)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(randomness.derived_seed(seed, "weights", "trials"))
        candidates = {
            "teacher": fresh(teachers[0]),
            **{name: _built(name, data, seed) for name in names},
            "student": fresh(student),
        }
    rule = Rule(Sizes.of(list(candidates)))

    def tried(size: str) -> Spread:
        try:
            ended = train([], candidates[size], "alone", {}, quick, f"quick-{size}")
        except FailedTrainingError:
            return FAILED
        return Spread((ended.validation or 0.0,))

    chosen = rule.chosen({edge: tried(str(edge.size)) for edge in rule.trials})
    if chosen is None:
        raise UserError(
            "no assistant can be chosen by the rule of thumb, since quick trainings came to nothing: lower the "
            f"learning rate, or name the assistants, as in assistants=[{names[0]!r}]"
        )
    return str(chosen)


def _built(name: str, data: Data, seed: int) -> nn.Module:
    """A network by its name, behind the normalisation of the data where these have one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(randomness.derived_seed(seed, "weights", name))
        network = build(name, classes=len(data.classes), channels=data.shape[0], size=data.shape[-1])
    return Normalized(network, data.mean, data.std) if data.mean and data.std else network
