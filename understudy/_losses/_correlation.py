"""Agreement of a whole batch of answers: correlations (DIST) and several levels of alignment (MLKD)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from understudy.errors import UserError
from understudy.methods.kd import kd
from understudy.methods.shared.logits import check_same
from understudy.precision import wide


def dist(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    beta: float = 1.0,
    gamma: float = 1.0,
    temperature: float = 1.0,
) -> Tensor:
    """DIST: probabilities need only correlate with the teacher's, over classes and over the batch; per sample.

    ``T^2 (beta (1 - r(s_n, t_n)) + gamma mean_c (1 - r(s_c, t_c)))``, r Pearson's correlation, s_n a sample's
    probabilities over the classes, s_c a class's probabilities over the samples

    The mean over the batch is the paper's loss. A sample's share of a class's ``1 - r`` is half the squared
    difference of its two standardised probabilities, times N: the shares are never negative, and add up.

    Args:
        student_logits, teacher_logits: (N, C); the second part needs a batch of more than one.
        beta: weight over the classes of a sample (inter-class).
        gamma: weight over the samples of a class (intra-class).
        temperature: T: 1 on ImageNet, 4 for CIFAR-100 (from memory).

    Weight in the objective: ``CE + 2 inter + 2 intra`` in the paper (from memory), 1 and 1 in the code's signature.
    Reference: Huang et al., "Knowledge distillation from a stronger teacher", NeurIPS 2022.
    Differences: the factor T^2 is the later code's; the released code for segmentation has no temperature. Where a
    class has one probability for all samples, its ``1 - r`` is 1/2 here (0 if for both networks), 1 in the code.
    """
    check_same(student_logits, teacher_logits)
    student = (wide(student_logits) / temperature).softmax(-1)
    teacher = (wide(teacher_logits) / temperature).softmax(-1)
    inter = _uncorrelated(student, teacher, dim=1).sum(1)
    intra = _uncorrelated(student, teacher, dim=0).mean(1) * len(student)
    return (beta * inter + gamma * intra) * temperature**2


def batch_correlation(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float = 4.0) -> Tensor:
    """MLKD's level of the batch: which samples get alike answers; one value per sample.

    ``sum_m (p_t,n . p_t,m - p_s,n . p_s,m)^2`` for sample n, p the softened probabilities; its mean over the batch is
    the paper's ``|| P_t P_t^T - P_s P_s^T ||^2 / N``

    Args:
        student_logits, teacher_logits: (N, C).
        temperature: T of both.

    Reference: Jin, Wang, Lin, "Multi-level logit distillation", CVPR 2023; weights and differences: see ``mlkd``.
    """
    student, teacher = _softened(student_logits, teacher_logits, temperature)
    return (_products(teacher) - _products(student)).square().sum(1)


def class_correlation(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float = 4.0) -> Tensor:
    """MLKD's level of the classes: which classes are likely together; the same value for every sample of the batch.

    ``|| P_t^T P_t - P_s^T P_s ||^2 / C``, P the softened probabilities of the batch; a sum over its samples is squared,
    so it has no shares: every sample answers with the whole, and the mean over the batch is the paper's loss

    Args:
        student_logits, teacher_logits: (N, C).
        temperature: T of both.

    Reference: Jin, Wang, Lin, "Multi-level logit distillation", CVPR 2023; weights and differences: see ``mlkd``.
    """
    student, teacher = _softened(student_logits, teacher_logits, temperature)
    whole = (_products(teacher.mT) - _products(student.mT)).square().sum() / student.shape[1]
    return whole.expand(len(student))


def mlkd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperatures: Sequence[float] = (2.0, 3.0, 4.0, 5.0, 6.0),
    instance: float = 1.0,
    batch: float = 1.0,
    classes: float = 1.0,
) -> Tensor:
    """Multi-level logit distillation: instance, batch and class aligned at several temperatures; per sample.

    ``sum_T instance T^2 KL(p_t || p_s) + batch B_T + classes C_T``, B and C as in ``batch_correlation`` and
    ``class_correlation``; the mean over the batch is the paper's loss

    Args:
        student_logits, teacher_logits: (N, C).
        temperatures: 4 and 2, 3, 5, 6 in the authors' code ("prediction augmentation").
        instance, batch, classes: the weights of the three levels, alike in the authors' code.

    Weight in the objective: 1 beside the cross-entropy in the paper's sum; from memory the code's configuration
    inherits 0.1 for the labels and 0.9 for each level. Batch and class level grow with the batch: N of 64 there.
    Reference: Jin, Wang, Lin, "Multi-level logit distillation", CVPR 2023.
    Differences: the authors' code adds the same losses on a strongly augmented view. For the weak view it means to
    keep the half of samples (and of classes) that the teacher is least sure of, but masks a mean: that only scales
    the term by the mask's share, about 1/2. Here nothing is masked; masking by sample is the caller's product.
    """
    if not temperatures:
        raise UserError("mlkd asks for one temperature at least")
    total = torch.zeros((), dtype=wide(student_logits).dtype, device=student_logits.device)
    for t in temperatures:
        total = total + instance * kd(student_logits, teacher_logits, temperature=t)
        total = total + batch * batch_correlation(student_logits, teacher_logits, temperature=t)
        total = total + classes * class_correlation(student_logits, teacher_logits, temperature=t)
    return total


def _uncorrelated(student: Tensor, teacher: Tensor, dim: int) -> Tensor:
    """Shares of ``1 - r`` along ``dim``: for unit vectors, ``1 - a . b = 1/2 || a - b ||^2``."""
    return 0.5 * (_unit(student, dim) - _unit(teacher, dim)).square()


def _unit(x: Tensor, dim: int) -> Tensor:
    return F.normalize(x - x.mean(dim, keepdim=True), dim=dim, eps=1e-8)


def _softened(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    check_same(student_logits, teacher_logits)
    return (wide(student_logits) / temperature).softmax(-1), (wide(teacher_logits) / temperature).softmax(-1)


def _products(x: Tensor) -> Tensor:
    """Of every row with every row."""
    with torch.autocast(x.device.type, enabled=False):  # which would multiply in half precision
        return x @ x.mT
