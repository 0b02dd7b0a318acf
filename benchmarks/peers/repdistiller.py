"""RepDistiller (HobbitLong/RepDistiller): its ``train_distill``, called as its ``train_student.py`` does.

It is no package: a checkout is named. Weights are those of its ``scripts/run_cifar_distill.sh``; so its hints are
learned together with the labels, through its own regressor, and both networks run as a whole. It moves batches to a GPU
wherever there is one, and the networks are on the CPU: hide it from the process.
"""

import contextlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.peers import from_checkout
from benchmarks.workload import SGD, Loop, Tapped, Work

losses, regressors, training = from_checkout("repdistiller", "distiller_zoo", "models.util", "helper.loops")


class Wrapped(Tapped):
    """Answers as its own networks do."""

    def forward(self, images: Tensor, is_feat: bool, preact: bool) -> tuple[list[Tensor], Tensor]:
        logits, features = self.both(images)
        return features, logits


@dataclass(frozen=True)
class Indexed:
    """Batches with the samples' numbers, which its data sets add, and which neither of these trainings reads."""

    batches: Any

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        return ((images, labels, torch.arange(len(labels))) for images, labels in self.batches)


def loops(work: Work) -> dict[str, Callable[[], Loop]]:
    return {
        "kd": partial(_loop, work, {"distill": "kd", "gamma": 0.1, "alpha": 0.9, "beta": 0}),
        "hint": partial(_loop, work, {"distill": "hint", "gamma": 1, "alpha": 0, "beta": 100}),
    }


def _loop(work: Work, options: dict[str, Any]) -> Loop:
    teacher, student = Wrapped(work.teacher(), work.pair.tap).eval(), Wrapped(work.student(), work.pair.tap).eval()
    softened = losses.DistillKL(4)
    learning, criterion = [student], softened
    if options["distill"] == "hint":
        shapes = [network(work.batch[0][:2], True, False)[0][0].shape for network in (student, teacher)]
        learning, criterion = [student, regressors.ConvReg(*shapes)], losses.HintLoss()
    modules = nn.ModuleList([*learning, teacher])
    criteria = nn.ModuleList([nn.CrossEntropyLoss(), softened, criterion])
    optimizer = torch.optim.SGD([p for module in learning for p in module.parameters()], **SGD)
    settings = SimpleNamespace(**options, hint_layer=0, print_freq=100)

    def train(batches: Any) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            training.train_distill(1, Indexed(batches), modules, criteria, optimizer, settings)

    return Loop(lambda: train([work.batch]), lambda: train(work.loader))
