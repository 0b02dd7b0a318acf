"""Soft targets taken apart: NKD and logit standardisation."""

from torch import Tensor

from understudy.methods.kd import kd
from understudy.methods.shared.logits import Form, among, check_same, divergence, split
from understudy.precision import wide


def nkd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    gamma: float = 1.5,
    temperature: float = 1.0,
) -> Tensor:
    """Normalised KD: the right class weighted by the teacher's trust in it, the others normalised; per sample.

    ``-p_t log p_s - gamma T^2 sum_c q_t,c log q_s,c``, p the probability of the right class (unsoftened), q the
    softened answer among the other classes alone

    Args:
        student_logits, teacher_logits: (N, C).
        labels: the right classes, (N).
        gamma: weight of the other classes: 1.5 on ImageNet and by default, 3.5 in the authors' CIFAR-100 recipe.
        temperature: T of the other classes: 1 on ImageNet and by default, 3 in the authors' CIFAR-100 recipe.

    Weight in the objective: ``CE + NKD``, means over the batch.
    Reference: Yang et al., "From knowledge distillation to self-knowledge distillation: a unified approach with
    normalized loss and customized soft labels", ICCV 2023.
    Differences: none known from the authors' code. Both parts are cross-entropies: the least value is not 0.
    """
    check_same(student_logits, teacher_logits)
    right, others = split(labels, student_logits)
    student, teacher = wide(student_logits), wide(teacher_logits)
    trust = teacher.softmax(-1).gather(-1, right)
    target = -(trust * student.log_softmax(-1).gather(-1, right)).squeeze(-1)
    softened = among(student / temperature, others), among(teacher / temperature, others)
    return target + gamma * temperature**2 * divergence(*softened, form="ce")


def standardised(logits: Tensor) -> Tensor:
    """Logits with mean 0 and deviation 1 over the classes of each sample: ``(z - mean z) / std z``.

    The deviation divides by C - 1, as the authors' code does; logits that are all alike become 0.
    """
    logits = wide(logits)
    centred = logits - logits.mean(-1, keepdim=True)
    variance = centred.square().sum(-1, keepdim=True) / max(logits.shape[-1] - 1, 1)
    return centred / (variance + 1e-14).sqrt()


def standardised_kd(
    student_logits: Tensor, teacher_logits: Tensor, *, temperature: float = 2.0, squared: bool = True, form: Form = "kl"
) -> Tensor:
    """Logit standardisation: KD on z-scores, so that the student need not match the logits' scale; per sample.

    ``T^2 KL(softmax(Z(t)/T) || softmax(Z(s)/T))``, ``Z(z) = (z - mean z) / std z`` over the classes

    Args:
        student_logits, teacher_logits: (N, C).
        temperature: T, the base temperature, 2.
        squared: multiply by T^2.
        form: ``"kl"`` or ``"ce"``, as in ``kd``.

    Weight in the objective: ``0.1 CE + 9 KD`` in the authors' CIFAR-100 recipe (the 0.1 from memory), means over the
    batch.
    Reference: Sun et al., "Logit standardization in knowledge distillation", CVPR 2024.
    Differences: the authors' code divides by ``1e-7 + std``; here 1e-7 is added under the root, which keeps the
    gradient finite where all logits are alike.
    """
    student, teacher = standardised(student_logits), standardised(teacher_logits)
    return kd(student, teacher, temperature=temperature, squared=squared, form=form)
