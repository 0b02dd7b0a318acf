"""The answers of the teachers that a training reads, stored without training."""

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from understudy.answers.source import AnswerSource
from understudy.config.stage import Stage
from understudy.data.augmentation import PLAIN, Augmentation, Draw
from understudy.data.parts import Part
from understudy.errors import UserError
from understudy.training.interrupt import Stopped
from understudy.training.loop import Training


@dataclass(frozen=True)
class Filled:
    """The stored answers that one stage of a training reads.

    Args:
        folders: one for each teacher.
        samples: of the training part.
        added: answers that were missing; a sample counts once for each view.
    """

    training: str
    stage: str
    folders: tuple[str, ...]
    views: int
    samples: int
    added: int

    @property
    def line(self) -> str:
        """What is said of them."""
        views = f"{self.views} view{'s' if self.views > 1 else ''}"
        return (
            f"{self.training}, stage {self.stage!r}: {views} of {self.samples:,} samples in {', '.join(self.folders)}, "
            f"{self.added:,} answers added"
        )


def fill(training: Training) -> list[Filled]:
    """Store every answer that the stages of a training read; on several processes, each stores a share.

    Stages that run the teacher at every step are passed over; the training's callback is told why.
    """
    with training.surroundings():
        return list(_stages(training))


def _stages(training: Training) -> Iterator[Filled]:
    stored, data = training.stored, training.data
    assert stored is not None
    asked = {stage.name: stored.epochs_asked(stage.config) for stage in training.stages}
    passes = sum(asked[stage.name] * len(_batches(training, stage, data.train)) for stage in training.stages)
    training.callback.training_begins(training.name, asked, passes)
    for number, stage in enumerate(training.stages):
        training.place.stage = number
        training.open(stage)
        source, unviewed = training.stage_state.stored, training.stage_state.unviewed
        if source is None:
            continue
        training.callback.stage_begins(stage.name, str(stage.objective), asked[stage.name], 0)
        draws = [source.draw(number, epoch) for epoch in range(asked[stage.name])]
        views = [_View(source, data.train, draw, stage.config.augmentation) for draw in draws]
        if unviewed is not None and not (stage.answers or stage.objective.reads.student_output):
            assert data.validation is not None  # whose loss is measured with the teachers' answers
            views.append(_View(unviewed, data.validation, Draw(0, 0), PLAIN))
        missing = [_missing(training, stage, view) for view in views]
        added = sum(count for _, count in missing)
        if training.ranks is not None:  # which begin together, or one would count what another has stored already
            added = sum(training.ranks.objects(added))
        for view, (needed, _) in zip(views, missing, strict=True):
            _store(training, stage, view, needed)
        if training.ranks is not None:
            training.ranks.objects(None)
        folders = tuple(str(store.path) for store in source.stores)
        yield Filled(training.name, stage.name, folders, len(draws), len(data.train), added)


class _View(NamedTuple):
    source: AnswerSource
    part: Part
    draw: Draw
    augmentation: Augmentation


def _missing(training: Training, stage: Stage, view: _View) -> tuple[list[Tensor], int]:
    """The batches of this process in which answers are missing, and how many answers are.

    The teachers are asked about whole batches, as in the training: the last one reaches back.
    """
    batches, ids = _batches(training, stage, view.part), view.part.ids
    missing = [len(view.source.missing(view.draw.number, batch)) for batch in batches]
    size = min(stage.config.batch, len(ids))
    needed = [
        batch if len(batch) == size else ids[-size:] for batch, some in zip(batches, missing, strict=True) if some
    ]
    training.place.steps += len(batches) - len(needed)
    return needed, sum(missing)


def _store(training: Training, stage: Stage, view: _View, needed: list[Tensor]) -> None:
    settings, task = training.settings, training.data.task
    for batch in view.part.viewed(needed, view.draw, view.augmentation, task, settings.torch_device):
        if training.stop:
            raise Stopped(training.stop.signal_number or signal.SIGTERM)
        with torch.no_grad(), settings.autocast():
            view.source.answers(batch, settings.prepare(batch.inputs))
        if not view.source.filling:
            raise UserError(f"{training.name}, stage {stage.name!r}: its answers cannot be stored, as was noted")
        training.place.steps += 1
        training.callback.step(training.place.steps, None)


def _batches(training: Training, stage: Stage, part: Part) -> list[Tensor]:
    """This process's share of a part, in batches of the training's size."""
    batches, ranks = list(part.ids.split(stage.config.batch)), training.ranks
    return batches if ranks is None else batches[ranks.rank :: ranks.world]
