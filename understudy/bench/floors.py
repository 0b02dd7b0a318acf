"""The floors of a stage: the cost of its networks alone, the least possible at the same settings.

F1 is the student's own supervised step, F2 that and the teachers' answers. In a stage that reads no logits both
networks run as far as its taps.
"""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from understudy import nested
from understudy.config.optimizers import optimizer_of
from understudy.config.stage import Stage
from understudy.data.parts import Batch
from understudy.taps import Answer, TappedNetwork, call
from understudy.training.loop import Training

Step = Callable[[], None]


class Floor:
    """A plain hand-written loop around copies of a training's networks; one batch, until it takes another."""

    def __init__(self, training: Training, stage: Stage, batch: Batch):
        reads, config = stage.objective.reads, stage.config
        self.settings, self.task = training.settings, training.data.task
        self.take(batch)
        student = copy.deepcopy(training.student).train()
        network = self.settings.compiled(student)
        self.student = TappedNetwork(network, reads.student_taps, cut=not reads.student_output, task=self.task)
        self.optimizer = optimizer_of(config.optimizer, student, nn.ModuleDict(), config.lr_scale)
        cut = bool(reads.teacher_taps) and not reads.teacher_output
        first, *others = training.teachers if reads.teacher else [None]
        self.teachers = [] if first is None else [TappedNetwork(self._asked(first), reads.teacher_taps, cut=cut)]
        if reads.teacher_output:
            self.teachers += [TappedNetwork(self._asked(teacher)) for teacher in others if teacher is not None]

    def take(self, batch: Batch) -> None:
        self.inputs, self.targets = self.settings.prepare(batch.inputs), batch.targets

    def steps(self) -> dict[str, Step]:
        """The floors by name; F2 only for a stage that runs a teacher."""
        return {"F1": self.student_step, **({"F2": self.both} if self.teachers else {})}

    def student_step(self) -> None:
        with self.settings.autocast():
            answer = call(self.student, self.inputs)
        loss = self._loss(answer)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()

    def both(self) -> None:
        with torch.no_grad(), self.settings.of_teacher.autocast():
            for teacher in self.teachers:
                call(teacher, self.inputs)
        self.student_step()

    def _asked(self, teacher: nn.Module) -> nn.Module:
        return self.settings.compiled(teacher.eval())

    def _loss(self, answer: Answer) -> Tensor:
        if answer.output is not None:
            named = answer.widened().named  # unknown targets are as many numbers as the student's own
            targets = self.targets if self.task.labelled else nested.each(Tensor.detach, self.task.as_targets(named))
            return self.task.loss(named, targets).mean()
        return torch.stack([value.float().square().mean() for value in answer.values()]).sum()
