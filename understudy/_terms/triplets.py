"""The triplets of "Learning from multiple teacher networks" (You et al., 2017)."""

from dataclasses import dataclass
from itertools import zip_longest

from torch import Tensor, nn

from understudy import losses
from understudy.errors import UserError
from understudy.methods.shared.pairs import PairTerm
from understudy.objective.term import Reading, Reads
from understudy.taps import Pair, Tap


@dataclass(frozen=True)
class Triplets(PairTerm):
    """Which of two others is nearer to a sample, as most teachers see it; see ``losses.relative_dissimilarity``.

    ``mean_(j, k) max(0, d(s_i, s_j) - d(s_i, s_k) + margin)``, j the one that more teachers see nearer to i

    Args:
        pair: the first teacher's and the student's hidden values, of any widths.
        margin: how much nearer j must be.
        others: the taps of the second teacher and of those after it, in their order. A teacher for which none is named
            votes by the distances of its logits.

    Differences: as in the loss.
    """

    margin: float = 0.5
    others: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "others", tuple(self.others))
        if self.margin < 0:
            raise UserError(f"{self}: margin must be 0 or more, not {self.margin}")

    @property
    def reads(self) -> Reads:
        further = tuple((Tap.parse(tap),) for tap in self.others)
        return super().reads | Reads(teacher_logits=True, further_taps=further)  # or else further ones are not asked

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        pair = Pair.parse(self.pair)
        taps = (pair.teacher, *map(Tap.parse, self.others))
        votes = [
            teacher[tap] if tap is not None else teacher.logits for teacher, tap in zip_longest(reading.teachers, taps)
        ]
        return losses.relative_dissimilarity(reading.student[pair.student], *votes, margin=self.margin)
