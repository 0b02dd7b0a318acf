"""The stages of a training, made from a node's method for its networks."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from understudy import methods, nested
from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.data import Data
from understudy.errors import UserError
from understudy.methods import Method
from understudy.objective import evaluating
from understudy.plans.node import Given, Node
from understudy.recipe.build import Builder
from understudy.recipe.schema import NetworkTable
from understudy.taps import call
from understudy.taps.defaults import PROPOSALS
from understudy.training.preflight import misfit


def stages_of(node: Node, student: nn.Module, teachers: Sequence[nn.Module], data: Data) -> list[Stage]:
    """The stages of a node for its networks. A student that takes over a part of its teacher is changed in place."""
    teacher = teachers[0] if teachers else None
    chosen = methods.find(node.method)
    if chosen.grafts is not None:
        _check_scores(node, teachers, data, "it takes over the teacher's classifier")
    stages = method_stages(node.method, node.config, node.settings, student, teacher, data)
    if any(stage.objective.reads.teacher_output or stage.objective.reads.teacher_samples for stage in stages):
        _check_scores(node, teachers, data, "it reads the teacher's answers")
    if node.balance:
        stages = [stage.balanced() for stage in stages]
    _check_ends(node, stages)
    if not teachers and any(stage.objective.reads.teacher for stage in stages):
        name = methods.find(node.method).name
        raise UserError(
            f"method {name!r}: {stages[0].objective} learns from a teacher, and there is none: add a table [teacher] "
            "(in Python, pass one)"
        )
    return stages


def _check_ends(node: Node, stages: Sequence[Stage]) -> None:
    """A ``UserError`` where stages cannot end after the epochs of ``ends``."""
    epochs = [stage.config.epochs for stage in stages]
    if node.ends and (len(node.ends) != len(epochs) or any(map(int.__gt__, node.ends, epochs))):
        raise UserError(
            f"ends = {list(node.ends)}: give an epoch for each stage of {node.name}, which have {epochs} epochs at most"
        )


def _check_scores(node: Node, teachers: Sequence[nn.Module], data: Data, reason: str) -> None:
    """A ``UserError`` where a teacher whose answers are read was not trained on the data's task."""
    for given, teacher in zip(node.teachers, teachers, strict=False):
        wrong = misfit(teacher, data, node.arithmetic) if isinstance(given, Given) else None
        if wrong:
            fitting = "take a method on hidden values alone (rkd, sp, fitnets, ...), or train the teacher's head first"
            raise UserError(f"method {methods.find(node.method).name!r}: {reason}, and {wrong}: {fitting}")


def planned_stages(node: Node, builder: Builder, teachers: Sequence[NetworkTable]) -> list[Stage]:
    """The stages before any training. Networks are built only where taps are proposed from them."""
    method = methods.find(node.method)
    if all(node.settings.get(name) is not None for name in method.needed):
        stages = _stages(method, node.config, node.settings, builder.data)
        return [stage.balanced() for stage in stages] if node.balance else stages
    student = builder.fresh(node.network, node.seed, node.role)
    first = [builder.fresh(table, node.seed, "teacher") for table in teachers[:1]]
    return stages_of(node, student, first, builder.data)


def method_stages(
    method: str | Method,
    config: TrainConfig,
    settings: Mapping[str, object],
    student: nn.Module,
    teacher: nn.Module | None,
    data: Data,
) -> list[Stage]:
    """A method's stages. Taps that are not named are proposed from both networks.

    A student that keeps a part of its teacher receives that part here, in place.
    """
    chosen, given = methods.find(method), dict(settings)
    chosen.check_names(given)
    if chosen.reads_teacher and teacher is None and chosen.family != "own":
        raise UserError(f"method {chosen.name!r} learns from a teacher, and there is none")
    compared = teacher if chosen.reads_teacher else student  # a method without a teacher reads the student alone
    for name in chosen.needed:
        if given.get(name) is None:
            if name not in PROPOSALS or compared is None:
                raise UserError(f"method {chosen.name!r} needs its setting {name!r}")
            given[name] = _proposed(chosen.proposed_by.get(name, name), compared, student, data)
    if chosen.grafts is not None and teacher is not None:
        chosen.grafts(student, teacher, chosen.complete(given))
        _check_graft(student, chosen.name, data)
    return _stages(chosen, config, given, data)


def _stages(method: Method, config: TrainConfig, settings: Mapping[str, object], data: Data) -> list[Stage]:
    """The stages of a method for these data; one that needs targets is refused where there are none."""
    task = data.task
    if not task.labelled and (reason := method.unfit(task, settings)):
        raise UserError(f"method {method.name!r}: {reason}. Methods for data without any: {methods.proposed(task)}")
    return method.stages_for(task, config, settings)


def _check_graft(student: nn.Module, method: str, data: Data) -> None:
    """Check that a student with the teacher's classifier is one connected network."""
    device = next(student.parameters()).device
    try:
        with torch.no_grad(), evaluating(student):
            call(student, data.example(2, device))
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"method {method!r}: the student cannot take over the teacher's classifier ({reason}): what comes after "
            "its last map must not depend on the number of channels; name other 'maps', or build it anew with a mean "
            "over the places"
        ) from error


def _proposed(setting: str, teacher: nn.Module, student: nn.Module, data: Data) -> Any:
    """Traced on the CPU, since the two may be on different devices; each returns to its own."""
    cpu = torch.device("cpu")
    homes = [next((p.device for p in network.parameters()), cpu) for network in (teacher, student)]
    example = nested.moved(data.example(2, homes[1]), cpu)  # on the device of the example, not of all data
    try:
        return PROPOSALS[setting](teacher.cpu(), student.cpu(), example)
    finally:
        for network, home in zip((teacher, student), homes, strict=True):
            network.to(home)
