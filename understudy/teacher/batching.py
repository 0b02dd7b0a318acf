"""A teacher is asked about the batches of several steps at once, for by the image a large batch costs it less.

The batches are taken in groups that are counted from the beginning of an epoch. So a training that goes on in the
middle of one asks again what was asked there, and gets the same bits.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice

import torch
from torch import Tensor

from understudy.data.parts import Batch, Data
from understudy.objective import Objective
from understudy.settings import Settings
from understudy.stored.answers import company_matters
from understudy.teacher.shared import Answers, generators


class Ahead:
    """Knows which batches come next, and what the teachers say about them."""

    def __init__(self, objective: Objective, settings: Settings):
        self.objective, self.settings = objective, settings
        self._group: list[Batch] = []
        self._ready: dict[int, Answers] = {}  # by the number in the group

    @classmethod
    def of(cls, objective: Objective, data: Data, settings: Settings, note: Callable[[str], None]) -> "Ahead | None":
        """None where each step asks for itself: as the settings say, or since the answers would be others."""
        if settings.teacher_batches == 1 or not objective.teachers or objective.terms.reads.gradients:
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
        self._group, self._ready = [], {}  # what comes between two epochs has the memory

    def ask(self, batch: Batch, inputs: Tensor) -> Answers:
        """What the teachers answer to a batch; one that came another way is asked about by itself."""
        number = next((number for number, one in enumerate(self._group) if one is batch), None)
        if number is None:
            return self.objective.ask(inputs)
        if number not in self._ready:
            self._ready = dict(enumerate(self._ask_all()))
        return self._ready.pop(number)

    def _ask_all(self) -> Iterator[Answers]:
        whole = self.settings.prepare(torch.cat([batch.inputs for batch in self._group]))
        sizes = [len(batch) for batch in self._group]
        return zip(*(answer.split(sizes) for answer in self.objective.ask(whole)), strict=True)
