"""Code for terms that apply both networks' classifiers to the places of their last maps."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from understudy.errors import UserError
from understudy.methods.shared.maps import require_maps
from understudy.objective.term import Reading, Reads, Shapes, Term
from understudy.taps import Pair, Tap, find, inner
from understudy.taps.stages import head_on
from understudy.tasks.task import Task


@dataclass(frozen=True)
class HeadsTerm(Term):
    """A term on the last maps and the classifiers after their pooling.

    Of the classifiers only the weights are read: the teacher's as they are at the start, the student's as they are now,
    so that its classifier learns as well.
    """

    subject: ClassVar[str] = "the values compared"  # in which what stands between map and classifier is missing
    maps: str
    heads: str

    def __post_init__(self) -> None:
        Pair.parse(self.maps)
        Pair.parse(self.heads)

    def misfit(self, task: Task) -> str | None:
        if task.dense:
            return f"it reads what linear classifiers see in pooled maps, and answers of task {task.name!r} are dense"
        return None

    @property
    def reads(self) -> Reads:
        return Reads.pairs((Pair.parse(self.maps),)) | Reads(student_network=True)

    def build(self, shapes: Shapes) -> nn.Module:
        maps, heads = Pair.parse(self.maps), Pair.parse(self.heads)
        student, teacher = shapes.student[maps.student], shapes.teacher[maps.teacher]
        require_maps(self, student, teacher)
        assert shapes.teacher_network is not None
        own = self._weight(shapes.student_network, heads.student, student, "the student")
        weight = self._weight(shapes.teacher_network, heads.teacher, teacher, "the teacher")
        if len(own) != len(weight):
            raise UserError(f"{self}: the student tells {len(own)} classes, the teacher {len(weight)}")
        bias = getattr(find(shapes.teacher_network, heads.teacher, called="the teacher"), "bias", None)
        return TeachersHead(weight, bias)

    def remarks(self, shapes: Shapes) -> Iterable[str]:
        maps, heads = Pair.parse(self.maps), Pair.parse(self.heads)
        sides = [
            ("student", shapes.student_network, shapes.student, maps.student, heads.student),
            ("teacher", shapes.teacher_network, shapes.teacher, maps.teacher, heads.teacher),
        ]
        for called, network, answer, tap, head in sides:
            answers = list(answer.named.values())
            if network is not None and answers and head_on(network, answer[tap], answers[0]) is None:
                yield (
                    f"the {called}'s {head.path!r} does not answer from the mean of its {str(tap)!r}: what stands "
                    f"between them (a norm, a class token, dropped pixels) is not in {self.subject}"
                )

    def maps_of(self, reading: Reading) -> tuple[Tensor, Tensor]:
        """The student's and the teacher's last maps."""
        maps = Pair.parse(self.maps)
        return reading.student[maps.student], reading.teacher[maps.teacher]

    def students_head(self, reading: Reading) -> tuple[Tensor, Tensor | None]:
        """Weight and bias of the student's classifier, with their graph."""
        assert reading.student_network is not None
        # By its path, as it is asked for at every step.
        head = inner(reading.student_network).get_submodule(Pair.parse(self.heads).student.path)
        assert isinstance(head.weight, Tensor)
        return head.weight.flatten(1), head.bias if isinstance(head.bias, Tensor) else None

    def _weight(self, network: nn.Module, head: Tap, maps: Tensor, called: str) -> Tensor:
        weight = getattr(find(network, head, called=called), "weight", None)
        channels = maps.shape[1]
        if not isinstance(weight, Tensor) or weight.ndim < 2 or weight.flatten(1).shape[1] != channels:
            raise UserError(
                f"{self}: {called}'s {head.path!r} has no weight (classes, {channels}) for its map of {channels} "
                "channels: the classifier must stand right after the pooled map"
            )
        return weight.flatten(1)


class TeachersHead(nn.Module):
    """A copy of the teacher's classifier that does not learn."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None):
        super().__init__()
        self.register_buffer("weight", weight.detach().clone(memory_format=torch.contiguous_format))
        self.register_buffer("bias", None if bias is None else bias.detach().clone())

    def forward(self, vectors: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(vectors.dtype)
        return F.linear(vectors, self.weight.to(vectors.dtype), bias)
