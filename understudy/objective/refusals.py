"""Where an objective would train something else than it says: on several processes, in a wrapper that passes it by."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import nn

from understudy import nested
from understudy.errors import UserError, warn_caller
from understudy.nested import Nested
from understudy.objective.labels import Labels
from understudy.objective.term import without_targets
from understudy.ranks import averaging, is_sharded, passed_by, ranks, wrapper
from understudy.taps import inner, is_compiled
from understudy.tasks.classification import require_distributions

if TYPE_CHECKING:
    from understudy.objective.objective import Objective

AROUND = "around the module that calls it"
UNAVERAGED = (
    "several processes train here, and neither DistributedDataParallel nor fully_shard wraps the step, so that nothing "
    "known averages its gradients: wrap objective.as_module()"
)


def refuse(objective: "Objective") -> None:
    """A UserError if what wraps the student does not average all that must be."""
    name = None if objective.in_step else wrapper(objective.student)
    if name is not None and (reason := _reason(objective, name)):
        raise UserError(f"the student is wrapped in {name}, and {reason}: {_way_out(name)}")


def refuse_place(objective: "Objective") -> None:
    """At the first call: a UserError if the wrapper around the objective, or beside it, does not do what is needed."""
    if getattr(objective, "_is_replica", False):
        raise UserError(
            "DataParallel copies an objective to several devices without its networks: train with "
            "DistributedDataParallel(objective.as_module()), one process for each device"
        )
    refuse(objective)
    if ranks() is None or wrapper(objective.student):
        return
    if is_sharded(objective):
        raise UserError(f"fully_shard(objective) does not shard the student: {_way_out('fully_shard')}")
    active = averaging(objective.student)
    if active is not None:
        if reason := _reason(objective, AROUND, held=set(active.parameters())):
            raise UserError(f"{reason}: let it call objective.as_module() in place of the objective")
    elif averaging(objective):
        raise UserError(f"DistributedDataParallel does not hold the student: {_way_out('DistributedDataParallel')}")
    elif passed_by(objective.student):
        raise UserError(
            "DistributedDataParallel wraps the student, and the objective calls the student without it, so that its "
            f"gradients are not averaged: {_way_out('DistributedDataParallel')}"
        )
    else:
        warn_caller(UNAVERAGED)


def refuse_same(student: nn.Module, teachers: Sequence[nn.Module]) -> None:
    """A UserError where the student is a teacher: it would train in evaluation mode, and learn from itself."""
    if any(inner(teacher) is inner(student) for teacher in teachers):
        raise UserError("the student is the teacher itself, one object: train a copy of it, copy.deepcopy(teacher)")


def refuse_observing(objective: "Objective") -> None:
    """A UserError where the student's forward pass in the caller's code is not enough."""
    if is_compiled(objective.student):
        raise UserError("observing() reads a student that is not compiled: call the objective, which runs the student")
    if objective.terms.reads.input_gradients:
        raise UserError("a term asks for gradients by the inputs: call the objective, which runs the student")
    if ranks() is not None and (reason := _reason(objective, AROUND)):
        raise UserError(f"several processes train, and {reason}: {_way_out('DistributedDataParallel')}")


def refuse_targets(objective: "Objective", targets: Nested) -> None:
    """A UserError where a cross-entropy would train on targets that are no classes and no distributions."""
    labelled = any(isinstance(part.term, Labels) for part in objective.parts.values())
    classes = objective.task.targets_are_classes or objective.task.targets_are_distributions
    if not labelled or not classes or without_targets(targets):
        return
    if objective.unlabelled:
        targets = nested.chosen(targets, objective.task.has_label(targets))
    require_distributions(targets)


def refuse_unlabelled(objective: "Objective") -> None:
    """A UserError where a term reads the labels of samples that have none, and no teacher's answer is read."""
    if objective.terms.reads.teacher_output:
        return
    for name, part in objective.parts.items():
        if part.term.reads.labels and not isinstance(part.term, Labels):
            raise UserError(
                f"some samples have no label, and term {name!r} reads the label of each sample. In its place it would "
                "take the teacher's answer, which no term reads: add one that does, such as KD"
            )


def _way_out(name: str) -> str:
    wrapping = "fully_shard" if name == "fully_shard" else "DistributedDataParallel"
    return f"make the objective with the bare student, and wrap the whole step, {wrapping}(objective.as_module())"


def _reason(objective: "Objective", name: str, held: set[nn.Parameter] | None = None) -> str | None:
    """What would go wrong; ``held`` are the parameters whose gradients are averaged beside the student's."""
    reads = objective.terms.reads
    if name == "DataParallel":
        return "taps cannot be read on several devices at once" if reads.student_taps else None
    if name not in ("fully_shard", AROUND) and objective.cut:
        return "no term reads the student's output, so its forward pass is cut and its gradients are not averaged"
    for part_name, part in objective.parts.items():
        if part.term.reads.batch:
            return f"term {part_name!r} looks at the whole batch, of which it would see this rank's part"
    for part_name, module in (*objective.adversaries.items(), *objective.owned.items()):
        learning = {parameter for parameter in module.parameters() if parameter.requires_grad}
        if learning - (held or set()):
            return f"what term {part_name!r} owns would learn on each rank from that rank's part alone"
    if objective.balance is not None:
        return "auto() would measure the gradients of this rank's part"
    return None
