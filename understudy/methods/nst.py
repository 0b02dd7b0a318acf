"""Neuron selectivity transfer (Huang & Wang, 2017)."""

from typing import Literal

from understudy._terms.nst import NST
from understudy.methods.method import Method
from understudy.stage import Stage
from understudy.terms import CE
from understudy.training.course import Course


def nst(
    course: Course,
    *,
    maps: str,
    weight: float = 50.0,
    kernel: Literal["linear", "polynomial", "gaussian"] = "polynomial",
    degree: int = 2,
    offset: float = 0.0,
    variance: float | None = None,
    label_weight: float = 1.0,
) -> list[Stage]:
    """Labels, and channels' patterns distributed as the teacher's: ``CE + 50 MMD^2``.

    Args:
        maps: the last maps of both.
        weight: CRD's benchmark's. The paper's is lambda / 2, with lambda 50 (linear, polynomial) or 100 (Gaussian).
        kernel, degree, offset, variance: see ``NST``; the paper prefers the polynomial kernel.
        label_weight: of the cross-entropy.
    """
    patterns = NST(maps, kernel=kernel, degree=degree, offset=offset, variance=variance)
    return [Stage("labels and patterns", label_weight * CE() + weight * patterns, course)]


METHOD = Method(
    "nst",
    nst,
    family="features",
    year=2017,
    paper="Huang and Wang, Like what you like: knowledge distill via neuron selectivity transfer",
)
