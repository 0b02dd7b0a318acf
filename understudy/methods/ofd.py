"""Labels, and the teacher's maps behind a margin ReLU: ``CE + 0.001 OFD``.

Reference: Heo et al., "A comprehensive overhaul of feature distillation", ICCV 2019.
Weight: 0.001 is that of the authors' code for CIFAR, of a sum over elements; 0.0001 for ImageNet.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from understudy.errors import UserError
from understudy.methods.method import one_stage
from understudy.methods.shared.maps import require_same_shape
from understudy.methods.shared.pairs import PairsTerm, after_relu, connector, halved_backwards, is_rectified, parsed
from understudy.objective.term import Reading, Reads, Shapes
from understudy.precision import wide
from understudy.taps import Tap, find, inner

RARELY_NEGATIVE = 0.001
SMALLEST_SCALE = 1e-12


def ofd(student: Tensor, teacher: Tensor, margin: Tensor) -> Tensor:
    """Overhaul of feature distillation: partial squared distance to the teacher's margin ReLU, one value per sample.

    ``sum_i 0 if s_i <= t_i <= 0 else (t_i - s_i)^2`` with ``t = max(T, m_c)``

    Args:
        student: pre-activations after a 1x1 convolution and batch norm, (N, C, ...).
        teacher: pre-activations of the same shape.
        margin: m, one negative value per channel (C): the mean of the teacher's negative answers, by ``bn_margin``.

    The code's weight is 1e-3 (CIFAR) or 1e-4 (ImageNet) at the last map, half of it at each earlier one, summed over
    elements and averaged over the batch.

    Reference: Heo et al., "A comprehensive overhaul of feature distillation", ICCV 2019.
    Differences: none to the authors' code, which halves the weight for each earlier map, too.

    >>> ofd(torch.tensor([[-2.0, 1.0]]), torch.tensor([[-3.0, 3.0]]), torch.tensor([-1.0, -1.0]))
    tensor([4.])
    """
    require_same_shape(student, teacher)
    if margin.shape != teacher.shape[1:2]:
        raise UserError(f"the margin {tuple(margin.shape)} is not one value for each channel of {tuple(teacher.shape)}")
    own = wide(student)
    target = torch.maximum(wide(teacher), wide(margin).reshape(-1, *[1] * (teacher.ndim - 2)))
    left = (own <= target) & (target <= 0)
    return torch.where(left, 0, (target - own).square()).flatten(1).sum(1)


def bn_margin(weight: Tensor, bias: Tensor) -> Tensor:
    """The mean of a channel's negative answers, from the batch norm before the ReLU: one margin per channel.

    ``E[x | x < 0] = b - s phi(b/s) / Phi(-b/s)`` for ``x ~ N(b, s^2)``, ``s = |weight|``; where fewer than one in a
    thousand answers are negative it is ``-3 s``.

    Args:
        weight, bias: of the teacher's batch norm, (C).

    Reference: Heo et al., "A comprehensive overhaul of feature distillation", ICCV 2019.

    >>> bn_margin(torch.ones(1), torch.zeros(1))
    tensor([-0.7979])
    """
    scale = wide(weight.detach()).abs().clamp_min(SMALLEST_SCALE)
    centre = wide(bias.detach())
    ratio = centre / scale
    negative = torch.special.ndtr(-ratio)
    density = torch.exp(-0.5 * ratio.square()) / math.sqrt(2 * math.pi)
    expected = centre - scale * density / negative.clamp_min(RARELY_NEGATIVE)
    return torch.where(negative > RARELY_NEGATIVE, expected, -3 * scale)


@dataclass(frozen=True)
class OFD(PairsTerm):
    """The student follows the teacher's margin ReLU by a partial squared distance, halved with every pair before.

    ``sum_k 2^(k-K) sum_i 0 if s_i <= t_i <= 0 else (t_i - s_i)^2`` with ``t = max(T, m_c)``; see ``losses.ofd``.

    Args:
        pairs: ``"teacher.tap -> student.tap"`` from input to output; the last one counts whole, the one before it half.

    Paper and code tap both networks before the ReLU; the method proposes such places (``"layer1.2.relu2:input"``). The
    margin m of each channel is computed from the batch norm before that ReLU: the tapped one, or the last that stands
    before the tapped ReLU in its module, or inside a tapped module whose traced values a ReLU has cut. Otherwise it is
    measured: the mean of the negative values, running over all batches. The student's maps pass a 1x1 convolution and
    batch norm, always.

    Differences: where a tap lies after the ReLU (a network that reuses its ReLU, or calls it as a function, has no
    other place), a value that was cut to zero stands for the margin; ``remarks`` says so. A student's map of another
    size is resized to the teacher's grid. The code runs the teacher in training mode, here it is in evaluation.

    >>> print(0.001 * OFD(["layer1 -> layer1", "layer2 -> layer2"]))
    0.001 * OFD(pairs=('layer1 -> layer1', 'layer2 -> layer2'))
    """

    @property
    def reads(self) -> Reads:
        return super().reads | Reads(batch=True)

    def build(self, shapes: Shapes) -> nn.Module:
        network = shapes.teacher_network
        assert network is not None
        parts = nn.ModuleList()
        for pair, (student, teacher) in zip(parsed(self.pairs), self.traced(shapes), strict=True):
            parts.append(Overhaul(connector(student, teacher), teacher, _batch_norm(network, pair.teacher, teacher)))
        return parts

    def remarks(self, shapes: Shapes) -> Iterable[str]:
        return after_relu(self.pairs, shapes, student=True)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        assert isinstance(owned, nn.ModuleList)
        return halved_backwards(
            part(student, teacher) for part, (student, teacher) in zip(owned, self.values(reading), strict=True)
        )

    def learn(self, reading: Reading, owned: nn.Module) -> None:
        assert isinstance(owned, nn.ModuleList)
        for part, pair in zip(owned, parsed(self.pairs), strict=True):
            assert isinstance(part, Overhaul)
            if part.measured:
                part.measure(reading.teacher[pair.teacher])


class Overhaul(nn.Module):
    """The connector of one pair and the margins of its teacher's channels."""

    margin: Tensor
    batches: Tensor

    def __init__(self, to_teacher: nn.Module, traced: Tensor, norm: _BatchNorm | None):
        super().__init__()
        self.connector = to_teacher
        self.rectified = is_rectified(traced)
        self.measured = norm is None
        channels = traced.shape[1]
        self.register_buffer(
            "margin", bn_margin(norm.weight, norm.bias) if norm else traced.new_zeros(channels).float()
        )
        self.register_buffer("batches", traced.new_zeros(channels).float())  # in which a channel was negative somewhere
        if self.measured:
            self.measure(traced)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        margin = self.margin
        if self.rectified:
            cut = margin.reshape(-1, *[1] * (teacher.ndim - 2)).to(teacher.dtype)
            teacher = torch.where(teacher > 0, teacher, cut)
        return ofd(self.connector(student), teacher, margin)

    def measure(self, values: Tensor) -> None:
        """The mean of the batches' means, each channel over the batches in which it was negative somewhere."""
        channels = values.detach().float().transpose(0, 1).flatten(1)
        negative = (channels < 0).sum(1)
        mean = channels.clamp_max(0).sum(1) / negative.clamp_min(1)
        self.batches += negative > 0
        self.margin += torch.where(negative > 0, (mean - self.margin) / self.batches.clamp_min(1), 0)


