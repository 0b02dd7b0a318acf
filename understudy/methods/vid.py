"""Variational information distillation (Ahn et al., CVPR 2019)."""

from understudy._terms.vid import VID
from understudy.methods.method import Method
from understudy.stage import Stage
from understudy.terms import CE
from understudy.training.course import Course


def vid(
    course: Course, *, pairs: tuple[str, ...], weight: float = 1.0, variance: float = 5.0, label_weight: float = 1.0
) -> list[Stage]:
    """Labels, and maps that make the teacher's likely: ``CE + VID``.

    Args:
        pairs: of maps.
        weight: CRD's benchmark's, with the likelihood averaged over elements.
        variance: with which every channel begins (CRD's benchmark: 5).
        label_weight: of the cross-entropy.
    """
    return [Stage("labels and maps", label_weight * CE() + weight * VID(pairs, variance), course)]


METHOD = Method(
    "vid",
    vid,
    family="features",
    year=2019,
    paper="Ahn et al., Variational information distillation for knowledge transfer",
)
