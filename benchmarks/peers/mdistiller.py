"""mdistiller (megvii-research/mdistiller): its distillers, with the body of its trainer's ``train_iter``.

It is no package: a checkout is named. The trainer itself moves every batch to a GPU, so that its body stands here
without that. Settings are those of its ``engine/cfg.py``; so its hints are learned together with the labels, through
its own regressor, and both networks run as a whole.
"""

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from benchmarks.peers import from_checkout
from benchmarks.workload import SGD, SIZE, Loop, Tapped, Work, each

(distillers,) = from_checkout("mdistiller", "mdistiller.distillers")

SETTINGS = SimpleNamespace(
    KD=SimpleNamespace(TEMPERATURE=4, LOSS=SimpleNamespace(CE_WEIGHT=0.1, KD_WEIGHT=0.9)),
    FITNET=SimpleNamespace(
        HINT_LAYER=0,  # the only one of ``Wrapped``
        INPUT_SIZE=(SIZE, SIZE),
        LOSS=SimpleNamespace(CE_WEIGHT=1.0, FEAT_WEIGHT=100.0),
    ),
)


class Wrapped(Tapped):
    """Answers as its own networks do."""

    def forward(self, images: Tensor) -> tuple[Tensor, dict[str, list[Tensor]]]:
        logits, features = self.both(images)
        return logits, {"feats": features}


def loops(work: Work) -> dict[str, Callable[[], Loop]]:
    return {"kd": partial(_loop, work, distillers.KD), "hint": partial(_loop, work, distillers.FitNet)}


def _loop(work: Work, kind: Any) -> Loop:
    teacher, student = Wrapped(work.teacher(), work.pair.tap).eval(), Wrapped(work.student(), work.pair.tap).eval()
    distiller = kind(student, teacher, SETTINGS)
    optimizer = torch.optim.SGD(distiller.get_learnable_parameters(), **SGD)
    distiller.train()

    def step(images: Tensor, labels: Tensor) -> None:
        optimizer.zero_grad()
        answer, losses = distiller(image=images, target=labels, epoch=1)
        loss = sum(value.mean() for value in losses.values())
        loss.backward()
        optimizer.step()
        _metered(answer, labels, loss)

    return Loop(lambda: step(*work.batch), lambda: each(work.loader, step))


@torch.no_grad()
def _metered(answer: Tensor, labels: Tensor, loss: Tensor) -> None:
    """What the trainer looks at after each step: the loss, and the best and the five best classes."""
    right = answer.topk(5).indices.T.eq(labels)
    for count in (1, 5):
        right[:count].reshape(-1).float().sum(0, keepdim=True).mul_(100 / len(labels))
    loss.detach().numpy().mean()
