"""The samples' similarities under a Gaussian kernel: ``CE + 100 CC``.

100 is the weight of KD-Zoo's re-implementation on CIFAR.
"""

from dataclasses import dataclass
from math import exp, factorial
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from understudy.bounds import Interval, Positive, Width
from understudy.errors import UserError
from understudy.methods.method import one_stage
from understudy.methods.shared.pairs import EmbeddingTerm
from understudy.methods.shared.relations import inner_products, unit, vectors
from understudy.objective.term import Reading, Reads, Shapes


def correlation_congruence(
    student: Tensor,
    teacher: Tensor,
    *,
    kernel: Literal["gaussian", "inner"] = "gaussian",
    gamma: float = 0.4,
    order: int = 2,
) -> Tensor:
    """Correlation congruence: the samples' similarities under a kernel.

    ``1/N sum_j (k(s_i, s_j) - k(t_i, t_j))^2`` of vectors of length 1; the mean over the samples i is the paper's
    ``1/N^2 || C^S - C^T ||^2``. Gaussian: ``exp(-gamma ||x - y||^2) = exp(-2 gamma) sum_p (2 gamma)^p / p! (x.y)^p``
    up to p = ``order``

    Args:
        student, teacher: (N, ...).
        kernel: the Gaussian's Taylor series, which the paper proposes, or the ``"inner"`` product x.y (its bilinear
            pooling).
        gamma, order: of the Gaussian; 0.4 and 2 in KD-Zoo's re-implementation.

    Reference: Peng et al., "Correlation congruence for knowledge distillation", ICCV 2019.
    Differences: the authors published no code. What CRD's benchmark calls CC, restructured from code that the authors
    shared with its author, is ``correlation_of_differences``. That the inner product is of vectors of length 1 is our
    choice.

    >>> vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> correlation_congruence(vectors, 3 * vectors)
    tensor([0., 0.])
    """
    own, other = vectors(student, teacher)
    alike, expected = inner_products(unit(own)), inner_products(unit(other))
    if kernel == "gaussian":
        alike, expected = _gaussian_series(alike, gamma, order), _gaussian_series(expected, gamma, order)
    return (alike - expected).square().mean(1)


def correlation_of_differences(student: Tensor, teacher: Tensor) -> Tensor:
    """What CRD's benchmark runs as correlation congruence: how much the errors of two samples coincide.

    ``mean_(j != i) < |s_i - t_i|, |s_j - t_j| >``, absolute values element by element

    Args:
        student, teacher: (N, D), of the same width: the benchmark maps both to 128 values with a learned linear
            layer each. Weight 0.02 there.

    Reference: Tian, Krishnan, Isola, "Contrastive representation distillation", ICLR 2020 (its benchmark's code, which
    the authors of Peng et al., ICCV 2019, are said to have sent).
    Differences: the benchmark pairs each sample with the next one of the batch, so its value depends on the order of
    the batch; this is its expectation over all orders. A batch of one sample has no pair, and the value 0.

    >>> correlation_of_differences(torch.tensor([[1.0], [2.0]]), torch.zeros(2, 1))
    tensor([2., 2.])
    """
    own, other = vectors(student, teacher)
    if own.shape != other.shape:
        raise UserError(
            f"the student's {tuple(student.shape)} and the teacher's {tuple(teacher.shape)} differ in width: "
            "map both to the same one"
        )
    error = (own - other).abs()
    others = error.sum(0) - error
    return (error * others).sum(1) / max(1, len(error) - 1)


def _gaussian_series(products: Tensor, gamma: float, order: int) -> Tensor:
    series = torch.ones_like(products)
    for p in range(1, order + 1):
        series = series + (2 * gamma) ** p / factorial(p) * products**p
    return exp(-2 * gamma) * series


@dataclass(frozen=True)
class CC(EmbeddingTerm):
    """The samples' similarities under a kernel; see ``losses.correlation_congruence``.

    ``1/N^2 sum_ij (k(s_i, s_j) - k(t_i, t_j))^2`` of vectors of length 1

    Args:
        embedding: of what goes into the classifiers, of any widths.
        kernel: the Gaussian's Taylor series, or the inner product.
        gamma, order: of the Gaussian (0.4 and 2 in KD-Zoo's re-implementation).

    >>> print(CC("fc:input -> fc:input"))
    CC(embedding='fc:input -> fc:input')
    """

    kernel: Literal["gaussian", "inner"] = "gaussian"
    gamma: Positive = 0.4
    order: Annotated[int, Interval(ge=1, le=100)] = 2

    @property
    def reads(self) -> Reads:
        return super().reads | Reads(batch=True)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        student, teacher = self.values(reading)
        return correlation_congruence(student, teacher, kernel=self.kernel, gamma=self.gamma, order=self.order)


@dataclass(frozen=True)
class CCDifferences(EmbeddingTerm):
    """What CRD's benchmark calls CC: how much the errors of two samples coincide, after learned linear layers.

    ``mean_(j != i) < |r_s(s_i) - r_t(t_i)|, |r_s(s_j) - r_t(t_j)| >``; see ``losses.correlation_of_differences``

    Args:
        embedding: of what goes into the classifiers.
        width: of both linear layers' answers; 128 in the benchmark, and the weight is 0.02.

    Differences: as in the loss. Both layers learn, the teacher's too, as in the benchmark.

    >>> print(CCDifferences("fc:input -> fc:input", width=64))
    CCDifferences(embedding='fc:input -> fc:input', width=64)
    """

    width: Width = 128

    @property
    def reads(self) -> Reads:
        return super().reads | Reads(batch=True)

    def build(self, shapes: Shapes) -> nn.Module:
        student, teacher = self.traced(shapes)
        layers = {
            "student": nn.Linear(student[0].numel(), self.width),
            "teacher": nn.Linear(teacher[0].numel(), self.width),
        }
        return nn.ModuleDict(layers).to(student.dtype)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        assert isinstance(owned, nn.ModuleDict)
        student, teacher = self.values(reading)
        own, other = owned["student"](student.flatten(1)), owned["teacher"](teacher.flatten(1))
        return correlation_of_differences(own, other)


_PAPER = "Peng et al., Correlation congruence for knowledge distillation"
METHOD = one_stage(
    "cc",
    CC,
    stage="labels and correlations",
    family="relations",
    year=2019,
    paper=_PAPER,
    weight=100.0,
)
DIFFERENCES = one_stage(
    "cc-differences",
    CCDifferences,
    stage="labels and differences",
    family="relations",
    year=2019,
    paper=f"{_PAPER}, as CRD's benchmark runs it",
    weight=0.02,
    doc="What CRD's benchmark runs as CC, on differences of samples: ``CE + 0.02 CC``.",
)
