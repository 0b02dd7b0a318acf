"""Class attention transfer (Guo et al., 2023)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from understudy import losses
from understudy._losses._maps import class_activation_maps
from understudy._terms._positive import require_positive
from understudy.errors import UserError
from understudy.methods.shared.maps import require_maps
from understudy.objective.term import Reading, Reads, Shapes, Term
from understudy.taps import Pair, Tap, find, inner


@dataclass(frozen=True)
class CATKD(Term):
    """Which places speak for which class: both networks' class activation maps compared; see ``losses.cat_kd``.

    ``mean (N(pool(t)) - N(pool(s)))^2``, t and s each classifier's weights times the last maps

    Args:
        maps: the pair of last maps before they are pooled.
        heads: the pair of classifiers: linear layers (or 1x1 convolutions) right after the pooling. Nothing is read
            there but their weights: the teacher's as they are at the start, the student's as they are now.
        resolution: height and width that the maps are averaged down to (code: 2 or 4).
        normalize: scale each class's map to unit length (paper, and the code for unlike architectures).

    Differences: as in the loss. What stands between the map and the pooling (a last batch norm) is not in the maps.
    """

    maps: str
    heads: str
    resolution: int = 2
    normalize: bool = True

    def __post_init__(self) -> None:
        Pair.parse(self.maps)
        Pair.parse(self.heads)
        require_positive(self, resolution=self.resolution)

    @property
    def reads(self) -> Reads:
        return Reads.pairs((Pair.parse(self.maps),))

    def build(self, shapes: Shapes) -> nn.Module:
        maps, heads = Pair.parse(self.maps), Pair.parse(self.heads)
        student, teacher = shapes.student[maps.student], shapes.teacher[maps.teacher]
        require_maps(self, student, teacher)
        assert shapes.teacher_network is not None
        own = self._weight(shapes.student_network, heads.student, student, "the student")
        weight = self._weight(shapes.teacher_network, heads.teacher, teacher, "the teacher")
        if len(own) != len(weight):
            raise UserError(f"{self}: the student tells {len(own)} classes, the teacher {len(weight)}")
        return _TeachersWeight(weight)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        assert isinstance(owned, _TeachersWeight)
        assert reading.student_network is not None
        maps, head = Pair.parse(self.maps), Pair.parse(self.heads).student
        # Live, so that the student's classifier learns as well; by its path, as it is asked for at every step.
        classifier = inner(reading.student_network).get_submodule(head.path)
        assert isinstance(classifier.weight, Tensor)
        own = class_activation_maps(reading.student[maps.student], classifier.weight.flatten(1))
        other = class_activation_maps(reading.teacher[maps.teacher], owned.weight)
        return losses.cat_kd(own, other, resolution=self.resolution, normalize=self.normalize)

    def _weight(self, network: nn.Module, head: Tap, maps: Tensor, called: str) -> Tensor:
        weight = getattr(find(network, head, called=called), "weight", None)
        channels = maps.shape[1]
        if not isinstance(weight, Tensor) or weight.ndim < 2 or weight.flatten(1).shape[1] != channels:
            raise UserError(
                f"{self}: {called}'s {head.path!r} has no weight (classes, {channels}) for its map of {channels} "
                "channels: the classifier must stand right after the pooled map"
            )
        return weight.flatten(1)


class _TeachersWeight(nn.Module):
    weight: Tensor

    def __init__(self, weight: Tensor):
        super().__init__()
        self.register_buffer("weight", weight.detach().clone(memory_format=torch.contiguous_format))
