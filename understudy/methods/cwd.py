"""Where each channel of the last map is active: ``CE + 50 CWD``.

Temperature 4 is the authors', as is a weight of 3 on a map of logits (``exp_cwd.sh channel kl 3 4`` in the README of
their SemSeg-distill). The 50 for a hidden map is that of CIRKD's commands (``--lambda-cwd-fea 50.``).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from understudy.bounds import Temperature
from understudy.methods.method import one_stage
from understudy.methods.shared.maps import require_maps, require_places, require_same_shape
from understudy.methods.shared.pairs import MapsTerm
from understudy.objective.term import Reading, Shapes
from understudy.precision import wide
from understudy.taps.modules import Resize
from understudy.taps.regressors import Regressor, regressor
from understudy.taps.tracing import is_the_answer

MOST_OF_SCORES = 10.0  # a weight above which a warning is due on maps of class scores


def cwd(student: Tensor, teacher: Tensor, *, temperature: float = 4.0) -> Tensor:
    """Channel-wise distillation: divergence of each channel's softmax over the places, one value per sample.

    ``T^2 / C sum_c KL(softmax(t_c / T) || softmax(s_c / T))``, the softmax over H x W

    Args:
        student, teacher: maps (N, C, H, W) of the same shape (a 1x1 convolution before the student's where the
            channels differ).
        temperature: T (paper: 4).

    The weight, averaged over the batch, is 3 on a segmenter's map of logits in the authors' commands, and 50 on a
    hidden map in those of CIRKD.

    Reference: Shu et al., "Channel-wise knowledge distillation for dense prediction", ICCV 2021.
    Differences: none known to the authors' code.

    >>> maps = torch.arange(8.0).reshape(1, 2, 2, 2)
    >>> cwd(maps, maps)
    tensor([0.])
    """
    require_same_shape(student, teacher)
    own = F.log_softmax(wide(student).flatten(2) / temperature, dim=2)
    other = F.log_softmax(wide(teacher).flatten(2) / temperature, dim=2)
    return temperature**2 * F.kl_div(own, other, reduction="none", log_target=True).sum(2).mean(1)


@dataclass(frozen=True)
class CWD(MapsTerm):
    """Where each channel is active: divergence of its softmax over the places; see ``losses.cwd``.

    ``T^2 / C sum_c KL(softmax(t_c / T) || softmax(r(s)_c / T))``

    Args:
        maps: of maps.
        temperature: T (paper: 4).
        regressor: r, where the channels differ: the paper's 1x1 convolution, with a resize where the sizes differ too;
            where only these differ, r is the resize.

    >>> print(CWD("layer3 -> layer3"))
    CWD(maps='layer3 -> layer3')
    """

    temperature: Temperature = 4.0
    regressor: Regressor = "linear"

    def build(self, shapes: Shapes) -> nn.Module | None:
        student, teacher = self.traced(shapes)
        require_maps(self, teacher)
        require_places(self, self.taps, student, teacher)
        if student.shape == teacher.shape:
            return None
        if student.shape[1] == teacher.shape[1]:  # channel by channel, on the teacher's grid
            return Resize((teacher.shape[2], teacher.shape[3]))
        return regressor(student, teacher, kind=self.regressor)

    def remarks(self, shapes: Shapes) -> Iterable[str]:
        student, teacher = self.traced(shapes)
        scores = is_the_answer(student, shapes.student.output) or is_the_answer(teacher, shapes.teacher.output)
        if scores and shapes.weight is not None and shapes.weight > MOST_OF_SCORES:
            yield (
                f"{self.taps} are maps of class scores, on which the authors' weight is 3, and here it is "
                f"{shapes.weight:g}, which leaves little of the labels' loss: set weight = 3, or name hidden maps"
            )

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        student, teacher = self.values(reading)
        return cwd(student if owned is None else owned(student), teacher, temperature=self.temperature)


METHOD = one_stage(
    "cwd",
    CWD,
    stage="labels and channels",
    family="features",
    year=2021,
    paper="Shu et al., Channel-wise knowledge distillation for dense prediction",
    weight=50.0,
)
