"""TextBrewer: its distillers on networks that are wrapped as it wants them; ``stored kd`` is its cache of logits.

The cache freezes batches and augmentation; it is filled before anything is measured.
"""

import logging
import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from textbrewer import BasicDistiller, DistillationConfig, GeneralDistiller, TrainingConfig
from torch import Tensor, nn

from benchmarks.workload import SGD, Loop, Work, each


class Wrapped(nn.Module):
    """Answers with a dictionary, from images and labels."""

    def __init__(self, network: nn.Module, tap: str | None):
        super().__init__()
        self.network = network
        self.hidden: list[Tensor] = []
        if tap is not None:
            network.get_submodule(tap).register_forward_hook(lambda *args: self.hidden.append(args[-1]))

    def forward(self, images: Tensor, labels: Tensor) -> dict[str, Any]:
        self.hidden.clear()
        logits = self.network(images)
        return {"logits": logits, "losses": F.cross_entropy(logits, labels), "hidden": list(self.hidden)}


def loops(work: Work) -> dict[str, Callable[[], Loop]]:
    logging.disable(logging.INFO)
    match = {"layer_T": 0, "layer_S": 0, "feature": "hidden", "loss": "hidden_mse", "weight": 1}
    soft = {"temperature": 4, "hard_label_weight": 0.1, "kd_loss_weight": 0.9}
    return {
        "kd": partial(_loop, work, BasicDistiller, DistillationConfig(**soft), None),
        "hint": partial(_loop, work, GeneralDistiller, DistillationConfig(intermediate_matches=[match]), work.pair.tap),
        "stored kd": partial(_loop, work, BasicDistiller, DistillationConfig(**soft, is_caching_logits=True), None),
    }


def _loop(work: Work, kind: type, config: DistillationConfig, tap: str | None) -> Loop:
    keys = ("hidden",) if tap else ("logits", "losses")
    teacher, student = Wrapped(work.teacher(), tap), Wrapped(work.student(), tap)
    setting = TrainingConfig(device="cpu", output_dir=tempfile.mkdtemp())

    def adaptor(batch: object, answer: dict[str, Any]) -> dict[str, Any]:
        return {key: answer[key] for key in keys}

    distiller = kind(setting, config, teacher, student, adaptor, adaptor)
    optimizer = torch.optim.SGD(student.parameters(), **SGD)
    teacher.eval()
    student.train()

    def step(batch: object) -> None:
        loss, _ = distiller.train_on_batch(batch, {})
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    if not config.is_caching_logits:
        return Loop(lambda: step(work.batch), lambda: each(work.loader, lambda images, labels: step((images, labels))))
    each(work.loader, lambda images, labels: distiller.cache_logits((images, labels), {}, None))

    def epoch() -> None:
        for entry in distiller.logits_cache:
            step(entry)

    return Loop(lambda: step(distiller.logits_cache[0]), epoch)
