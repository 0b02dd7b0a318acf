"""NVIDIA Model Optimizer: its distillation model in the loop that its documentation shows."""

from collections.abc import Callable
from functools import partial
from typing import Any

import modelopt.torch.distill as mtd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.workload import SGD, Loop, Work, each


def loops(work: Work) -> dict[str, Callable[[], Loop]]:
    tap = work.pair.tap
    soft = {"criterion": mtd.LogitsDistillationLoss(temperature=4), "loss_balancer": mtd.StaticLossBalancer(0.9)}
    return {
        "kd": partial(_loop, work, soft, labels=True),
        "hint": partial(_loop, work, {"criterion": {(tap, tap): nn.MSELoss()}}, labels=False),
    }


def _loop(work: Work, settings: dict[str, Any], *, labels: bool) -> Loop:
    model = mtd.convert(work.student(), mode=[("kd_loss", {"teacher_model": work.teacher(), **settings})])
    model.train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], **SGD)

    def step(images: Tensor, targets: Tensor) -> None:
        answer = model(images)
        loss = model.compute_kd_loss(student_loss=F.cross_entropy(answer, targets) if labels else None)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return Loop(lambda: step(*work.batch), lambda: each(work.loader, step))
