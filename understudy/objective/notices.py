"""The warnings of an objective's first call in training: mistakes in a loop of one's own that raise no error."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from understudy.objective.sharing import shared_tensors
from understudy.objective.term import Reading
from understudy.printable import some
from understudy.taps import Answer
from understudy.tasks.classification import remark_on_probabilities

if TYPE_CHECKING:
    from understudy.objective.objective import Objective


def notices(objective: "Objective", reading: Reading, *, epoch_given: bool) -> Iterator[str]:
    """The lines to warn of.

    Args:
        epoch_given: whether the caller said which epoch it is.
    """
    yield from _without_gradient(objective, reading.student)
    for teacher in objective.teachers:
        if shared := shared_tensors(objective.student, teacher.network):
            yield (
                f"the student shares {some(shared)} with {teacher.called}: its training changes the teacher, and what "
                "both hold runs in evaluation mode. Give the student copies, copy.deepcopy(module)"
            )
    names = ("the student", *(teacher.called for teacher in objective.teachers))
    for name, answer in zip(names, (reading.student, *reading.teachers), strict=False):
        if said := remark_on_probabilities(answer.named):
            yield f"the class scores of {name}: {said}"
    scheduled = [name for name, part in objective.parts.items() if part.schedule is not None]
    if scheduled and not epoch_given:
        yield f"the weights of {some(scheduled)} change over the epochs and stay at epoch 0: pass epoch="


def _without_gradient(objective: "Objective", student: Answer) -> Iterator[str]:
    """Values of a student that learns, through which no term reaches it."""
    if not any(parameter.requires_grad for parameter in objective.student.parameters()):
        return
    values = {tap: value for tap, value in student.items() if value.is_floating_point()}
    still = [repr(str(tap)) for tap, value in values.items() if not value.requires_grad]
    outputs = [value for value in student.named.values() if value.is_floating_point()]
    if outputs and not any(value.requires_grad for value in outputs):
        still.append("the output")
    if still:
        yield (
            f"no gradient passes through {some(still)} into the student, and the terms that read it train nothing of "
            "the student: the layers before are frozen, or run without gradients, as in torch.no_grad() or in a "
            "checkpoint with use_reentrant=True"
        )
