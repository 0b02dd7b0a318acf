"""The check of a teacher: its figures on some samples, compared with chance and with the declared value."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from understudy import nested
from understudy.config.settings import Settings
from understudy.data.parts import Data, Part
from understudy.nested import Nested
from understudy.tasks import Figure, Values
from understudy.training.evaluate import walk
from understudy.training.preflight.findings import Finding

GLANCE, SAMPLE = 128, 1000  # samples on which a teacher is measured; the larger number only in doubt
FEW = 64  # training samples on which a teacher is right that is no poorer than the labels
SHORTFALL = 0.02  # by which a share may be below the declared one
LOOSE = 0.1  # by which any other figure may be worse than the declared one, as a share of it
# The share of training labels that a teacher names wrong, from which on a warning is due; 9 % cost 1.2 points on SST-2
# (results/text_sst2.md).
POORER = 0.08
BROKEN = "its answers hold NaN or infinity: its weights are broken"


def check_teacher(
    teacher: nn.Module,
    data: Data,
    settings: Settings,
    *,
    declared: float | None = None,
    accept_weak: bool = False,
    name: str = "teacher",
) -> Iterator[Finding]:
    """Compare the teacher's figures on some samples with chance, and the first one with its declared value."""
    if not data.task.labelled:
        yield from _check_reference(teacher, data, settings, accept_weak=accept_weak, name=name)
        return
    look = _look(teacher, data, GLANCE, settings)
    if isinstance(look, _Look) and not look.is_beyond_doubt(declared) and len(data.validation or data.train) > GLANCE:
        look = _look(teacher, data, SAMPLE, settings)
    if isinstance(look, str):
        yield Finding("error", name, look)
        return
    figure, text = look.figure, f"{look.figure.text(look.value, 1)} on {look.samples} samples"
    if figure != data.task.figures[0] or figure.unit != "share":
        text = f"{figure.title} {text}"
    if look.is_at_chance():
        way = "load its weights, and check its normalisation and the order of its outputs"
        level: Literal["warning", "error"] = "warning" if accept_weak else "error"
        yield Finding(level, name, f"{text}, which is chance level: {way} (accept_weak = true goes on all the same)")
    elif declared is not None and look.is_short_of(declared):
        way = "another normalisation, other weights or another data set?"
        stated = figure.text(declared, 1)
        yield Finding("error", name, f"{text}, far below the {stated} that the recipe declares: {way}")
    else:
        stated = f" (declared: {figure.text(declared, 1)})" if declared is not None else ""
        yield Finding("ok", name, text + stated, worth=True)
        if not accept_weak and (warning := _poorer_than_labels(teacher, data, settings, look)):
            yield Finding("warning", name, warning)


def _poorer_than_labels(teacher: nn.Module, data: Data, settings: Settings, look: "_Look") -> str | None:
    """A warning if a teacher names many of the training labels wrong, which the student is given; None if it does not.

    A few samples decide if the teacher is right on them. Without a validation part, ``look`` is on training samples.
    """
    if not data.task.targets_are_classes or look.figure.unit != "share":
        return None
    for samples in (FEW, SAMPLE) if data.validation else ():
        found = _look(teacher, data, samples, settings, part=data.train)
        if isinstance(found, str):
            return None
        look = found
        if look.value > 1 - POORER / 2:
            return None
    if look.value > 1 - POORER:
        return None
    return (
        f"it is right on {look.figure.text(look.value, 1)} of {look.samples} training samples, whose labels the "
        "student is given: soft targets of such a teacher can teach less than the labels. Compare with 'alone', give "
        "the labels more weight, or train the teacher longer"
    )


def _check_reference(
    teacher: nn.Module, data: Data, settings: Settings, *, accept_weak: bool, name: str
) -> Iterator[Finding]:
    """A teacher whose answers are the targets: nothing says whether they are right, only how far they differ."""
    task, sample, answers = data.task, _spread(data, SAMPLE), list[Values]()
    walk(settings.place(teacher), sample, task, settings.of_teacher, lambda answer, _: answers.append(answer))
    reason = task.misfit(answers[0])
    if reason or any(nested.not_finite(nested.each(_without_masked, answer)) for answer in answers):
        yield Finding("error", name, reason or BROKEN)
        return
    kept = {key: torch.cat([answer[key] for answer in answers]).float().cpu() for key in task.values}
    constant = task.commonest(kept) or 0.0
    text = f"the data have no labels: its own answers to {len(sample)} samples are the measure, right or wrong"
    if constant == 1 and len(sample) > 1:
        way = "load its weights, and check its normalisation (accept_weak = true goes on all the same)"
        level: Literal["warning", "error"] = "warning" if accept_weak else "error"
        yield Finding(level, name, f"it gives one answer for all of {len(sample)} samples: {way}")
    elif constant:
        text += f"; its most frequent answer has {100 * constant:.0f} % of them"
        yield Finding("ok", name, text, worth=True)
    else:
        yield Finding("ok", name, text, worth=True)


def _spread(data: Data, samples: int, part: Part | None = None) -> Part:
    """So many samples, spread over a whole part, which may be sorted; by default the one that is measured on."""
    part = part or data.validation or data.train
    places = torch.linspace(0, len(part) - 1, min(samples, len(part)), dtype=torch.float64)
    return Part(part.source, part.ids[places.round().long()])


@dataclass(frozen=True)
class _Look:
    """A teacher's figure on some samples, with its uncertainty."""

    figure: Figure
    value: float
    samples: int
    luck: float  # beyond chance

    def is_at_chance(self) -> bool:
        chance = self.figure.chance
        return chance is not None and self.figure.gain(self.value, chance) <= self.luck

    def is_beyond_doubt(self, declared: float | None) -> bool:
        """Whether no more samples are needed: the figure is beyond chance and not below the declared one."""
        chance = self.figure.chance
        beyond = chance is None or self.figure.gain(self.value, chance) > 2 * self.luck
        return beyond and (declared is None or self.figure.gain(self.value, declared) >= -self._shortfall(declared))

    def is_short_of(self, declared: float) -> bool:
        """Whether it is worse than declared by more than the allowance and three standard deviations."""
        spread = 3 * math.sqrt(declared * (1 - declared) / self.samples) if self.figure.unit == "share" else 0.0
        return self.figure.gain(self.value, declared) < -(self._shortfall(declared) + spread)

    def _shortfall(self, declared: float) -> float:
        return SHORTFALL if self.figure.unit == "share" else LOOSE * abs(declared)


def _look(teacher: nn.Module, data: Data, samples: int, settings: Settings, part: Part | None = None) -> _Look | str:
    """Measure a teacher on samples from a whole part; or find what is wrong with an answer."""
    task, sample = data.task, _spread(data, samples, part)
    meter, wrong = task.meter(), set[str]()

    def update(answer: Values, targets: Nested) -> None:
        if reason := task.misfit(answer):
            wrong.add(reason)
        elif nested.not_finite(nested.each(_without_masked, answer)):
            wrong.add(BROKEN)
        if not wrong:
            meter.update(answer, targets)

    walk(settings.place(teacher), sample, task, settings.of_teacher, update)
    if wrong:
        return sorted(wrong)[0]
    figure = next((figure for figure in task.figures if figure.chance is not None), task.selecting)
    return _Look(figure, meter.compute()[figure.name], len(sample), task.luck(figure, len(sample)))


def _without_masked(scores: Tensor) -> Tensor:
    """Without the -inf by which a network masks some of its classes."""
    masked = scores == -torch.inf
    return scores.masked_fill(masked & ~masked.all(-1, keepdim=True), 0.0) if scores.ndim else scores