def _batch_norm(network: nn.Module, tap: Tap, traced: Tensor) -> _BatchNorm | None:
    """The one whose answers end in the tapped value: the tap itself, or the last before the ReLU that ends it.

    Before a ReLU's input that is the last one that stands before the ReLU in the same module, as in the authors' code:
    of a residual block the norm of its last convolution, not that of its shortcut.
    """
    module = find(network, tap)
    inside: list[nn.Module]
    if tap.side == "input":
        around = list(find(network, Tap(parent)).children() if (parent := _parent(tap)) else inner(network).children())
        inside = around[: around.index(module)] if module in around and not list(module.parameters()) else []
    elif isinstance(module, _BatchNorm):
        inside = [module]
    else:
        inside = list(module.modules()) if is_rectified(traced) else []
    fitting = [m for m in inside if isinstance(m, _BatchNorm) and m.affine and m.num_features == traced.shape[1]]
    return fitting[-1] if fitting else None


def _parent(tap: Tap) -> str:
    return tap.path.rpartition(".")[0]


METHOD = one_stage(
    "ofd",
    OFD,
    stage="labels and maps",
    weight=0.001,
    label_weight=1.0,
    proposed_by={"pairs": "before activations"},
    family="features",
    year=2019,
    paper="Heo et al., A comprehensive overhaul of feature distillation",
)
