"""The training of a student that is sharded: what its optimizer sees, and what cannot be done to a part of a weight."""

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from understudy.config.momenta import momenta_of
from understudy.config.optimizers import SGD, Adagrad, AdamW, Groups, RMSProp, TorchOptimizer
from understudy.config.settings import Settings
from understudy.config.stage import Stage
from understudy.errors import UserError
from understudy.ranks import own_shard, part_of, sharded_like
from understudy.training.state import restore_optimizer

ELEMENTWISE = (SGD, AdamW, Adagrad, RMSProp, TorchOptimizer)
WHOLE = ("torch:Adafactor",)  # those of torch.optim that are not


class Shards:
    """This rank's parts of a student's parameters, as plain tensors for an optimizer, which share their memory.

    The state of an optimizer is saved with whole tensors, so that any number of processes can go on from it.
    """

    def __init__(self, student: nn.Module):
        self._parts: dict[Tensor, nn.Parameter] = {
            parameter: nn.Parameter(own_shard(parameter.detach()), requires_grad=parameter.requires_grad)
            for parameter in student.parameters()
        }
        self._wholes: dict[Tensor, Tensor] = {part: parameter for parameter, part in self._parts.items()}

    def groups(self, groups: Groups) -> Groups:
        """The same groups with the parts in place of the parameters."""
        return [{**group, "params": [self._parts.get(p, p) for p in group["params"]]} for group in groups]

    def take_gradients(self) -> None:
        """The parts get the gradients of a backward pass."""
        for parameter, part in self._parts.items():
            part.grad = None if parameter.grad is None else own_shard(parameter.grad)

    def zero_grad(self) -> None:
        for parameter, part in self._parts.items():
            parameter.grad = part.grad = None

    def state_of(self, optimizer: torch.optim.Optimizer) -> dict[str, object]:
        """The state of an optimizer with tensors that stand for those of all ranks."""
        state = optimizer.state_dict()
        wholes = self._numbered(optimizer)
        return {
            **state,
            "state": {number: _of_all(values, wholes[number]) for number, values in state["state"].items()},
        }

    def restore(self, optimizer: torch.optim.Optimizer, state: Mapping[str, object]) -> None:
        """Load a state with whole tensors."""
        wholes, saved = self._numbered(optimizer), cast(Mapping[int, Mapping[str, Any]], state["state"])
        parts = {number: _of_rank(values, wholes[number]) for number, values in saved.items()}
        restore_optimizer(optimizer, {**state, "state": parts})

    def _numbered(self, optimizer: torch.optim.Optimizer) -> dict[int, Tensor | None]:
        """The student's parameters by their number in the optimizer's state."""
        parts = (part for group in optimizer.param_groups for part in group["params"])
        return {number: self._wholes.get(part) for number, part in enumerate(parts)}


def _of_all(values: Mapping[str, Any], whole: Tensor | None) -> dict[str, Any]:
    if whole is None:
        return dict(values)
    shape = own_shard(whole.detach()).shape
    return {name: part_of(value, whole) if _is_per_weight(value, shape) else value for name, value in values.items()}


def _of_rank(values: Mapping[str, Any], whole: Tensor | None) -> dict[str, Any]:
    if whole is None:
        return dict(values)
    return {
        name: own_shard(sharded_like(value, whole)) if _is_per_weight(value, whole.shape) else value
        for name, value in values.items()
    }


def _is_per_weight(value: object, shape: torch.Size) -> bool:
    return isinstance(value, Tensor) and value.ndim > 0 and value.shape == shape


def check_shards(stage: Stage, settings: Settings, *, stored: bool) -> None:
    """A UserError for what a sharded student or teacher cannot do, on any number of processes."""
    if settings.parallel == "fsdp":
        _check_student(stage, settings)
    if settings.teacher_shard and stage.objective.reads.teacher:
        _check_teacher(stage, stored=stored)


def _check_student(stage: Stage, settings: Settings) -> None:
    where, way_out = f"stage {stage.name!r}", 'set settings.parallel = "ddp"'
    optimizer = stage.config.optimizer
    if settings.compile:
        raise UserError('settings.parallel = "fsdp" and settings.compile exclude each other: leave one of them out')
    if not isinstance(optimizer, ELEMENTWISE) or optimizer.name in WHOLE:
        raise UserError(
            f"{where}: optimizer {optimizer.name!r} looks at a whole weight, of which each process holds a part: take "
            f'"sgd" or "adamw", or {way_out}'
        )
    if momenta_of(stage) is not None:
        raise UserError(f"{where}: momenta of single terms need the gradients of whole weights: {way_out}")
    for name, part in stage.objective.named().items():
        if part.balanced:
            raise UserError(
                f"{where}: auto() measures gradients of whole weights: give {name!r} a weight, or {way_out}"
            )
        if part.term.reads.gradients or part.term.reads.input_gradients:
            raise UserError(f"{where}: term {name!r} takes gradients within its loss, beside FSDP2: {way_out}")
        if part.term.reads.student_network:
            raise UserError(f"{where}: term {name!r} uses the student's network beside its forward pass: {way_out}")


def _check_teacher(stage: Stage, *, stored: bool) -> None:
    where, way_out = f"stage {stage.name!r}", "set settings.teacher_shard = false"
    if stored:
        raise UserError(
            f"{where}: stored answers are missing on some processes only, and all of them must run a sharded teacher: "
            f"leave [answers] out, or {way_out}"
        )
    for name, part in stage.objective.named().items():
        reads = part.term.reads
        if reads.gradients:
            raise UserError(f"{where}: term {name!r} takes gradients through the teacher: {way_out}")
        if reads.teacher_network or reads.teacher_samples:
            raise UserError(f"{where}: term {name!r} uses the teacher's network beside its forward pass: {way_out}")
