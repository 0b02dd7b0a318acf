"""Labels and another divergence of the softened answers than KL(t ‖ s): ``label_weight CE + weight T^2 D(t, s)``.

``form`` is reverse KL, Jensen-Shannon, total variation, or a skewed KL; ``top`` looks only at the classes that are most
probable to the teacher. The defaults of weights and temperature are those of ``kd``: the papers distil language models.
"""

from dataclasses import dataclass
from math import log
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from understudy.bounds import Count, Interval, Temperature
from understudy.errors import UserError
from understudy.methods.method import one_stage
from understudy.methods.shared.logits import LogitTerm, check_same
from understudy.objective.term import Reading
from understudy.precision import wide

Between = Annotated[float, Interval(gt=0, lt=1)]
Divergence = Literal["forward", "reverse", "js", "skew", "skew-reverse", "tv"]


def soft_divergence(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    form: Divergence = "reverse",
    temperature: float = 4.0,
    skew: float | None = None,
    top: int | None = None,
) -> Tensor:
    """A divergence of the softened answers t and s, one value per sample.

    ``T^2 D(t, s)``, with D of the form

    - "forward": ``KL(t || s)``, as ``kd``
    - "reverse": ``KL(s || t)``
    - "js": ``(1 - a) KL(t || m) + a KL(s || m)``, ``m = (1 - a) t + a s``
    - "skew": ``KL(t || a t + (1 - a) s)``
    - "skew-reverse": ``KL(s || (1 - a) t + a s)``
    - "tv": ``1/2 sum_c |t_c - s_c|``

    Args:
        student_logits, teacher_logits: (N, C).
        form: see above.
        temperature: T, which softens both answers.
        skew: a, above 0 and below 1; by default 0.5 for "js", which is then the Jensen-Shannon divergence, and 0.1 for
            the skewed forms, as in DistiLLM's code.
        top: only so many classes, those that are most probable to the teacher, normalised among themselves in both.

    Weight in the objective: a choice of this library, as for ``kd``.
    Reference: Gu et al., "MiniLLM: knowledge distillation of large language models", ICLR 2024 (reverse); Agarwal et
    al., "On-policy distillation of language models", ICLR 2024 (js); Ko et al., "DistiLLM: towards streamlined
    distillation for large language models", ICML 2024 (skewed).
    Differences: these papers distil language models, and have no temperature. DistiLLM's code leaves the teacher's
    entropy out of the skewed KL, a constant, and takes 0.9 for its Jensen-Shannon form.

    >>> soft_divergence(torch.zeros(1, 2), torch.tensor([[0.0, 2.0]]), form="tv", temperature=1.0)
    tensor([0.3808])
    """
    check_same(student_logits, teacher_logits)
    student, teacher = wide(student_logits) / temperature, wide(teacher_logits) / temperature
    if top is not None:
        student, teacher = _among_top(student, teacher, top)
    s, t = F.log_softmax(student, dim=-1), F.log_softmax(teacher, dim=-1)
    return _divergence(s, t, form, skew) * temperature**2


def _divergence(s: Tensor, t: Tensor, form: Divergence, skew: float | None) -> Tensor:
    """Of log-probabilities."""
    a = skew if skew is not None else 0.5 if form == "js" else 0.1
    if not 0 < a < 1:
        raise UserError(f"skew is between 0 and 1, not {a}")
    if form == "forward":
        return _kl(t, s)
    if form == "reverse":
        return _kl(s, t)
    if form == "js":
        middle = _mixed(t, s, 1 - a)
        return (1 - a) * _kl(t, middle) + a * _kl(s, middle)
    if form == "skew":
        return _kl(t, _mixed(t, s, a))
    if form == "skew-reverse":
        return _kl(s, _mixed(t, s, 1 - a))
    if form == "tv":
        return 0.5 * (t.exp() - s.exp()).abs().sum(-1)
    raise UserError(f"form is forward, reverse, js, skew, skew-reverse or tv, not {form!r}")


def _kl(one: Tensor, other: Tensor) -> Tensor:
    """KL(one || other); a class that has no probability in ``one`` counts nothing."""
    difference = torch.where(one == -torch.inf, 0.0, one - other)
    return (one.exp() * difference).sum(-1)


def _mixed(t: Tensor, s: Tensor, share: float) -> Tensor:
    """``log(share t + (1 - share) s)``; a class that is masked in both stays so, and has no gradient."""
    masked = (t == -torch.inf) & (s == -torch.inf)  # whose logaddexp has a gradient of NaN
    one, other = (values.masked_fill(masked, 0.0) for values in (t, s))
    return torch.logaddexp(one + log(share), other + log(1 - share)).masked_fill(masked, -torch.inf)


def _among_top(student: Tensor, teacher: Tensor, top: int) -> tuple[Tensor, Tensor]:
    if top > teacher.shape[-1]:
        raise UserError(f"top = {top} is more than the {teacher.shape[-1]} classes")
    values, classes = teacher.topk(top, dim=-1)
    return student.gather(-1, classes), values


@dataclass(frozen=True)
class SoftDivergence(LogitTerm):
    """A divergence of the softened answers; see ``losses.soft_divergence``.

    Args:
        form: "forward", "reverse", "js", "skew", "skew-reverse" or "tv".
        temperature: softens both answers.
        skew: the share of the other answer in the skewed forms, and of the student in "js".
        top: only so many classes, those that are most probable to the teacher.

    >>> print(SoftDivergence("js", temperature=1.0))
    SoftDivergence(form='js', temperature=1.0)
    """

    form: Divergence = "reverse"
    temperature: Temperature = 4.0
    skew: Between | None = None
    top: Count | None = None

    @property
    def likeliest(self) -> int | None:
        return self.top

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        return soft_divergence(
            reading.student.logits,
            reading.teacher.logits,
            form=self.form,
            temperature=self.temperature,
            skew=self.skew,
            top=self.top,
        )


METHOD = one_stage(
    "divergence",
    SoftDivergence,
    stage="labels and a divergence",
    weight=0.9,
    label_weight=0.1,
    family="logits",
    year=2024,
    paper="Ko et al., DistiLLM: towards streamlined distillation for large language models",
)
