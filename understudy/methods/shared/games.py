"""Adversarial games of two networks that CAN's authors tried: losses of the discriminator and of the student.

All are to be minimised. They take the discriminator's outputs.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from understudy.errors import UserError
from understudy.objective.labels import cross_entropy
from understudy.precision import wide


def gan_discriminator(on_student: Tensor, on_teacher: Tensor) -> Tensor:
    """The discriminator's loss of the original game: which answer is the teacher's (L_A of CAN alone).

    ``-1/2 (log P(Real | D(t)) + log P(Fake | D(s)))``

    Args:
        on_student, on_teacher: the discriminator's answers to the logits of each, (N, 2): Real, Fake.

    Reference: Goodfellow et al., "Generative adversarial nets", NeurIPS 2014; CAN's authors found it unstable, since
    nothing ties the student's answer to its own image.
    Differences: the 1/2 is CAN's, so that the term has the same size there and here.

    >>> gan_discriminator(torch.zeros(1, 2), torch.zeros(1, 2))
    tensor([0.6931])
    """
    return -0.5 * (_source(on_teacher)[:, 0] + _source(on_student)[:, 1])


def gan_student(on_student: Tensor, *, saturating: bool = True) -> Tensor:
    """The student's loss of the original game.

    ``1/2 log P(Fake | D(s))``; without ``saturating`` ``-1/2 log P(Real | D(s))``

    Args:
        on_student: the discriminator's answers to the student's logits, (N, 2): Real, Fake.
        saturating: the minimax form.

    Reference: Goodfellow et al., NeurIPS 2014.

    >>> gan_student(torch.zeros(1, 2))
    tensor([-0.3466])
    """
    source = _source(on_student)
    return 0.5 * (source[:, 1] if saturating else -source[:, 0])


def joint_discriminator(on_student: Tensor, on_teacher: Tensor, labels: Tensor) -> Tensor:
    """The discriminator's loss of CAN's joint form: label and source as one of 2C answers.

    ``-1/2 (log P(l, Real | D(t)) + log P(l, Fake | D(s)))``

    Args:
        on_student, on_teacher: the discriminator's answers, (N, 2C): C labels of the teacher's answers, then C of the
            student's.
        labels: class numbers (N), or distributions (N, C).

    Reference: Xu, Hsu, Huang, ICLR 2018 workshop, which says of the joint form only that it did almost the same.
    Differences: the paper has no formula for it; this one is the cross-entropy over the 2C answers.

    >>> joint_discriminator(torch.zeros(1, 4), torch.zeros(1, 4), torch.tensor([0]))
    tensor([1.3863])
    """
    real, _ = _joint(on_teacher, labels)
    _, fake = _joint(on_student, labels)
    return 0.5 * (real + fake)


def joint_student(on_student: Tensor, labels: Tensor, *, saturating: bool = True) -> Tensor:
    """The student's loss against a joint discriminator: pass for the teacher, with the right label.

    ``1/2 (log P(l, Fake | D(s)) - log P(l, Real | D(s)))``, or ``-1/2 log P(l, Real | D(s))`` without ``saturating``

    Args:
        on_student: the discriminator's answers to the student's logits, (N, 2C).
        labels: class numbers (N), or distributions (N, C).
        saturating: keep the first part, of the minimax form.

    Reference: Xu, Hsu, Huang, ICLR 2018 workshop.
    Differences: as for ``joint_discriminator``.

    >>> joint_student(torch.zeros(1, 4), torch.tensor([0]))
    tensor([0.])
    """
    real, fake = _joint(on_student, labels)
    return 0.5 * (real - fake if saturating else real)


def wgan_critic(on_student: Tensor, on_teacher: Tensor, gradient: Tensor, *, penalty: float = 10.0) -> Tensor:
    """The critic's loss of a Wasserstein GAN with gradient penalty.

    ``D(s) - D(t) + lambda (|| g || - 1)^2``, ``g`` the gradient of D at a point between s and t

    Args:
        on_student, on_teacher: the critic's values, (N) or (N, 1).
        gradient: of the critic's value by its input, at a random point between both inputs of each sample, (N, ...);
            computed with ``create_graph=True``, or the penalty trains nothing.
        penalty: lambda, the paper's 10.

    Reference: Gulrajani et al., "Improved training of Wasserstein GANs", NeurIPS 2017. CAN's authors tried and dropped
    it (slow, unstable).
    Differences: none known; which form of WGAN CAN's authors tried is not said.

    >>> wgan_critic(torch.tensor([1.0]), torch.tensor([3.0]), torch.ones(1, 1))
    tensor([-2.])
    """
    length: Tensor = torch.linalg.vector_norm(wide(gradient).flatten(1), dim=1)
    return _score(on_student) - _score(on_teacher) + penalty * (length - 1).square()


def wgan_student(on_student: Tensor) -> Tensor:
    """The student's loss against a Wasserstein critic.

    ``-D(s)``

    Args:
        on_student: the critic's values of the student's answers, (N) or (N, 1).

    Reference: Arjovsky, Chintala, Bottou, "Wasserstein GAN", ICML 2017.

    >>> wgan_student(torch.tensor([1.0]))
    tensor([-1.])
    """
    return -_score(on_student)


def lsgan_discriminator(on_student: Tensor, on_teacher: Tensor) -> Tensor:
    """The discriminator's loss of a least-squares GAN: 1 for the teacher's answers, 0 for the student's.

    ``1/2 (D(t) - 1)^2 + 1/2 D(s)^2``

    Args:
        on_student, on_teacher: the discriminator's values, (N) or (N, 1).

    Reference: Mao et al., "Least squares generative adversarial networks", ICCV 2017, its 0-1 coding. CAN's authors
    tried and dropped it (slow, unstable).

    >>> lsgan_discriminator(torch.tensor([0.0]), torch.tensor([1.0]))
    tensor([0.])
    """
    return 0.5 * ((_score(on_teacher) - 1).square() + _score(on_student).square())


def lsgan_student(on_student: Tensor) -> Tensor:
    """The student's loss against a least-squares discriminator.

    ``1/2 (D(s) - 1)^2``

    Args:
        on_student: the discriminator's values of the student's answers, (N) or (N, 1).

    Reference: Mao et al., "Least squares generative adversarial networks", ICCV 2017.

    >>> lsgan_student(torch.tensor([0.0]))
    tensor([0.5000])
    """
    return 0.5 * (_score(on_student) - 1).square()


def _source(outputs: Tensor) -> Tensor:
    """Log-probabilities of Real and Fake."""
    if outputs.ndim != 2 or outputs.shape[1] != 2:
        raise UserError(f"the discriminator answers with {tuple(outputs.shape)}, not with Real and Fake: (N, 2)")
    return F.log_softmax(wide(outputs), dim=1)


def _joint(outputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The cross-entropies with the label as the teacher's and as the student's."""
    classes = labels.shape[1] if labels.is_floating_point() else outputs.shape[1] // 2
    if outputs.ndim != 2 or outputs.shape[1] != 2 * classes or not classes:
        raise UserError(f"the discriminator answers with {tuple(outputs.shape)}, not with two sets of labels: (N, 2C)")
    if labels.is_floating_point():
        nothing = torch.zeros_like(labels)
        as_real, as_fake = torch.cat([labels, nothing], 1), torch.cat([nothing, labels], 1)
    else:
        as_real, as_fake = labels, labels + classes
    return cross_entropy(wide(outputs), as_real), cross_entropy(wide(outputs), as_fake)


def _score(values: Tensor) -> Tensor:
    if values.numel() != len(values):
        raise UserError(f"one value for each sample is wanted, (N) or (N, 1), not {tuple(values.shape)}")
    return wide(values).flatten()
