"""Distillation with adversarial samples that support the decision boundary (Heo et al., 2019)."""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from understudy.bounds import MOST, Interval, NonNegative, Positive, PositiveShare, Temperature
from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.errors import UserError
from understudy.methods.kd import KD, kd
from understudy.methods.method import Method
from understudy.methods.shared.copies import inputs_of, logits_of
from understudy.methods.shared.logits import Form, class_numbers
from understudy.objective.labels import CE
from understudy.objective.term import Reading, Reads, Term
from understudy.objective.weights import linear
from understudy.precision import wide
from understudy.tasks.task import Task

ADVANCE = 1e-4  # added to the distance of the two logits, so that a sample on the boundary gets across
FLAT = 1e-12


def boundary_kd(
    student_logits: Tensor, teacher_logits: Tensor, *, temperature: float = 3.0, form: Form = "ce"
) -> Tensor:
    """BSS: soft targets on samples that were pushed to the teacher's decision boundary, one value per sample.

    ``-sum_c softmax(t/T)_c log softmax(s/T)_c``, both networks on the boundary supporting samples

    Args:
        student_logits, teacher_logits: (M, C) of the M adversarial samples, at most 64 of a batch of 256 there.
        temperature: T, 3.
        form: ``"ce"`` as in the authors' code, or ``"kl"``.

    Weight in the objective: ``CE + a KD + b BSS``, the last a mean over the M samples, b from 2 down to 0 at three
    quarters of the training, a from 4 down to 1 (KD with T of 3, as cross-entropy, without T^2).
    Reference: Heo, Lee, Yun, Choi, "Knowledge distillation with adversarial samples supporting decision boundary",
    AAAI 2019.
    Differences: none in the loss; how samples are chosen and pushed is not part of it.

    >>> boundary_kd(torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0, 1.0]]))
    tensor([0.6931])
    """
    return kd(student_logits, teacher_logits, temperature=temperature, squared=False, form=form)


