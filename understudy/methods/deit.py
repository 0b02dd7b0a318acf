"""The class that the teacher names, for the student's distillation token: ``0.5 CE + 0.5 CE(d, argmax t)`` (DeiT).

``token`` names the tap whose value are the logits of the distillation token, such as ``head_dist`` of timm's DeiT; the
labels are then for the logits at ``labels``, such as ``head``. Such a network answers with the mean of both. A network
without a token learns both from its one answer, which DeiT's paper compares with; the check warns of a network that has
such a head while no token is named.

Reference: Touvron et al., "Training data-efficient image transformers and distillation through attention", ICML 2021.
Weights, temperature: the defaults of the authors' code, 0.5 for each part, and 1 for the soft form.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from understudy.bounds import NonNegative, Temperature
from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.errors import UserError
from understudy.methods.kd import kd
from understudy.methods.method import Method
from understudy.methods.shared.logits import LogitTerm, check_same
from understudy.objective.labels import CE, cross_entropy
from understudy.objective.term import Expression, Reading, Reads, Shapes, Term, needs_classes
from understudy.precision import or_nan
from understudy.taps import Tap
from understudy.tasks.task import Task

Form = Literal["hard", "soft"]

# The head of the distillation token and the one of the class token, in timm and in transformers.
HEADS = {"head_dist": "head", "distillation_classifier": "cls_classifier"}


def token_kd(
    student_logits: Tensor, teacher_logits: Tensor, *, form: Form = "hard", temperature: float = 1.0
) -> Tensor:
    """The logits of a distillation token against the teacher's answer, one value per sample.

    ``-log softmax(d)_argmax(t)``, or for "soft" ``T^2 KL(softmax(t/T) || softmax(d/T))``

    Args:
        student_logits: d, of the distillation token, (N, C).
        teacher_logits: (N, C).
        form: "hard" or "soft".
        temperature: of the soft form.

    Weight in the objective: 0.5, beside 0.5 of the labels' cross-entropy for the class token.
    Reference: Touvron et al., "Training data-efficient image transformers and distillation through attention", ICML
    2021.
    Differences: the authors' code divides the soft form by the number of classes, too.

    >>> import torch
    >>> token_kd(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]))
    tensor([0.6931])
    """
    check_same(student_logits, teacher_logits, what="the logits of the token and the teacher's")
    if form == "hard":
        return or_nan(cross_entropy(student_logits, teacher_logits.argmax(-1)), teacher_logits)
    if form == "soft":
        return kd(student_logits, teacher_logits, temperature=temperature)
    raise UserError(f"form is 'hard' or 'soft', not {form!r}")


@dataclass(frozen=True)
class TokenKD(LogitTerm):
    """The teacher's answer for the logits at a tap of the student, or for its answer; see ``losses.token_kd``.

    Args:
        token: the tap whose value are the logits of the distillation token; "" for the student's answer.
        form: "hard" for the class that the teacher names, "soft" for its probabilities.
        temperature: of the soft form.

    >>> print(TokenKD("head_dist"))
    TokenKD(token='head_dist')
    """

    token: str = ""
    form: Form = "hard"
    temperature: Temperature = 1.0

    def __post_init__(self) -> None:
        if self.token:
            Tap.parse(self.token)

    @property
    def reads(self) -> Reads:
        if not self.token:
            return super().reads
        return Reads(teacher_logits=True, student_taps=(Tap.parse(self.token),))

    def remarks(self, shapes: Shapes) -> Iterable[str]:
        """A student that has a distillation token, while the method reads its one answer."""
        if self.token:
            return
        names = dict(shapes.student_network.named_modules())
        for name in names:
            before, dot, last = name.rpartition(".")
            labels = f"{before}{dot}{HEADS.get(last, '')}"
            if last in HEADS and labels in names and not isinstance(names[name], nn.Identity):
                yield (
                    f"the student has a head for a distillation token, {name!r}, and learns the teacher's class by its "
                    f"answer, as a network without a token does: set token = {name!r} and labels = {labels!r}"
                )

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        own = reading.student[Tap.parse(self.token)] if self.token else reading.student.logits
        return token_kd(own, reading.teacher.logits, form=self.form, temperature=self.temperature)


@dataclass(frozen=True)
class TokenLabels(Term):
    """The labels for the logits at a tap of the student: of its class token, beside a distillation token.

    >>> print(0.5 * TokenLabels("head") + 0.5 * TokenKD("head_dist"))
    0.5 * TokenLabels(token='head') + 0.5 * TokenKD(token='head_dist')
    """

    token: str

    def __post_init__(self) -> None:
        Tap.parse(self.token)

    def misfit(self, task: Task) -> str | None:
        return needs_classes(task, distributions=True)

    @property
    def reads(self) -> Reads:
        return Reads(student_taps=(Tap.parse(self.token),), labels=True)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        return cross_entropy(reading.student[Tap.parse(self.token)], reading.labels)


def _stages(
    config: TrainConfig,
    term: TokenKD,
    *,
    labels: str = "",
    weight: NonNegative = 0.5,
    label_weight: NonNegative = 0.5,
) -> list[Stage]:
    if bool(term.token) != bool(labels):
        raise UserError("deit: token and labels are the taps of both tokens' logits: name both, or none of them")
    hard: Expression = TokenLabels(labels) if labels else CE()
    return [Stage("labels and teacher", label_weight * hard + weight * term, config, answers=True)]


METHOD = Method(
    "deit",
    _stages,
    term=TokenKD,
    family="logits",
    year=2021,
    paper="Touvron et al., Training data-efficient image transformers and distillation through attention",
    doc=__doc__,
)
