"""Channel-wise distillation (Shu et al., 2021)."""

from dataclasses import dataclass

from torch import Tensor, nn

from understudy import losses
from understudy._terms._positive import require_positive
from understudy.methods.shared.maps import require_maps
from understudy.methods.shared.pairs import PairTerm
from understudy.objective.term import Reading, Shapes
from understudy.regressors import Regressor, regressor


@dataclass(frozen=True)
class CWD(PairTerm):
    """Where each channel is active: divergence of its softmax over the places; see ``losses.cwd``.

    ``T^2 / C sum_c KL(softmax(t_c / T) || softmax(r(s)_c / T))``

    Args:
        pair: of maps.
        temperature: T (paper: 4).
        regressor: r, where the shapes differ: the paper's 1x1 convolution, with a resize where the sizes differ too.
    """

    temperature: float = 4.0
    regressor: Regressor = "linear"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, temperature=self.temperature)

    def build(self, shapes: Shapes) -> nn.Module | None:
        student, teacher = self.traced(shapes)
        require_maps(self, teacher)
        same = student.shape == teacher.shape
        return None if same else regressor(student, teacher, kind=self.regressor)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        student, teacher = self.values(reading)
        return losses.cwd(student if owned is None else owned(student), teacher, temperature=self.temperature)
