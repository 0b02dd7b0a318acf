"""What a network is worth on a part of the data, or an objective where there is no answer."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from understudy import nested
from understudy.config.settings import Settings
from understudy.data.parts import Batch, Part
from understudy.nested import Nested
from understudy.objective import Objective, evaluating
from understudy.precision import exact_dtype
from understudy.ranks import Ranks, ranks
from understudy.taps import CLASSIFICATION, Answer, call
from understudy.tasks import LOSS, Task, Values

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
    targets: Any


def figures(network: nn.Module, part: Part, task: Task, settings: Settings) -> dict[str, float]:
    """The task's figures of a network on a part, and its mean loss; no answer is kept."""
    meter = task.meter()
    walk(network, part, task, settings, meter.update)
    return _ordered(meter.compute(), task)


def measured(network: nn.Module, part: Part, task: Task, settings: Settings) -> Measured:
    """The figures of a network on a part, and its answers, as far as the task keeps them."""
    meter, kept, targets = task.meter(), list[Values](), list[Any]()

    def update(answer: Values, batch: Any) -> None:
        meter.update(answer, batch)
        kept.append({name: value.cpu() for name, value in task.kept(answer, batch).items()})
        targets.append(nested.moved(batch, torch.device("cpu")))

    walk(network, part, task, settings, update)
    return Measured(_ordered(meter.compute(), task), _joined(kept), nested.concatenated(targets))


def pooled(found: Sequence[Measured], task: Task) -> Measured:
    """Several networks on the same part as one, which answers with ``task.together``."""
    if len(found) == 1:
        return found[0]
    kept = task.together([one.kept for one in found])
    meter = task.meter()
    meter.update(kept, found[0].targets)
    return Measured(_ordered(meter.compute(), task), kept, found[0].targets)


def walk(network: nn.Module, part: Part, task: Task, settings: Settings, update: Callable[[Values, Any], None]) -> None:
    """A network's answer to every batch of a part, with the batch's targets.

    Ranks that train together take the batches in turn, and each one gets all answers, in order.
    """
    device, group = settings.torch_device, ranks()

    def answered(batch: Batch) -> tuple[Values, Nested]:
        return task.answer(call(network, settings.prepare(batch.inputs))), batch.targets

    with torch.no_grad(), evaluating(network), settings.autocast():
        if group is None:
            for batch in part.in_order(BATCH, device):
                update(*answered(batch))
            return
        for answer, targets in in_turn(group, part, BATCH, device, answered):
            update({name: value.to(device) for name, value in answer.items()}, nested.moved(targets, device))


def in_turn(
    group: Ranks, part: Part, batch: int, device: torch.device, work: Callable[[Batch], tuple[Values, Nested]]
) -> Iterator[tuple[Values, Nested]]:
    """The result of ``work`` on every batch of a part, in order; each rank does every ``world``-th."""
    count = -(-len(part) // batch)
    batches = part.in_order(batch, device, first=group.rank, every=group.world)
    for _ in range(-(-count // group.world)):
        own = next(batches, None)
        result: tuple[Values, Nested] | None = None
        if own is not None:
            answer, targets = work(own)
            result = {name: value.cpu() for name, value in answer.items()}, nested.moved(targets, torch.device("cpu"))
        yield from (found for found in group.objects(result) if found is not None)


def first_of(validation: Mapping[str, float]) -> float | None:
    """The figure that selects, from a record of a validation; None of a stage that has no answers.

    >>> first_of({"accuracy": 0.5, "loss": 1.0}), first_of({"loss": 1.0})
    (0.5, None)
    """
    return next((value for name, value in validation.items() if name != LOSS), None)


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
    answers: Callable[[Batch, Any], Sequence[Answer]] | None = None,
) -> dict[str, float]:
    """The objective's mean over a part, for stages that are cut below the answer (FitNets' hint error).

    ``batch`` is that of the training, since relations between samples depend on it. ``answers`` gives the teachers',
    where they need not be asked.
    """
    device, group = settings.torch_device, ranks()
    total = torch.zeros((), dtype=exact_dtype(device), device=device)

    def weighted(found: Batch) -> Tensor:
        inputs = settings.prepare(found.inputs)
        there = answers(found, inputs) if answers else None
        reading = objective.read(inputs, found.targets, epoch=epoch, ids=found.ids, answers=there)
        return objective.judge(reading).loss.detach().to(total.dtype) * len(found)

    gradients = torch.set_grad_enabled(objective.terms.reads.gradients)  # a term may ask for some within its loss
    with gradients, evaluating(objective), evaluating(objective.student), settings.autocast():
        if group is None:
            for found in part.in_order(batch, device):
                total += weighted(found)
        else:
            with objective.on_one_rank():
                for value, _ in in_turn(group, part, batch, device, lambda found: ({"loss": weighted(found)}, ())):
                    total += value["loss"].to(device)
    return {"loss": total.item() / len(part)}


def answers(network: nn.Module, part: Part, settings: Settings) -> tuple[Tensor, Tensor]:
    """Logits (float32) and labels of every sample of a part, in order, on the CPU."""
    found = measured(network, part, CLASSIFICATION, settings)
    return found.kept["logits"], found.targets


def together(logits: Sequence[Tensor]) -> Tensor:
    """The logarithm of the mean of several networks' probabilities; one's logits as they are."""
    return CLASSIFICATION.together([{"logits": answer} for answer in logits])["logits"]
