"""The figures of a network on a part of the data, or the loss of an objective where there is no answer."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from understudy import nested
from understudy.config.settings import Settings
from understudy.data.parts import Batch, Part
from understudy.errors import UserError
from understudy.nested import Nested
from understudy.objective import Objective, evaluating
from understudy.precision import exact_dtype
from understudy.ranks import Ranks, is_sharded, ranks
from understudy.sharding import in_pass
from understudy.taps import CLASSIFICATION, Answer, call
from understudy.tasks import Task, Values
from understudy.training.memory import Halving

BATCH, BATCH_BYTES = 500, 2**26  # samples per batch, and the largest size of their inputs


@dataclass(frozen=True)
class Measured:
    """The evaluation of a network on a part: figures by name, ``loss`` included, and the answers that the task keeps.

    Args:
        figures: those of the task.
        kept: on the CPU, in order.
        targets: those of the part, on the CPU.
        largest: the largest absolute value of any answer.
    """

    figures: dict[str, float]
    kept: Values
    targets: Nested
    largest: float


def figures(network: nn.Module, part: Part, task: Task, settings: Settings) -> dict[str, float]:
    """The task's figures of a network on a part, and its mean loss; no answer is kept."""
    meter = task.meter()
    walk(network, part, task, settings, meter.update)
    return in_order(meter.compute(), task)


T = TypeVar("T")


def measured(networks: nn.Module | Sequence[nn.Module], part: Part, task: Task, settings: Settings) -> Measured:
    """The figures of a network on a part, and its answers, as far as the task keeps them.

    Several networks are measured as an ensemble by ``task.together``.
    """
    networks = [networks] if isinstance(networks, nn.Module) else networks
    meter, kept, targets, largest = task.meter(), list[Values](), list[Nested](), list[Tensor]()

    def update(answers: Sequence[Values], batch: Nested) -> None:
        answer = answers[0] if len(answers) == 1 else task.together(answers)
        meter.update(answer, batch)
        kept.append({name: value.cpu() for name, value in task.kept(answer, batch).items()})
        targets.append(nested.moved(batch, torch.device("cpu")))
        largest.append(torch.stack([value.detach().abs().amax().float().cpu() for value in answer.values()]).amax())

    walk_together(networks, part, task, settings, update)
    figures = in_order(meter.compute(), task)
    return Measured(figures, _joined(kept), nested.concatenated(targets), torch.stack(largest).amax().item())


def walk(
    network: nn.Module, part: Part, task: Task, settings: Settings, update: Callable[[Values, Nested], None]
) -> None:
    """A network's answers to every batch of a part, with the targets."""
    walk_together([network], part, task, settings, lambda answers, targets: update(answers[0], targets))


def in_turn(
    group: Ranks, part: Part, batch: int, device: torch.device, work: Callable[[Batch], T], *, equal: bool = False
) -> Iterator[T]:
    """The result of ``work`` on every batch of a part, in order; each rank does every ``world``-th.

    With ``equal`` all ranks work equally often, for networks that are sharded: a rank without a batch takes another
    one's, and its result is not used.
    """
    count = -(-len(part) // batch)
    batches = part.in_order(batch, device, first=group.rank, every=group.world)
    for _ in range(-(-count // group.world)):
        own = next(batches, None)
        if own is None and equal:
            work(next(part.in_order(batch, device, every=count)))
        yield from (found for found in group.objects(None if own is None else work(own)) if found is not None)


def walk_together(
    networks: Sequence[nn.Module],
    part: Part,
    task: Task,
    settings: Settings,
    update: Callable[[Sequence[Values], Nested], None],
) -> None:
    """The answers of several networks to every batch of a part, with the targets.

    Ranks that train together take the batches in turn, and each one gets all answers, in order.
    """
    device, group, size = settings.torch_device, ranks(), _samples_at_once(part)
    in_step = any(map(is_sharded, networks))
    halving = Halving(allowed=not in_step)

    def answered(batch: Batch) -> tuple[list[Values], Nested]:
        inputs = settings.prepare(batch.inputs)
        return [task.answer(call(network, inputs)) for network in networks], batch.targets

    def sent(batch: Batch) -> list[tuple[list[Values], Nested]]:
        return [_moved(*found, torch.device("cpu")) for found in halving(batch, answered)]

    with torch.no_grad(), ExitStack() as stack, settings.autocast():
        for network in networks:
            stack.enter_context(evaluating(network))
        if group is None:
            for batch in part.in_order(size, device):
                for found in halving(batch, answered):
                    update(*found)
            return
        for parts in in_turn(group, part, size, device, sent, equal=in_step):
            for answers, targets in parts:
                update(*_moved(answers, targets, device))


def _moved(answers: Sequence[Values], targets: Nested, device: torch.device) -> tuple[list[Values], Nested]:
    moved: list[Values] = [{name: value.to(device) for name, value in answer.items()} for answer in answers]
    return moved, nested.moved(targets, device)


def _samples_at_once(part: Part) -> int:
    """Smaller batches of large samples, so that memory depends neither on their size nor on their number."""
    return max(1, min(BATCH, BATCH_BYTES // max(1, getattr(part.source, "sample_bytes", 0))))


def in_order(figures: Mapping[str, float], task: Task) -> dict[str, float]:
    """The task's figures in order, the selecting one first, then other values."""
    missing = [figure.name for figure in task.figures if figure.name not in figures]
    if missing:
        raise UserError(f"the meter of task {task.name!r} measures no {missing[0]!r}, which is one of its figures")
    return {figure.name: figures[figure.name] for figure in task.figures} | dict(figures)


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
    where they are known.
    """
    device, group = settings.torch_device, ranks()
    total = torch.zeros((), dtype=exact_dtype(device), device=device)

    def weighted(found: Batch) -> Tensor:
        inputs = settings.prepare(found.inputs)
        there = answers(found, inputs) if answers else None
        reading = in_pass(
            objective.student,
            lambda: objective.read(inputs, found.targets, epoch=epoch, ids=found.ids, answers=there),
        )
        return objective.judge(reading).loss.detach().to(total.dtype) * len(found)

    gradients = torch.set_grad_enabled(objective.terms.reads.gradients)  # a term may compute gradients within its loss
    with gradients, evaluating(objective), evaluating(objective.student), settings.autocast():
        if group is None:
            for some in part.in_order(batch, device):
                total += weighted(some)
        else:
            equal = settings.parallel == "fsdp" or settings.teacher_shard
            with objective.on_one_rank():
                for value in in_turn(group, part, batch, device, lambda some: weighted(some).cpu(), equal=equal):
                    total += value.to(device)
    return {"loss": total.item() / len(part)}


def answers(network: nn.Module, part: Part, settings: Settings) -> tuple[Tensor, Tensor]:
    """Logits (float32) and labels of every sample of a part, in order, on the CPU."""
    whole = measured(network, part, CLASSIFICATION, settings)
    assert isinstance(whole.targets, Tensor)
    return whole.kept["logits"], whole.targets


def together(logits: Sequence[Tensor]) -> Tensor:
    """The logarithm of the mean of several networks' probabilities; one's logits as they are."""
    return CLASSIFICATION.together([{"logits": answer} for answer in logits])["logits"]
