"""Inter-channel correlation (Liu et al., 2021)."""

from dataclasses import dataclass

from torch import Tensor, nn

from understudy import losses
from understudy.errors import UserError
from understudy.methods.shared.maps import BatchNorm, require_maps
from understudy.methods.shared.pairs import PairTerm
from understudy.objective.term import Reading, Shapes


@dataclass(frozen=True)
class ICKD(PairTerm):
    """Which channels go together: squared distance of their normalised products; see ``losses.ickd``.

    ``1/C || N(t t^T) - N(r(s) r(s)^T) ||^2``, N scaling each row to length 1

    Args:
        pair: of maps; their sizes need not agree.
        embed: whether r, a 1x1 convolution with batch norm, stands after the student's map: where the channels differ
            (None), or always (the authors' code).

    Differences: as in the loss; where the channels agree, nothing is put between by default.
    """

    embed: bool | None = None

    def build(self, shapes: Shapes) -> nn.Module | None:
        student, teacher = self.traced(shapes)
        require_maps(self, student, teacher)
        channels, wanted = student.shape[1], teacher.shape[1]
        if self.embed is False and channels != wanted:
            raise UserError(f"{self}: {channels} channels are not comparable with {wanted}: leave out embed=False")
        if channels == wanted and not self.embed:
            return None
        return nn.Sequential(nn.Conv2d(channels, wanted, 1, bias=False), BatchNorm(wanted)).to(student.dtype)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        student, teacher = self.values(reading)
        return losses.ickd(student if owned is None else owned(student), teacher)
