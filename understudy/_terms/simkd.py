"""SimKD (Chen et al., 2022): the student's features become those that the teacher's classifier is given."""

from dataclasses import dataclass

from torch import Tensor, nn

from understudy import losses
from understudy._terms._positive import require_positive
from understudy.methods.shared.maps import BatchNorm, on_common_grid
from understudy.methods.shared.pairs import PairTerm
from understudy.models.grafts import bottleneck
from understudy.objective.term import Reading, Shapes
from understudy.regressors import regressor


@dataclass(frozen=True)
class SimKD(PairTerm):
    """The last features, through a bottleneck of convolutions, against the teacher's; see ``losses.simkd``.

    ``mean (f_t - P(f_s))^2``, P 1x1, 3x3 and 1x1 convolutions, each with batch norm and ReLU

    Args:
        pair: what goes into the teacher's classifier, as the map before it is pooled; the larger of two maps is
            averaged down. Vectors and tokens are joined by a linear layer.
        factor: by which P's inner channels are fewer than the teacher's (code: 2).
        projected: the student's value has passed P already, as in a student that the method ``simkd`` has grafted.

    Differences: the paper keeps P and the teacher's classifier in its product, as the method ``simkd`` does. As a term
    beside others, P goes with the training, as every regressor does, and the student's own classifier learns nothing
    from it.
    """

    factor: int = 2
    projected: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, factor=self.factor)

    def build(self, shapes: Shapes) -> nn.Module | None:
        if self.projected:
            return None
        student, teacher = self.traced(shapes)
        if student.ndim == teacher.ndim == 4:
            return bottleneck(student.shape[1], teacher.shape[1], self.factor, BatchNorm)
        return regressor(student, teacher, kind="linear")

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        student, teacher = self.values(reading)
        if student.ndim == teacher.ndim == 4:
            student, teacher = on_common_grid(student, teacher)
        return losses.simkd(student if owned is None else owned(student), teacher)
