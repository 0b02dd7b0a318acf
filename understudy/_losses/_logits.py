"""Losses on logits: the labels, and soft targets in their published forms."""

import torch
import torch.nn.functional as F
from torch import Tensor

from understudy.errors import UserError
from understudy.methods.shared.logits import Form, check_same, divergence
from understudy.precision import wide


def curriculum_kd(
    student_logits: Tensor, teacher_logits: Tensor, temperature: Tensor, *, squared: bool = True, form: Form = "kl"
) -> Tensor:
    """CTKD: soft targets at a temperature that is learned along, against the student; one value per sample.

    ``T^2 KL(softmax(t/T) || softmax(s/T))``, T one number or one for each sample, with a gradient of its own

    Args:
        student_logits, teacher_logits: (N, C).
        temperature: T, of one element (global) or (N) or (N, 1) (by instance): as a rule
            ``bounded_temperature(reverse_gradient(raw, strength=...))``, raw a learned number or the answer of a
            small network to both logits.
        squared: multiply by T^2.
        form: ``"kl"`` or ``"ce"``, as in ``kd``.

    Weight in the objective: ``0.1 CE + 0.9 CTKD`` in the authors' CIFAR-100 recipe, means over the batch. The strength
    of the reversal grows from 0 to 1 by half a cosine over the first 10 epochs; raw starts at 1 and learns with the
    student's optimizer.
    Reference: Li et al., "Curriculum temperature for knowledge distillation", AAAI 2023.
    Differences: none known in the loss.
    """
    check_same(student_logits, teacher_logits)
    if temperature.numel() not in (1, len(student_logits)):
        raise UserError(f"one temperature, or one for each of {len(student_logits)} samples; not {temperature.numel()}")
    t = wide(temperature).reshape(-1, 1)
    student = F.log_softmax(wide(student_logits) / t, dim=-1)
    # The temperature's gradient needs the teacher's logits, and what inference mode made cannot be kept for that.
    teacher = F.log_softmax(wide(teacher_logits).clone() / t, dim=-1)
    value = divergence(student, teacher, form=form)
    return value * t.squeeze(-1).square() if squared else value


def bounded_temperature(raw: Tensor, *, start: float = 1.0, span: float = 20.0) -> Tensor:
    """CTKD's temperature from what is learned: ``start + span sigmoid(raw)``."""
    return start + span * torch.sigmoid(wide(raw))


def reverse_gradient(x: Tensor, *, strength: float = 1.0) -> Tensor:
    """``x`` as it is, with its gradient turned round: ``dL/dx = -strength dL/dy`` (Ganin & Lempitsky, 2015).

    What is minimised after it is maximised before it: an opponent learns with the same optimizer.
    """
    return x.detach() - strength * (x - x.detach())
