"""Contrast within the batch: the form of contrastive representation distillation that needs no memory."""

from dataclasses import dataclass

from torch import Tensor, nn

from understudy import losses
from understudy.errors import UserError
from understudy.methods.shared.relations import flat, unit
from understudy.objective.term import Reading, Reads, Shapes, Term
from understudy.taps import Pair


class Projections(nn.Module):
    """Both networks' values as vectors of one width and of length 1."""

    def __init__(self, student: Tensor, teacher: Tensor, width: int):
        super().__init__()
        self.student = nn.Linear(student[0].numel(), width)
        self.teacher = nn.Linear(teacher[0].numel(), width)

    def forward(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        return unit(flat(self.student(flat(student)))), unit(flat(self.teacher(flat(teacher))))


@dataclass(frozen=True)
class CRDBatch(Term):
    """Contrast within the batch, without a memory: which of the teacher's vectors belongs to this one of the student's.

    ``-log softmax_j(<s_i, t_j> / tau)_i - log softmax_j(<s_j, t_i> / tau)_i``; see ``losses.info_nce``

    Args:
        pair: what goes into both classifiers, ``"fc:input -> fc:input"``.
        width: of the projected vectors, as CRD's.
        temperature: tau, as CRD's.
        other_classes: others of the same class are no negatives. Of mixed labels the largest share counts.

    Reference: van den Oord, Li, Vinyals, "Representation learning with contrastive predictive coding", 2018, with the
    projections of Tian, Krishnan, Isola, ICLR 2020.
    """

    pair: str
    width: int = 128
    temperature: float = 0.07
    other_classes: bool = True

    def __post_init__(self) -> None:
        Pair.parse(self.pair)
        check_size(self, self.width, self.temperature)

    @property
    def reads(self) -> Reads:
        return Reads.pairs((Pair.parse(self.pair),))

    def build(self, shapes: Shapes) -> nn.Module:
        pair = Pair.parse(self.pair)
        return Projections(shapes.student[pair.student], shapes.teacher[pair.teacher], self.width)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        assert owned is not None
        pair = Pair.parse(self.pair)
        student, teacher = owned(reading.student[pair.student], reading.teacher[pair.teacher])
        labels = reading.labels.argmax(1) if reading.labels.is_floating_point() else reading.labels
        same = labels if self.other_classes else None
        return losses.info_nce(student, teacher, temperature=self.temperature, labels=same)


def check_size(term: Term, width: int, temperature: float) -> None:
    if width < 1 or temperature <= 0:
        raise UserError(f"{term}: width is 1 at least, and temperature above 0")
