"""Correlation congruence (CC; Peng et al., ICCV 2019)."""

from typing import Literal

from understudy._terms.cc import CC, CCDifferences
from understudy.methods.method import Method
from understudy.stage import Stage
from understudy.terms import CE
from understudy.training.course import Course


def cc(
    course: Course,
    *,
    embedding: str,
    weight: float = 100.0,
    kernel: Literal["gaussian", "inner"] = "gaussian",
    gamma: float = 0.4,
    order: int = 2,
) -> list[Stage]:
    """The samples' similarities under a Gaussian kernel: ``CE + 100 CC``.

    100 is the weight of a public re-implementation (KD-Zoo, CIFAR); the paper's is 0.003 from memory.
    """
    term = CC(embedding, kernel=kernel, gamma=gamma, order=order)
    return [Stage("labels and correlations", CE() + weight * term, course)]


def cc_differences(course: Course, *, embedding: str, weight: float = 0.02, width: int = 128) -> list[Stage]:
    """What CRD's benchmark runs as CC, on differences of samples: ``CE + 0.02 CC``."""
    return [Stage("labels and differences", CE() + weight * CCDifferences(embedding, width=width), course)]


_PAPER = "Peng et al., Correlation congruence for knowledge distillation"
METHOD = Method("cc", cc, family="relations", year=2019, paper=_PAPER)
DIFFERENCES = Method(
    "cc-differences", cc_differences, family="relations", year=2019, paper=f"{_PAPER}, as CRD's benchmark runs it"
)
