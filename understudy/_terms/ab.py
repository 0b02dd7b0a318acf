"""Activation boundaries (Heo et al., AAAI 2019)."""

from dataclasses import dataclass

from torch import Tensor, nn

from understudy import losses
from understudy.errors import UserError
from understudy.methods.shared.pairs import connector, halved_backwards, is_rectified, named_pairs, parsed
from understudy.objective.term import Reading, Reads, Shapes, Term


@dataclass(frozen=True)
class AB(Term):
    """The student's neurons are on and off where the teacher's are: a squared hinge, halved with every pair before.

    ``sum_k 2^(k-K) || rho(T_k) relu(m - S_k) + (1 - rho(T_k)) relu(m + S_k) ||^2``; see
    ``losses.activation_boundaries``.

    Args:
        pairs: ``"teacher.tap -> student.tap"`` from input to output; the last one counts whole, the one before it half.
        margin: m.

    Of the teacher only signs count, so its taps may lie before or after a ReLU. The student's maps pass a connector,
    a 1x1 convolution and batch norm, wherever shapes differ or the student's tap lies after a ReLU (what the traced
    values show): what comes out stands for the pre-activation. To read the pre-activation itself, tap the batch norm
    or ``"...relu:input"``.

    Reference: Heo et al., "Knowledge transfer via distillation of activation boundaries formed by hidden neurons",
    AAAI 2019.
    Differences: the code always taps before the ReLU, and has no connector where channels agree.
    """

    pairs: tuple[str, ...]
    margin: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "pairs", named_pairs(self, self.pairs))
        if self.margin <= 0:
            raise UserError(f"AB: a margin is above 0, not {self.margin}")

    @property
    def reads(self) -> Reads:
        return Reads.pairs(parsed(self.pairs))

    def build(self, shapes: Shapes) -> nn.Module:
        values = [(shapes.student[pair.student], shapes.teacher[pair.teacher]) for pair in parsed(self.pairs)]
        return nn.ModuleList(_connector(own, other) for own, other in values)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        assert isinstance(owned, nn.ModuleList)
        return halved_backwards(
            losses.activation_boundaries(
                module(reading.student[pair.student]), reading.teacher[pair.teacher], margin=self.margin
            )
            for pair, module in zip(parsed(self.pairs), owned, strict=True)
        )


def _connector(student: Tensor, teacher: Tensor) -> nn.Module:
    if student.shape[1:] == teacher.shape[1:] and not is_rectified(student):
        return nn.Identity()
    return connector(student, teacher)
