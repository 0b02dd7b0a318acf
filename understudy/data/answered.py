"""Data without labels whose measured parts have the answers of a teacher as their targets."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from understudy.data.parts import Data, Part
from understudy.data.sources import Source
from understudy.errors import UserError
from understudy.nested import Nested
from understudy.tasks import Task

Ask = Callable[[Part], Tensor]  # the targets of a part's samples, in their order


def answered(data: Data, task: Task, ask: Ask) -> Data:
    """The data with a teacher's answers as the targets of the validation and of the test part, asked for on first use.

    >>> data = understudy.data.from_inputs(torch.rand(20, 4), classes=2)
    >>> answered(data, data.task, lambda part: torch.zeros(len(part)).long()).validation.targets
    tensor([0, 0])
    """
    if data.validation is None and data.open_test is None:
        raise UserError(
            f"{data.name}: without labels a student is compared with its teacher on samples that it does not learn "
            "from: leave validation above 0, or give a test part"
        )
    opened = data.open_test

    def open_test() -> Part:
        assert opened is not None
        return _answered(opened(), ask)

    return replace(
        data,
        task=task,
        validation=_answered(data.validation, ask) if data.validation is not None else None,
        open_test=open_test if opened is not None else None,
    )


def _answered(part: Part, ask: Ask) -> Part:
    return Part(AnsweredSource(part, ask), part.ids)


class AnsweredSource:
    """The samples of a source; the targets of a part of it are a teacher's answers, those of the others are zeros."""

    def __init__(self, part: Part, ask: Ask):
        self.part, self.ask = part, ask
        self.source: Source = part.source
        self._targets: Nested | None = None

    def __len__(self) -> int:
        return len(self.source)

    @property
    def targets(self) -> Nested:
        if self._targets is None:
            answers = self.ask(self.part)
            self._targets = torch.zeros(len(self), *answers.shape[1:], dtype=answers.dtype)
            self._targets[self.part.ids] = answers
        return self._targets

    @targets.setter
    def targets(self, targets: Nested) -> None:
        self._targets = targets

    @property
    def sample_bytes(self) -> int:
        return int(getattr(self.source, "sample_bytes", 0))

    def batches(self, ids: Iterable[Tensor], device: torch.device) -> Iterator[Nested]:
        return self.source.batches(ids, device)
