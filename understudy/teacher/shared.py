"""One forward pass of the teachers for all trainings of a process that need the same batch."""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from understudy import nested
from understudy.config.settings import Settings
from understudy.data.augmentation import Augmentation, Draw
from understudy.data.parts import Batch, Data
from understudy.models.fingerprints import brief, of_network, of_pool, of_samples, of_values
from understudy.objective import Objective
from understudy.taps import Answer
from understudy.teacher.stand_in import FEW

Answers = tuple[Answer, ...]


class SharedPasses:
    """The latest answers for the next training; ``most`` batches are kept, one for each training is enough."""

    def __init__(self, most: int = 0):
        self.most = most
        self._latest: OrderedDict[tuple[str, Draw | None, bytes, bytes], tuple[Answers, float]] = OrderedDict()

    def answers(self, question: str, batch: Batch, ask: Callable[[], Answers]) -> tuple[Answers, float]:
        """The result of ``ask``, or its earlier result for the same ``question``: the same samples and views.

        The second value is the seconds saved. On an accelerator none are counted, because each step would have
        to wait for it.
        """
        ids = batch.ids.cpu() if batch.numbers is None else batch.numbers
        views = b"" if batch.views is None else batch.views.numpy().tobytes()
        key = (question, batch.draw, ids.numpy().tobytes(), views)
        if key in self._latest:
            return self._latest[key]
        began = time.monotonic()
        answers = ask()
        device = nested.device(batch.inputs)
        spares = time.monotonic() - began if device is not None and device.type == "cpu" else 0.0
        self._latest[key] = answers, spares
        while len(self._latest) > self.most:
            self._latest.popitem(last=False)
        return answers, 0.0


def question(
    objective: Objective, data: Data, augmentation: Augmentation, settings: Settings, forms: Sequence[str]
) -> str | None:
    """Everything that the teachers' answers to a batch depend on; None if an answer cannot be shared.

    A few answers are part of it: they distinguish teachers that differ only in code. One that draws random numbers
    is never shared. ``forms`` are the forms of the teachers: precision and folded layers.
    """
    if not objective.teachers or objective.terms.reads.gradients:
        return None
    device = settings.torch_device
    before = generators(device)
    few = objective.ask(settings.prepare(data.example(FEW, device)))
    if not all(map(torch.equal, before, generators(device))):
        return None
    values = [value for answer in few for value in answer.tensors().values()]
    teachers = [
        f"{of_network(teacher.network)} {teacher.taps} {teacher.cut} {form}"
        for teacher, form in zip(objective.teachers, forms, strict=True)
    ]
    about = [of_samples(data.train.source), of_pool(data.train), str(augmentation), str(settings)]
    return brief([*about, *teachers, *map(of_values, values)])


def generators(device: torch.device) -> list[Tensor]:
    """The states of the generators that a network may use."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]
