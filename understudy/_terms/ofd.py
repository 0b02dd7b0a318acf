"""A comprehensive overhaul of feature distillation (Heo et al., ICCV 2019)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from understudy import losses
from understudy._losses._boundaries import bn_margin
from understudy.methods.shared.pairs import connector, halved_backwards, is_rectified, named_pairs, parsed
from understudy.objective.term import Reading, Reads, Shapes, Term
from understudy.taps import Tap, find


@dataclass(frozen=True)
class OFD(Term):
    """The student follows the teacher's margin ReLU by a partial squared distance, halved with every pair before.

    ``sum_k 2^(k-K) sum_i 0 if s_i <= t_i <= 0 else (t_i - s_i)^2`` with ``t = max(T, m_c)``; see ``losses.ofd``.

    Args:
        pairs: ``"teacher.tap -> student.tap"`` from input to output; the last one counts whole, the one before it half.

    The margin m of each channel is what the paper computes from the batch norm before the ReLU: where the teacher's tap
    is a batch norm, or where its traced values are never negative (a ReLU ends them) and a batch norm of as many
    channels lies inside the tapped module, the last one. Otherwise it is measured: the mean of the negative values,
    running over all batches. A value that a ReLU has cut to zero stands for the margin. The student's maps pass a 1x1
    convolution and batch norm, always.

    Reference: Heo et al., "A comprehensive overhaul of feature distillation", ICCV 2019.
    Differences: the paper always taps before the ReLU (name ``"...relu:input"`` or a batch norm for that), where values
    between margin and zero keep their difference. Its code runs the teacher in training mode, here it is in evaluation.
    """

    pairs: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "pairs", named_pairs(self, self.pairs))

    @property
    def reads(self) -> Reads:
        return Reads.pairs(parsed(self.pairs))

    def build(self, shapes: Shapes) -> nn.Module:
        network = shapes.teacher_network
        assert network is not None
        parts = nn.ModuleList()
        for pair in parsed(self.pairs):
            own, other = shapes.student[pair.student], shapes.teacher[pair.teacher]
            parts.append(Overhaul(connector(own, other), other, _batch_norm(network, pair.teacher, other)))
        return parts

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        assert isinstance(owned, nn.ModuleList)
        return halved_backwards(
            part(reading.student[pair.student], reading.teacher[pair.teacher])
            for pair, part in zip(parsed(self.pairs), owned, strict=True)
        )

    def learn(self, reading: Reading, owned: nn.Module) -> None:
        assert isinstance(owned, nn.ModuleList)
        for pair, part in zip(parsed(self.pairs), owned, strict=True):
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
        return losses.ofd(self.connector(student), teacher, margin)

    def measure(self, values: Tensor) -> None:
        """The mean of the batches' means, each channel over the batches in which it was negative somewhere."""
        channels = values.detach().float().transpose(0, 1).flatten(1)
        negative = (channels < 0).sum(1)
        mean = channels.clamp_max(0).sum(1) / negative.clamp_min(1)
        self.batches += negative > 0
        self.margin += torch.where(negative > 0, (mean - self.margin) / self.batches.clamp_min(1), 0)


def _batch_norm(network: nn.Module, tap: Tap, traced: Tensor) -> _BatchNorm | None:
    """The one whose answers end in the tapped value: the tap itself, or the last before the ReLU that ends it."""
    module = find(network, tap)
    if tap.side == "input":
        return None
    inside = [module] if isinstance(module, _BatchNorm) else list(module.modules()) if is_rectified(traced) else []
    fitting = [m for m in inside if isinstance(m, _BatchNorm) and m.affine and m.num_features == traced.shape[1]]
    return fitting[-1] if fitting else None
