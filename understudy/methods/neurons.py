"""Labels, and the neurons that enter the teacher's classifier: ``CE + 5 mean (f - g)^2``.

Reference: Luo et al., "Face model compression by distilling knowledge from neurons", AAAI 2016.
Weight: the paper has this loss alone, a sum over neurons, since its faces are compared by these neurons; so no weight
beside labels is published. 10 times half the mean suits networks of any width. The student's own classifier learns from
the labels; ``class-distance`` learns the same features for the teacher's classifier instead, and from no labels.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import MinLen
from torch import Tensor, nn

from understudy.bounds import PositiveShare, Whole
from understudy.errors import UserError
from understudy.methods.method import one_stage
from understudy.methods.shared.logits import Reduce
from understudy.methods.shared.maps import difference
from understudy.methods.shared.pairs import EmbeddingTerm, as_vectors, vector_regressor
from understudy.objective.term import Reading, Shapes
from understudy.precision import wide
from understudy.taps import Tap, find
from understudy.tasks.task import Task

PAPERS_SHARE = 422 / 512


def neurons(student: Tensor, teacher: Tensor, *, selected: Tensor | None = None) -> Tensor:
    """Face model compression: half the squared distance to the teacher's (selected) neurons, one value per sample.

    ``1/2 sum_i (f_i - g_i)^2`` over the selected neurons i

    Args:
        student: (N, D), or (N, K) where ``selected`` holds K numbers.
        teacher: the top hidden layer, (N, D).
        selected: which of the teacher's neurons count: their numbers (K) of whole type, for a student that has these
            K only; or a mask (D) of bool, for a student that has all D. None means all.

    The paper's only loss, averaged over samples; it selects 422 of 512 neurons.

    Reference: Luo et al., "Face model compression by distilling knowledge from neurons", AAAI 2016.
    Differences: none known; see ``select_neurons`` for the selection.

    >>> neurons(torch.zeros(1, 1), torch.tensor([[1.0, 2.0]]), selected=torch.tensor([1]))
    tensor([2.])
    """
    return 0.5 * difference(*_chosen(student, teacher, selected)).square().sum(1)


def select_neurons(
    accuracies: Tensor,
    count: int,
    *,
    cost: Tensor | None = None,
    redundancy: float = 1.0,
    iterations: int = 50,
) -> Tensor:
    """The numbers, ascending, of the ``count`` neurons that tell most and repeat each other least.

    ``q_i = sigmoid(-cost_i - lambda mean_j q_j exp(-1/2 |x_i - x_j|^2))``, the mean-field solution of the energy
    ``sum_i y_i cost_i + lambda sum_{i<j} y_i y_j exp(-1/2 |x_i - x_j|^2) / (D - 1)``: the neurons of the highest q.

    Args:
        accuracies: x, how well each neuron by itself tells each attribute, (D, attributes) (paper: 40 of CelebA).
        count: how many to keep (paper: 422 of 512).
        cost: the cost of selecting each neuron, (D); None is the mean best accuracy less the neuron's best one. The
            paper's is ``(max - mean over the attributes that do not tell persons) / (max - mean over those that do)``
            of the neuron's accuracies, each the mean of the rates of true positives and true negatives.
        redundancy: lambda.
        iterations: of the fixed point, each halfway from the last, which keeps it from swinging.

    Reference: Luo et al., "Face model compression by distilling knowledge from neurons", AAAI 2016.
    Differences: the paper's cost, which a reader's notes give, wants to know which attributes tell persons; the default
    stands for it. Its lambda was not found. The pairwise term counts each pair of selected neurons once, the paper's
    twice, and is divided by D - 1 here, so that lambda does not depend on D. The paper keeps the neurons that come out
    as selected; here ``count`` is given.

    >>> select_neurons(torch.tensor([[0.9, 0.1], [0.5, 0.5], [0.1, 0.9]]), 2)
    tensor([0, 2])
    """
    if accuracies.ndim != 2 or not 0 < count <= accuracies.shape[0]:
        raise UserError(f"cannot select {count} neurons by accuracies {tuple(accuracies.shape)}, (neurons, attributes)")
    x = wide(accuracies)
    best = x.amax(1)
    price = best.mean() - best if cost is None else wide(cost)
    alike = torch.exp(-0.5 * (x.unsqueeze(1) - x.unsqueeze(0)).square().sum(2)).fill_diagonal_(0)
    chosen = torch.sigmoid(-price)
    for _ in range(iterations):
        pressure = (alike * chosen).sum(1) / max(1, len(x) - 1)
        chosen = 0.5 * chosen + 0.5 * torch.sigmoid(-price - redundancy * pressure)
    return chosen.topk(count).indices.sort().values


@dataclass(frozen=True)
class Neurons(EmbeddingTerm):
    """The student's top hidden layer follows the teacher's (selected) neurons.

    ``1/2 sum_i (f_i - g_i)^2`` over the selected neurons i; see ``losses.neurons``.

    Args:
        embedding: the pair of what enters the classifiers; maps and tokens are averaged over their places.
        share: of the teacher's neurons that are selected (paper: 422 of 512, 0.82); 1 takes all.
        selected: the numbers of the neurons, if they are known; ``share`` is then not read.
        reduce: over the neurons, the paper's ``"sum"``, or the ``"mean"``, for which a weight fits any width.

    A student of another width passes a linear layer; one with as many neurons as are selected needs none.

    Differences: the paper selects by how well each neuron tells each of 40 attributes of faces; data without attributes
    have their classes, and here the size of a neuron's weights in the teacher's classifier, as a share of the largest
    one of the class, stands for how well it tells that class.

    >>> print(10.0 * Neurons("fc:input -> fc:input", share=0.8))
    10 * Neurons(embedding='fc:input -> fc:input', share=0.8)
    """

    share: PositiveShare = 1.0
    selected: Annotated[tuple[Whole, ...], MinLen(1)] | None = None
    reduce: Reduce = "mean"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.selected is not None:
            object.__setattr__(self, "selected", tuple(self.selected))
            if len(set(self.selected)) < len(self.selected):
                raise UserError("Neurons: selected holds a number twice")

    def misfit(self, task: Task) -> str | None:
        if task.dense and self.share < 1 and self.selected is None:
            return (
                f"it selects neurons by a linear classifier, and answers of task {task.name!r} are dense: take share=1"
            )
        return None

    def build(self, shapes: Shapes) -> nn.Module | None:
        student, teacher = map(as_vectors, self.traced(shapes))
        selected = self._selection(shapes.teacher_network, self.taps.teacher, teacher)
        if selected is None:
            return vector_regressor(student, teacher)
        return Selected(vector_regressor(student, teacher.index_select(1, selected)), selected)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        student, teacher = map(as_vectors, self.values(reading))
        selected = owned.selected if isinstance(owned, Selected) else None
        values = neurons(student if owned is None else owned(student), teacher, selected=selected)
        count = teacher.shape[1] if selected is None else len(selected)
        return values if self.reduce == "sum" else values / count

    def _selection(self, teacher: nn.Module | None, tap: Tap, values: Tensor) -> Tensor | None:
        width = values.shape[1]
        if self.selected is not None:
            if max(self.selected) >= width:
                raise UserError(f"Neurons: selected holds {max(self.selected)}, and {tap} has {width} neurons")
            return torch.tensor(self.selected, device=values.device)
        if self.share == 1:
            return None
        assert teacher is not None
        return select_neurons(_telling(teacher, tap, width), max(1, round(self.share * width))).to(values.device)


class Selected(nn.Module):
    """Which of the teacher's neurons count, and the student's way to so many."""

    selected: Tensor

    def __init__(self, regressor: nn.Module | None, selected: Tensor):
        super().__init__()
        self.regressor = regressor or nn.Identity()
        self.register_buffer("selected", selected)

    def forward(self, values: Tensor) -> Tensor:
        answer: Tensor = self.regressor(values)
        return answer


def _chosen(student: Tensor, teacher: Tensor, selected: Tensor | None) -> tuple[Tensor, Tensor]:
    if selected is None:
        return student, teacher
    if selected.dtype == torch.bool:
        if selected.shape != teacher.shape[1:]:
            raise UserError(f"a mask {tuple(selected.shape)} does not fit the teacher's {tuple(teacher.shape)} neurons")
        return torch.where(selected, student, 0), torch.where(selected, teacher, 0)
    return student, teacher.index_select(1, selected)


def _telling(teacher: nn.Module, tap: Tap, width: int) -> Tensor:
    """The weight of each neuron for each class, 0 to 1, (neurons, classes), from the classifier that reads it."""
    tapped = find(teacher, tap)
    candidates = [tapped] if tap.side == "input" and isinstance(tapped, nn.Linear) else list(teacher.modules())
    reading = [m for m in candidates if isinstance(m, nn.Linear) and m.in_features == width]
    if not reading:
        raise UserError(
            f"Neurons: the teacher has no linear layer that reads the {width} neurons of {tap}: "
            "say which are selected, or take share=1"
        )
    weights = reading[-1].weight.detach().abs().float().T
    return weights / weights.amax(0).clamp_min(1e-12)


_PAPER = "Luo et al., Face model compression by distilling knowledge from neurons"
METHOD = one_stage(
    "neurons",
    Neurons,
    stage="labels and neurons",
    weight=10.0,
    label_weight=1.0,
    family="features",
    year=2016,
    paper=_PAPER,
)
SELECTED = one_stage(
    "selected-neurons",
    Neurons,
    preset={"share": PAPERS_SHARE},
    doc="""Those of the teacher's top neurons that tell most and repeat least: ``CE + 5 mean (f - g)^2``.

    As ``neurons``, on the paper's share of the teacher's neurons, 422 of 512, chosen by the weights of its classifier.
    """,
    stage="labels and selected neurons",
    weight=10.0,
    label_weight=1.0,
    family="features",
    year=2016,
    paper=_PAPER,
)
