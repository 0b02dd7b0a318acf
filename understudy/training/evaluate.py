"""What a network is worth on a part of the data, or an objective where there is no answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from understudy import nested
from understudy.config.settings import Settings
from understudy.data.parts import Batch, Part
from understudy.nested import Nested
from understudy.objective import Objective, evaluating
from understudy.precision import exact_dtype
from understudy.taps import CLASSIFICATION, Answer, call
from understudy.tasks import Task, Values

BATCH = 500


@dataclass(frozen=True)
class Measured:
    """A network on a part: its figures by name, ``loss`` among them, and of every answer what the task keeps.

    Args:
        figures: those of the task.
        kept: on the CPU, in order.
        targets: those of the part, on the CPU.
    """

    figures: dict[str, float]
    kept: Values
    targets: Nested


def figures(network: nn.Module, part: Part, task: Task, settings: Settings) -> dict[str, float]:
    """The task's figures of a network on a part, and its mean loss; no answer is kept."""
    meter = task.meter()
    walk(network, part, task, settings, meter.update)
    return _ordered(meter.compute(), task)


def measured(network: nn.Module, part: Part, task: Task, settings: Settings) -> Measured:
    """The figures of a network on a part, and its answers, as far as the task keeps them."""
    meter, kept, targets = task.meter(), list[Values](), list[Nested]()

    def update(answer: Values, batch: Nested) -> None:
        meter.update(answer, batch)
        kept.append({name: value.cpu() for name, value in task.kept(answer, batch).items()})
        targets.append(nested.moved(batch, torch.device("cpu")))

    walk(network, part, task, settings, update)
    return Measured(_ordered(meter.compute(), task), _joined(kept), nested.concatenated(targets))


def pooled(networks: Sequence[Measured], task: Task) -> Measured:
    """Several networks on the same part as one, whose answer is ``task.together``."""
    if len(networks) == 1:
        return networks[0]
    kept = task.together([one.kept for one in networks])
    meter = task.meter()
    meter.update(kept, networks[0].targets)
    return Measured(_ordered(meter.compute(), task), kept, networks[0].targets)


def walk(
    network: nn.Module, part: Part, task: Task, settings: Settings, update: Callable[[Values, Nested], None]
) -> None:
    """A network's answer to every batch of a part, with the batch's targets."""
    with torch.no_grad(), evaluating(network), settings.autocast():
        for batch in part.in_order(BATCH, settings.torch_device):
            update(task.answer(call(network, settings.prepare(batch.inputs))), batch.targets)


def _ordered(figures: dict[str, float], task: Task) -> dict[str, float]:
    """The task's figures in their order, the one that selects first, and what else there is."""
    known = {figure.name: figures[figure.name] for figure in task.figures}
    return known | figures


def _joined(kept: Sequence[Values]) -> dict[str, Tensor]:
    return {name: torch.cat([answer[name] for answer in kept]) for name in kept[0]}


def objective_loss(
    objective: Objective,
    part: Part,
    settings: Settings,
    *,
    epoch: float,
    batch: int,
    answers: Callable[[Batch, Nested], Sequence[Answer]] | None = None,
) -> dict[str, float]:
    """The objective's mean over a part, for stages that are cut below the answer (FitNets' hint error).

    ``batch`` is that of the training, since relations between samples depend on it. ``answers`` gives the teachers',
    where they need not be asked.
    """
    total = torch.zeros((), dtype=exact_dtype(settings.torch_device), device=settings.torch_device)
    gradients = torch.set_grad_enabled(objective.terms.reads.gradients)  # a term may ask for some within its loss
    with gradients, evaluating(objective), evaluating(objective.student), settings.autocast():
        for some in part.in_order(batch, settings.torch_device):
            inputs = settings.prepare(some.inputs)
            stored = answers(some, inputs) if answers else None
            reading = objective.read(inputs, some.targets, epoch=epoch, ids=some.ids, answers=stored)
            outcome = objective.judge(reading)
            total += outcome.loss.detach().to(total.dtype) * len(some)
    return {"loss": total.item() / len(part)}


def answers(network: nn.Module, part: Part, settings: Settings) -> tuple[Tensor, Tensor]:
    """Logits (float32) and labels of every sample of a part, in order, on the CPU."""
    whole = measured(network, part, CLASSIFICATION, settings)
    assert isinstance(whole.targets, Tensor)
    return whole.kept["logits"], whole.targets


def together(logits: Sequence[Tensor]) -> Tensor:
    """The logarithm of the mean of several networks' probabilities; one's logits as they are."""
    return CLASSIFICATION.together([{"logits": answer} for answer in logits])["logits"]
