"""The teacher runs on the batches of several steps at once, since a large batch costs less per sample.

The batches are taken in groups that are counted from the beginning of an epoch. A training that is resumed in the
middle of a group runs the teacher on the same group again, and gets the same bits.
"""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from itertools import islice

import torch

from understudy import nested
from understudy.config.hardware import relative_difference, rounding
from understudy.config.settings import Settings
from understudy.data.parts import Batch, Data
from understudy.nested import Nested
from understudy.objective import Objective
from understudy.teacher.shared import Answers, generators

PROBED = 8  # samples for the test whether an answer depends on the other samples of its batch


class TeacherBatches:
    """The teachers' answers to the next batches of an epoch, computed for several batches at once."""

    def __init__(self, objective: Objective, settings: Settings):
        self.objective, self.settings = objective, settings
        self._group: list[Batch] = []
        self._ready: dict[int, Answers] = {}  # by the number in the group

    @classmethod
    def of(
        cls, objective: Objective, data: Data, settings: Settings, note: Callable[[str], None]
    ) -> "TeacherBatches | None":
        """None if the teacher runs on one batch at a time: by the settings, or because answers would differ."""
        if settings.teacher_batches == 1 or not objective.teachers or objective.terms.reads.gradients:
            return None
        if data.task.draws:
            note("the teacher is asked about one batch at a time: each batch has candidates of its own")
            return None
        before = generators(settings.torch_device)
        reason = company_matters(objective, data, settings)
        if reason is None and not all(map(torch.equal, before, generators(settings.torch_device))):
            reason = "it draws at random, and a training that goes on would draw otherwise"
        if reason:
            note(f"the teacher is asked about one batch at a time: {reason}")
            return None
        return cls(objective, settings)

    def batches(self, from_step: Callable[..., Iterator[Batch]], start: int) -> Iterator[Batch]:
        """An epoch's batches from step ``start`` on; ``from_step(start=...)`` makes those from any step on."""
        behind = start % self.settings.teacher_batches
        batches = from_step(start=start - behind)
        while group := list(islice(batches, self.settings.teacher_batches)):
            self._group = [replace(batch, inputs=self.settings.prepare(batch.inputs)) for batch in group]
            self._ready = {}
            yield from self._group[behind:]
            behind = 0
        self._group, self._ready = [], {}  # the work between two epochs can use the memory

    def ask(self, batch: Batch, inputs: Nested) -> Answers:
        """The teachers' answers to a batch; an unexpected batch is computed separately."""
        number = next((number for number, one in enumerate(self._group) if one is batch), None)
        if number is None:
            return self.objective.ask(inputs)
        if number not in self._ready:
            self._ready = dict(enumerate(self._ask_all()))
        return self._ready.pop(number)

    def _ask_all(self) -> Iterator[Answers]:
        whole = self.settings.prepare(nested.concatenated([batch.inputs for batch in self._group]))
        sizes = [len(batch) for batch in self._group]
        return zip(*(answer.split(sizes) for answer in self.objective.ask(whole)), strict=True)


def company_matters(objective: Objective, data: Data, settings: Settings) -> str | None:
    """The reason why an answer is not a function of its sample alone: the rest of the batch, or random numbers.

    A few samples are run in order, in reverse order, and with fewer others; rounding is tolerated.
    """
    inputs = settings.prepare(data.example(PROBED, settings.torch_device))
    backwards, fewer = nested.each(lambda x: x.flip(0), inputs), nested.chosen(inputs, slice(None, None, 2))
    with torch.compiler.set_stance("force_eager") if settings.compile else nullcontext():  # not for so few
        answers = [objective.ask(batch) for batch in (inputs, backwards, fewer)]
    samples = nested.count(inputs), nested.count(fewer)
    for teacher, *three in zip(objective.teachers, *answers, strict=True):
        whole, reverse, few = (answer.tensors() for answer in three)
        for place, one in whole.items():
            other, part = reverse[place], few[place]
            if (len(one), len(part)) != samples:
                return f"{teacher.called} does not answer with one value for each sample ({place})"
            distance = max(relative_difference(one, other.flip(0)), relative_difference(one[::2], part))
            if not distance <= rounding(str(one.dtype).removeprefix("torch."), one.device):
                return f"{teacher.called}'s answers depend on who shares the batch (by {distance:.2g} of the largest)"
    return None