@dataclass(frozen=True)
class BSS(Term):
    """Soft targets on samples that were pushed to the teacher's decision boundary, and a little over it.

    ``-sum_c softmax(t/T)_c log softmax(s/T)_c`` on the pushed samples; see ``losses.boundary_kd``. A base sample gets a
    second class, drawn by the teacher's probabilities of all others, and is pushed there while the teacher still says
    its own: ``x + 0.3 (t_own - t_second) g / ||g||``, g the gradient of ``t_second - t_own`` by x. Weight 2, down to 0

    Args:
        temperature: T, 3.
        steps: of the push, at most: 10.
        step: their size, 0.3, in standard deviations of the inputs.
        most: how many samples of a batch are pushed: those in whose wrong classes the two differ most. None: a quarter
            of the batch, as the authors' 64 of 256.
        base: which may be: those that "both" networks get right, or the "teacher".
        form: "ce", or "kl", which is 0 where both agree.

    Reference: Heo, Lee, Yun, Choi, "Knowledge distillation with adversarial samples supporting decision boundary",
    AAAI 2019.
    Differences: the authors' code asks only the teacher to be right. Its inputs are normalised and kept between -2.5
    and 2.5: here steps are scaled by the batch's standard deviation, and pushed samples stay within its least and its
    largest value. Of mixed labels the largest share counts. Of one base sample alone nothing is learned: a student's
    batch norm cannot take it. The mean over the batch is the paper's mean over the pushed samples.

    >>> print(BSS(steps=5))
    BSS(steps=5)
    """

    temperature: Temperature = 3.0
    steps: Annotated[int, Interval(ge=1, le=10_000)] = 10
    step: Positive = 0.3
    most: Annotated[int, Interval(ge=2, le=MOST)] | None = None
    base: Literal["both", "teacher"] = "both"
    form: Literal["ce", "kl"] = "ce"

    def __post_init__(self) -> None:
        if self.base not in ("both", "teacher") or self.form not in ("ce", "kl"):
            raise UserError("BSS: base is 'both' or 'teacher', form is 'ce' or 'kl'")

    def misfit(self, task: Task) -> str | None:
        if task.takes_words:
            return f"it pushes inputs along gradients, and the inputs of task {task.name!r} are numbers of words"
        return None

    @property
    def reads(self) -> Reads:
        networks = Reads(student_network=True, teacher_network=True)
        return networks | Reads(student_logits=True, teacher_logits=True, batch=True, inputs=True, labels=True)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        inputs = inputs_of(reading, "BSS")
        if not isinstance(inputs, Tensor) or not inputs.is_floating_point():
            raise UserError(f"BSS pushes images: it needs one tensor of numbers, not {type(inputs).__name__}")
        teacher, student = reading.teacher_network, reading.student_network
        assert teacher is not None
        assert student is not None
        chosen = self._chosen(reading)
        if len(chosen) < 2:
            return 0 * wide(reading.student.logits).sum(1)
        own, second = _classes(reading.teacher.logits[chosen])
        pushed = self._pushed(teacher, inputs[chosen].detach(), own, second)
        with torch.no_grad():
            targets = logits_of(teacher, pushed)
        values = boundary_kd(logits_of(student, pushed), targets, temperature=self.temperature, form=self.form)
        spread = values.new_zeros(len(reading))
        return spread.index_copy(0, chosen, values * (len(spread) / len(chosen)))

    def _chosen(self, reading: Reading) -> Tensor:
        """The numbers, within the batch, of the samples to be pushed."""
        labels = class_numbers(reading.labels)
        student, teacher = wide(reading.student.logits).detach(), wide(reading.teacher.logits).detach()
        right = teacher.argmax(1) == labels
        if self.base == "both":
            right = right & (student.argmax(1) == labels)
        apart = (teacher.softmax(1) - student.softmax(1)).square()
        score = apart.sum(1) - apart.gather(1, labels.unsqueeze(1)).squeeze(1)
        most = max(2, len(labels) // 4) if self.most is None else self.most
        best = torch.where(right, score, -torch.inf).topk(min(most, len(labels))).indices
        return best[right[best]]

    def _pushed(self, teacher: nn.Module, inputs: Tensor, own: Tensor, second: Tensor) -> Tensor:
        least, largest, size = inputs.amin(), inputs.amax(), self.step * inputs.std()
        x = inputs
        for _ in range(self.steps):
            logits, gap, slope = _ask(teacher, x, own, second)
            moving = logits.argmax(1) == own
            if not moving.any():
                break
            length = slope.flatten(1).norm(dim=1).clamp_min(FLAT)
            far = torch.where(moving, size * (gap + ADVANCE) / length, 0.0)
            x = (x + far.view(-1, *[1] * (x.ndim - 1)) * slope).clamp(least, largest)
        return x


def _classes(teacher_logits: Tensor) -> tuple[Tensor, Tensor]:
    """The teacher's own class of each sample, and another, drawn by its probabilities (Gumbel's way, in logarithms)."""
    log_shares = wide(teacher_logits).log_softmax(1)
    own = log_shares.argmax(1)
    others = log_shares.scatter(1, own.unsqueeze(1), -torch.inf)
    noise = torch.empty_like(others).exponential_().clamp_min(FLAT).log()
    return own, (others - noise).argmax(1)


def _ask(teacher: nn.Module, inputs: Tensor, own: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The teacher's logits, by how much its own class leads, and the direction in which that lead shrinks fastest."""
    with torch.enable_grad():
        x = inputs.detach().requires_grad_()
        logits = wide(logits_of(teacher, x))
        lead = (logits.gather(1, own.unsqueeze(1)) - logits.gather(1, second.unsqueeze(1))).squeeze(1)
        (gradient,) = torch.autograd.grad(lead.sum(), x)
    return logits.detach(), lead.detach(), -gradient


def _stages(
    config: TrainConfig,
    *,
    weight: NonNegative = 2.0,
    soft_weight: NonNegative = 4.0,
    final_soft_weight: NonNegative = 1.0,
    temperature: Temperature = BSS.temperature,
    steps: Annotated[int, Interval(ge=1, le=10_000)] = BSS.steps,
    most: Annotated[int, Interval(ge=2, le=MOST)] | None = None,
    share: PositiveShare = 0.75,
) -> list[Stage]:
    """Soft targets, also on samples at the teacher's decision boundary: ``CE + a KD + b BSS``.

    The authors' code: a from 4 to 1 over the whole training, b from 2 to 0 over three quarters of it, temperature 3
    without T^2; batch 256, 80 epochs, SGD at 0.1, a tenth of it from the half and from three quarters on, weight decay
    1e-4. A step costs up to 11 passes of the teacher over a quarter of the batch, 10 of them with gradients.

    Args:
        weight: b at the beginning.
        soft_weight, final_soft_weight: a at the beginning and at the end.
        temperature: of both kinds of soft targets.
        steps: of pushing a sample to the boundary, at most.
        most: how many samples of a batch are pushed, at most: by default a quarter, as the authors' 64 of 256.
        share: of the training after which b is 0.
    """
    soft = KD(temperature, squared=False) * linear(soft_weight, final_soft_weight, epochs=config.epochs)
    boundary = BSS(temperature, steps=steps, most=most) * linear(weight, 0.0, epochs=share * config.epochs)
    return [Stage("soft targets at the boundary", CE() + soft + boundary, config)]


METHOD = Method(
    "bss",
    _stages,
    family="adversarial",
    year=2019,
    paper="Heo et al., Knowledge distillation with adversarial samples supporting decision boundary",
)
