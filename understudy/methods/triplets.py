"""Which of two samples is nearer to a third, as most teachers see it: ``CE + triplets``.

Reference: You, Xu, Xu, Tao, "Learning from multiple teacher networks", KDD 2017.
Weights: the paper's abstract gives no weight and no margin; 1 and 0.5 are this library's. The paper adds soft
targets averaged over the teachers.
"""

from dataclasses import dataclass
from itertools import zip_longest

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from understudy.bounds import NonNegative
from understudy.errors import UserError
from understudy.methods.method import one_stage
from understudy.methods.shared.pairs import EmbeddingTerm
from understudy.methods.shared.relations import distances, flat, one_batch
from understudy.objective.term import Reading, Reads
from understudy.precision import or_nan
from understudy.taps import Tap


def relative_dissimilarity(student: Tensor, *teachers: Tensor, margin: float = 0.5) -> Tensor:
    """The triplets of "Learning from multiple teachers": which is nearer, as most of the teachers see it.

    ``mean_(j, k) max(0, d(s_i, s_j) - d(s_i, s_k) + margin)`` over all pairs of others, j the one that more teachers
    see nearer to i; a pair on which they are divided counts as 0. The mean over the samples i is the mean over all
    triplets of the batch

    Args:
        student: a hidden value (N, ...).
        teachers: one hidden value (N, ...) of each teacher, each of its own width.
        margin: how much nearer j must be; with 0 a student in the teachers' order has no loss. The paper's abstract
            gives neither a margin nor a weight. Memory grows with N^3.

    Reference: You, Xu, Xu, Tao, "Learning from multiple teacher networks", KDD 2017.
    Differences: the form follows the paper's abstract, which does not say whether triplets are drawn, which distance
    is taken and what a divided vote means. Here all triplets count, the distance is Euclidean, and a divided vote has
    no loss.

    >>> values = torch.tensor([[0.0], [1.0], [3.0]])
    >>> relative_dissimilarity(-values, values, margin=0.0)
    tensor([0., 0., 0.])
    """
    if not teachers:
        raise UserError("relative_dissimilarity needs a teacher at least, whose order the student learns")
    for teacher in teachers:
        one_batch(student, teacher)
    votes = torch.stack([_farther(distances(flat(teacher))) for teacher in teachers]).sum(0)
    own = distances(flat(student))
    hinge = F.relu(own.unsqueeze(2) - own.unsqueeze(1) + margin)
    others = len(own) - 1
    value = torch.where(votes > 0, hinge, 0.0).sum((1, 2)) / max(1, others * (others - 1) // 2)
    return or_nan(value, votes)


@dataclass(frozen=True)
class Triplets(EmbeddingTerm):
    """Which of two others is nearer to a sample, as most teachers see it; see ``losses.relative_dissimilarity``.

    ``mean_(j, k) max(0, d(s_i, s_j) - d(s_i, s_k) + margin)``, j the one that more teachers see nearer to i

    Args:
        embedding: the pair of what enters the classifiers of the first teacher and the student, of any widths.
        margin: how much nearer j must be.
        others: the taps of the second teacher and of those after it, in their order. A teacher for which none is named
            votes by the distances of its logits.

    Differences: as in the loss.

    >>> print(Triplets("fc:input -> fc:input", others=("head:input",)))
    Triplets(embedding='fc:input -> fc:input', others=('head:input',))
    """

    margin: NonNegative = 0.5
    others: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "others", tuple(self.others))

    @property
    def reads(self) -> Reads:
        further = tuple((Tap.parse(tap),) for tap in self.others)
        # The logits, or else further ones are not asked.
        return super().reads | Reads(batch=True, teacher_logits=True, further_taps=further)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        pair = self.taps
        taps = (pair.teacher, *map(Tap.parse, self.others))
        votes = [
            teacher[tap] if tap is not None else teacher.logits for teacher, tap in zip_longest(reading.teachers, taps)
        ]
        return relative_dissimilarity(reading.student[pair.student], *votes, margin=self.margin)


def _farther(distance: Tensor) -> Tensor:
    """(i, j, k): 1 where k is farther from i than j is, -1 where it is nearer; 0 with i among them."""
    itself = torch.eye(len(distance), dtype=torch.bool, device=distance.device)
    degenerate = itself.unsqueeze(1) | itself.unsqueeze(2)
    signs = or_nan((distance.unsqueeze(1) - distance.unsqueeze(2)).sign(), distance)  # the sign of NaN is 0
    return torch.where(degenerate, 0.0, signs)


METHOD = one_stage(
    "triplets",
    Triplets,
    stage="labels and triplets",
    weight=1.0,
    family="relations",
    year=2017,
    paper="You et al., Learning from multiple teacher networks",
)
