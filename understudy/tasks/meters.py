"""What meters of several tasks share: the mean supervised loss, and metrics of torchmetrics as a task's meter."""

from collections.abc import Callable, Mapping
from typing import Protocol, Self

import torch
from torch import Tensor

from understudy.errors import UserError
from understudy.nested import Nested
from understudy.precision import exact_dtype
from understudy.tasks.task import LOSS, Task, Values


class MeanLoss:
    """The mean supervised loss of a task, which its meters measure beside their figures.

    >>> from understudy.tasks import Regression
    >>> loss = MeanLoss(Regression(("price",)))
    >>> loss.update({"values": torch.tensor([[1.0], [3.0]])}, torch.tensor([[1.0], [1.0]]))
    >>> loss.compute()
    {'loss': 2.0}
    """

    def __init__(self, task: Task):
        self.task, self.count = task, 0
        self.total: Tensor | None = None

    def update(self, answer: Values, targets: Nested) -> None:
        losses = self.task.loss(answer, targets)
        total = losses.to(exact_dtype(losses.device)).sum()
        self.total = total if self.total is None else self.total + total
        self.count += len(losses)

    def compute(self) -> dict[str, float]:
        if self.total is None:
            raise UserError("there are no samples to measure on")
        return {LOSS: self.total.item() / self.count}


class Metric(Protocol):
    """What is used of a ``torchmetrics.Metric``."""

    def to(self, device: torch.device) -> Self: ...

    def update(self, preds: Tensor, target: Tensor) -> None: ...

    def compute(self) -> Tensor: ...


Pick = Callable[[Values, Nested], tuple[Tensor, Tensor]]  # from an answer and its targets: predictions and targets


class MetricMeter:
    """Any metrics of torchmetrics under the names of a task's figures, and the mean supervised loss.

    Args:
        task: whose loss it is.
        metrics: by the names of figures.
        pick: what the metrics are given of an answer and its targets; the default is the first of the task's values,
            and the targets as they are.

    >>> from torchmetrics import MeanSquaredError
    >>> from understudy.tasks import Regression
    >>> meter = MetricMeter(Regression(("price",)), {"mse": MeanSquaredError()})
    >>> meter.update({"values": torch.tensor([[1.0], [3.0]])}, torch.tensor([[1.0], [1.0]]))
    >>> meter.compute()
    {'mse': 2.0, 'loss': 2.0}
    """

    def __init__(self, task: Task, metrics: Mapping[str, Metric], pick: Pick | None = None):
        self.task, self.metrics, self.loss = task, dict(metrics), MeanLoss(task)
        self.pick = pick or self._first

    def update(self, answer: Values, targets: Nested) -> None:
        predictions, wanted = self.pick(answer, targets)
        for metric in self.metrics.values():
            metric.to(predictions.device).update(predictions, wanted)
        self.loss.update(answer, targets)

    def compute(self) -> dict[str, float]:
        loss = self.loss.compute()
        return {name: float(metric.compute()) for name, metric in self.metrics.items()} | loss

    def _first(self, answer: Values, targets: Nested) -> tuple[Tensor, Tensor]:
        assert isinstance(targets, Tensor)
        return answer[self.task.values[0]], targets
