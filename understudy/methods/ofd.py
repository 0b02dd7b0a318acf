"""A comprehensive overhaul of feature distillation (Heo et al., ICCV 2019)."""

from understudy._terms.ofd import OFD
from understudy.methods.method import Method
from understudy.stage import Stage
from understudy.terms import CE
from understudy.training.course import Course


def ofd(course: Course, *, pairs: tuple[str, ...], weight: float = 0.001, label_weight: float = 1.0) -> list[Stage]:
    """Labels, and the teacher's maps behind a margin ReLU: ``CE + 0.001 OFD``.

    Args:
        pairs: from input to output; each counts half of the one after it.
        weight: the authors' code's for CIFAR, of a sum over elements; 0.0001 for ImageNet.
        label_weight: of the cross-entropy.
    """
    return [Stage("labels and maps", label_weight * CE() + weight * OFD(pairs), course)]


METHOD = Method(
    "ofd",
    ofd,
    family="features",
    year=2019,
    paper="Heo et al., A comprehensive overhaul of feature distillation",
)
