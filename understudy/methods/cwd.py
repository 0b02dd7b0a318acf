"""Channel-wise distillation (Shu et al., ICCV 2021)."""

from understudy._terms.cwd import CWD
from understudy.methods.method import Method
from understudy.stage import Stage
from understudy.terms import CE
from understudy.training.course import Course


def cwd(course: Course, *, maps: str, weight: float = 50.0, temperature: float = 4.0) -> list[Stage]:
    """Where each channel of the last map is active: ``CE + 50 CWD``.

    Temperature 4, and 50 for a feature map, are the paper's (for segmentation; on a map of logits it has 3).
    """
    return [Stage("labels and channels", CE() + weight * CWD(maps, temperature=temperature), course)]


METHOD = Method(
    "cwd",
    cwd,
    family="features",
    year=2021,
    paper="Shu et al., Channel-wise knowledge distillation for dense prediction",
)
