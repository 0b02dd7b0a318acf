"""Teacher-free distillation with a virtual teacher (Tf-KD_reg; Yuan et al., CVPR 2020)."""

from understudy._terms.virtual_teacher import VirtualTeacher
from understudy.methods.method import Method
from understudy.stage import Stage
from understudy.terms import CE
from understudy.training.course import Course


def tf_kd_reg(
    course: Course,
    *,
    correct: float = 0.99,
    temperature: float = 20.0,
    weight: float = 0.1,
    label_weight: float = 0.9,
) -> list[Stage]:
    """A teacher made by hand, always right, no network: ``0.9 CE + 0.1 KL(u || s)``.

    Args:
        correct: what the virtual teacher gives the right class; the rest goes to the others alike. 0.99 in the
            authors' code.
        temperature: softens those probabilities themselves, as the authors' code does.
        weight, label_weight: 0.1 and 0.9 there; its multiplier of 100 on a mean over 100 classes is the sum here.
    """
    objective = label_weight * CE() + weight * VirtualTeacher(correct, temperature)
    return [Stage("labels and virtual teacher", objective, course)]


METHOD = Method(
    "tf-kd-reg",
    tf_kd_reg,
    family="self",
    year=2020,
    paper="Yuan et al., Revisiting knowledge distillation via label smoothing regularization",
    reads_teacher=False,
)
