"""Face model compression (Luo et al., 2016): the neurons of the top hidden layer, all or the best of them."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from understudy import losses
from understudy._losses._neurons import select_neurons
from understudy.errors import UserError
from understudy.methods.shared.pairs import as_vectors, vector_regressor
from understudy.objective.term import Reading, Reads, Shapes, Term
from understudy.taps import Pair, Tap, find


@dataclass(frozen=True)
class Neurons(Term):
    """The student's top hidden layer answers as the teacher's (selected) neurons do.

    ``1/2 sum_i (f_i - g_i)^2`` over the selected neurons i; see ``losses.neurons``.

    Args:
        pair: ``"teacher.tap -> student.tap"`` of vectors; maps and tokens are averaged over their places.
        share: of the teacher's neurons that are selected (paper: 422 of 512, 0.82); 1 takes all.
        selected: their numbers, where they are known: then ``share`` is not read.
        reduce: over the neurons, the paper's ``"sum"``, or the ``"mean"``, for which a weight fits any width.

    A student of another width passes a linear layer; one with as many neurons as are selected needs none.

    Reference: Luo et al., "Face model compression by distilling knowledge from neurons", AAAI 2016.
    Differences: the paper selects by how well each neuron tells each of 40 attributes of faces; data without attributes
    have their classes, and here the size of a neuron's weights in the teacher's classifier, as a share of the largest
    one of the class, stands for how well it tells that class.
    """

    pair: str
    share: float = 1.0
    selected: tuple[int, ...] | None = None
    reduce: Literal["sum", "mean"] = "sum"

    def __post_init__(self) -> None:
        Pair.parse(self.pair)
        if not 0 < self.share <= 1:
            raise UserError(f"Neurons: share is above 0 and at most 1, not {self.share}")
        if self.selected is not None:
            object.__setattr__(self, "selected", tuple(self.selected))
            if not self.selected or min(self.selected) < 0 or len(set(self.selected)) < len(self.selected):
                raise UserError("Neurons: selected holds different numbers from 0 on, one at least")

    @property
    def reads(self) -> Reads:
        return Reads.pairs((Pair.parse(self.pair),))

    def build(self, shapes: Shapes) -> nn.Module | None:
        pair = Pair.parse(self.pair)
        own, other = as_vectors(shapes.student[pair.student]), as_vectors(shapes.teacher[pair.teacher])
        selected = self._selection(shapes.teacher_network, pair.teacher, other)
        if selected is None:
            return vector_regressor(own, other)
        return Selected(vector_regressor(own, other.index_select(1, selected)), selected)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        pair = Pair.parse(self.pair)
        own, other = as_vectors(reading.student[pair.student]), as_vectors(reading.teacher[pair.teacher])
        selected = owned.selected if isinstance(owned, Selected) else None
        values = losses.neurons(own if owned is None else owned(own), other, selected=selected)
        count = other.shape[1] if selected is None else len(selected)
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


def _telling(teacher: nn.Module, tap: Tap, width: int) -> Tensor:
    """How much each neuron says about each class, 0 to 1, (neurons, classes), by the classifier that reads it."""
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
