"""Several networks at once, a network as its own teacher, and no teacher at all: soft targets from other sources.

Plain born-again networks and Tf-KD's self-training need no loss of their own: the teacher is an earlier copy of the
student, the loss is ``kd`` (temperature 1 for born-again; Tf-KD's code sets it by network and averages over the
classes too, times a multiplier). So do label smoothing (``cross_entropy(label_smoothing=...)``), which is
``virtual_teacher_kd`` with a uniform teacher, weighted by the smoothing.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from understudy.errors import UserError
from understudy.methods.kd import kd
from understudy.methods.shared.logits import Form, check_same, check_stack, divergence, one_hot, split
from understudy.objective.labels import cross_entropy
from understudy.precision import wide


def ensemble_kd(
    student_logits: Tensor,
    teachers_logits: Tensor,
    *,
    temperature: float = 4.0,
    weights: Tensor | Sequence[float] | None = None,
    average: Literal["probabilities", "logits"] = "probabilities",
    squared: bool = True,
    form: Form = "kl",
) -> Tensor:
    """Several teachers: KD towards the average of their soft targets, one value per sample.

    ``T^2 KL(sum_k w_k softmax(t_k/T) || softmax(s/T))``, or with ``softmax(sum_k w_k t_k / T)``

    Args:
        student_logits: (N, C).
        teachers_logits: of K teachers, (K, N, C).
        temperature: T of all.
        weights: of the teachers, (K), or for each sample too, (K, N); brought to the sum 1. None: all alike.
        average: of the softened probabilities (You et al.) or of the logits (Ba & Caruana's ensembles).
        squared: multiply by T^2.
        form: ``"kl"`` or ``"ce"``, as in ``kd``.

    Weight in the objective: beside the labels' cross-entropy and a triplet term on features; the paper's weights
    were not found. Mean over the batch.
    Reference: You, Xu, Xu, Tao, "Learning from multiple teacher networks", KDD 2017.
    Differences: the paper is known to us from its abstract and from memory. The sum of the teachers' separate
    divergences (``mutual_kl(reduce="sum")``) has K times this one's gradient and another value.
    """
    check_stack(student_logits, teachers_logits, what="the teachers' logits")
    share = _shares(weights, teachers_logits).unsqueeze(-1)
    teachers = wide(teachers_logits) / temperature
    if average == "logits":
        target = F.log_softmax((share * teachers).sum(0), dim=-1)
    elif average == "probabilities":
        target = (share.log() + F.log_softmax(teachers, dim=-1)).logsumexp(0)
    else:
        raise UserError(f"average is 'probabilities' or 'logits', not {average!r}")
    student = F.log_softmax(wide(student_logits) / temperature, dim=-1)
    value = divergence(student, target, form=form)
    return value * temperature**2 if squared else value


def majority_vote(teachers_logits: Tensor) -> Tensor:
    """The class that most of the K teachers answer, (N), from (K, N, C); ties go to the larger mean probability.

    ``argmax_c sum_k [argmax t_k = c]``
    """
    classes = teachers_logits.shape[-1]
    logits = wide(teachers_logits)
    votes = one_hot(logits.argmax(-1), classes).sum(0)
    return (votes + 0.5 * logits.softmax(-1).mean(0)).argmax(-1)


def vote_cross_entropy(student_logits: Tensor, teachers_logits: Tensor) -> Tensor:
    """Several teachers: cross-entropy with the class that most of them answer, one value per sample.

    ``-log softmax(s)_v``, v the majority's vote

    Args:
        student_logits: (N, C).
        teachers_logits: of K teachers, (K, N, C).

    Weight in the objective: in the place of the labels, or of soft targets where these are not known; mean.
    Reference: You, Xu, Xu, Tao, "Learning from multiple teacher networks", KDD 2017, which votes on the order of
    triplets (a loss on features); the vote on labels is the same idea on answers.
    Differences: ties go to the class of the larger mean probability.
    """
    check_stack(student_logits, teachers_logits, what="the teachers' logits")
    return cross_entropy(student_logits, majority_vote(teachers_logits))


def mutual_kl(
    student_logits: Tensor,
    peers_logits: Tensor,
    *,
    temperature: float = 1.0,
    reduce: Literal["mean", "sum"] = "mean",
) -> Tensor:
    """Deep mutual learning: the divergence from each peer that learns along; one value per sample.

    ``1/(K-1) sum_k T^2 KL(softmax(p_k/T) || softmax(s/T))`` over the K - 1 peers

    Args:
        student_logits: (N, C).
        peers_logits: of the other networks, (K - 1, N, C); no gradient goes to them.
        temperature: T; the paper has 1.
        reduce: ``"mean"`` over the peers (paper), or ``"sum"`` (the authors' code; function matching).

    Weight in the objective: ``CE + DML`` with weight 1, means over the batch, for every network of the cohort.
    Reference: Zhang, Xiang, Hospedales, Lu, "Deep mutual learning", CVPR 2018.
    Differences: the authors' code (TensorFlow, re-identification) sums over the peers.
    """
    check_stack(student_logits, peers_logits, what="the peers' logits")
    if reduce not in ("mean", "sum"):
        raise UserError(f"reduce is 'mean' or 'sum', not {reduce!r}")
    student = F.log_softmax(wide(student_logits) / temperature, dim=-1)
    peers = F.log_softmax(wide(peers_logits).detach() / temperature, dim=-1)
    each = divergence(student.expand_as(peers), peers, form="kl") * temperature**2
    return each.mean(0) if reduce == "mean" else each.sum(0)


def dgkd(
    student_logits: Tensor,
    guides_logits: Tensor,
    labels: Tensor,
    *,
    weight: float = 1.0,
    temperature: float = 5.0,
    kept: Tensor | None = None,
    form: Literal["paper", "code"] = "paper",
) -> Tensor:
    """Densely guided distillation: the labels, and every larger network's soft targets; one value per sample.

    ``K (1 - w) CE + w sum_k b_k T^2 KL(softmax(t_k/T) || softmax(s/T))`` over the K = n + 1 guides: the teacher and
    the n assistants that are larger

    Args:
        student_logits: (N, C).
        guides_logits: (K, N, C).
        labels: class numbers (N) or distributions (N, C).
        weight: w, the balance of soft targets and labels (lambda there).
        temperature: T of all.
        kept: b, which guides take part in this batch, (K); None: all. Stochastic DGKD draws it for each mini-batch.
        form: ``"paper"`` counts the labels once for each guide, ``"code"`` once in all, without the factor K.

    Weight in the objective: it is the whole objective; mean over the batch. The authors' code has w of 1 (no labels
    at all) and T of 5; how the paper chose them for each result is not known to us.
    Reference: Son, Na, Choi, Hwang, "Densely guided knowledge distillation using multiple teacher assistants",
    ICCV 2021; its formula is known to us from others' notes and from the code.
    Differences: the code's KLDivLoss averages over the classes too, so its soft targets are C times weaker than these.
    """
    check_stack(student_logits, guides_logits, what="the guides' logits")
    if kept is not None and len(kept) != len(guides_logits):
        raise UserError(f"kept says of {len(kept)} guides which take part, and there are {len(guides_logits)}")
    if form not in ("paper", "code"):
        raise UserError(f"form is 'paper' or 'code', not {form!r}")
    student = F.log_softmax(wide(student_logits) / temperature, dim=-1)
    guides = F.log_softmax(wide(guides_logits) / temperature, dim=-1)
    each = divergence(student.expand_as(guides), guides, form="kl") * temperature**2
    if kept is not None:
        each = each * kept.to(each).unsqueeze(-1)
    counted = len(guides) if form == "paper" else 1
    return counted * (1 - weight) * cross_entropy(student_logits, labels) + weight * each.sum(0)


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
    """
    return kd(student_logits, teacher_logits, temperature=temperature, squared=False, form=form)


def cwtm(student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
    """Born-again networks, CWTM: the labels' loss, weighted by how sure the teacher is; one value per sample.

    ``N w_n / (sum_m w_m) CE(s_n, y_n)``, w the teacher's largest probability; the mean over the batch is the paper's
    weighted mean

    Args:
        student_logits, teacher_logits: (N, C).
        labels: class numbers (N) or distributions (N, C).

    Weight in the objective: 1, alone. The teacher gives nothing but the weights.
    Reference: Furlanello et al., "Born-again neural networks", ICML 2018.
    Differences: the formula is from memory; no code of the authors' was found. The weights carry no gradient.
    """
    check_same(student_logits, teacher_logits)
    sure = wide(teacher_logits).softmax(-1).amax(-1).detach()
    return sure / sure.mean() * cross_entropy(student_logits, labels)


def dkpp(
    student_logits: Tensor, teacher_logits: Tensor, permutation: Tensor, *, temperature: float = 1.0, form: Form = "kl"
) -> Tensor:
    """Born-again networks, DKPP: KD whose dark knowledge is shuffled: the teacher's other classes change places.

    ``T^2 KL(pi(softmax(t/T)) || softmax(s/T))``, pi keeps the largest probability in its place and permutes the others

    Args:
        student_logits, teacher_logits: (N, C).
        permutation: of 0 to C - 2 for each sample, (N, C - 1): the i-th of the other classes gets the probability of
            the ``permutation[i]``-th, both counted without the teacher's answer.
        temperature: T; the paper has none.
        form: ``"kl"`` or ``"ce"``, as in ``kd``.

    Weight in the objective: 1, alone; mean over the batch.
    Reference: Furlanello et al., "Born-again neural networks", ICML 2018.
    Differences: from memory; whether the paper draws anew for each sample or batch is not known to us: the caller does.
    """
    check_same(student_logits, teacher_logits)
    teacher = F.log_softmax(wide(teacher_logits) / temperature, dim=-1)
    top, others = split(teacher.argmax(-1), teacher)
    check_same(permutation, others, what="the permutation and the classes that it moves")
    student = F.log_softmax(wide(student_logits) / temperature, dim=-1)
    shuffled = torch.cat([teacher.gather(-1, top), teacher.gather(-1, others).gather(-1, permutation)], dim=-1)
    in_order = student.gather(-1, torch.cat([top, others], dim=-1))
    return divergence(in_order, shuffled, form=form) * temperature**2


def virtual_teacher(
    labels: Tensor, classes: int, *, correct: float = 0.99, dtype: torch.dtype = torch.float32
) -> Tensor:
    """A teacher made by hand, always right: ``u_y = a, u_c = (1 - a) / (C - 1)``, (N, C) from labels (N) or (N, C)."""
    target = labels.to(dtype) if labels.is_floating_point() else one_hot(labels, classes, dtype)
    if target.ndim != 2 or target.shape[-1] != classes:
        raise UserError(f"labels {tuple(labels.shape)} are no class numbers, nor distributions over {classes} classes")
    rest = (1 - correct) / (classes - 1)
    return rest + (correct - rest) * target


def virtual_teacher_kd(
    student_logits: Tensor,
    labels: Tensor,
    *,
    correct: float = 0.99,
    temperature: float | None = 20.0,
    student_temperature: float = 1.0,
) -> Tensor:
    """Teacher-free KD (Tf-KD_reg): the divergence from a teacher made by hand; one value per sample.

    ``KL(softmax(u/T) || softmax(s/T_s))``, ``u_y = a``, ``u_c = (1 - a) / (C - 1)`` for all other classes; without
    temperature ``KL(u || softmax(s/T_s))``, which for a of 1 / C is label smoothing's part

    Args:
        student_logits: (N, C).
        labels: class numbers (N) or distributions (N, C).
        correct: a, 0.99 in the authors' code (the paper: at least 0.9, from memory).
        temperature: T, 20, which softens the probabilities u themselves, as the authors' code does; None: u as it is.
        student_temperature: T_s, 1 in the authors' code.

    Weight in the objective: ``(1 - 0.1) CE + 0.1 * 100 * mean over batch and classes`` in the authors' ResNet-18
    recipe for CIFAR-100 (the multiplier changes by network): there, with 100 classes, 0.1 times this one's mean.
    Reference: Yuan et al., "Revisiting knowledge distillation via label smoothing regularization", CVPR 2020.
    Differences: softening probabilities instead of logits makes the target nearly uniform (exp(a / T) at most, to 1):
    the code is followed. The paper's text softens the student's answer as well (from memory): ``student_temperature``.
    """
    student = F.log_softmax(wide(student_logits) / student_temperature, dim=-1)
    target = virtual_teacher(labels, student.shape[-1], correct=correct, dtype=student.dtype)
    check_same(student, target, what="the logits and the labels' distributions")
    if temperature is not None:
        target = (target / temperature).softmax(-1)
    return (torch.xlogy(target, target) - target * student).sum(-1)


def _shares(weights: Tensor | Sequence[float] | None, teachers: Tensor) -> Tensor:
    """The teachers' weights with sum 1: (K, 1), or (K, N) for weights by sample."""
    count, batch = teachers.shape[:2]
    if not isinstance(weights, Tensor):  # made on the device, which would wait for a copy
        listed = [1.0] * count if weights is None else weights
        numbers = [torch.full((1,), weight, device=teachers.device) for weight in listed]
        weights = torch.cat([torch.zeros(0, device=teachers.device), *numbers])
    given = weights.to(teachers.device, wide(teachers).dtype)
    if given.shape not in ((count,), (count, batch)):
        raise UserError(f"weights {tuple(given.shape)} of {count} teachers: one for each, or ({count}, {batch})")
    return (given / given.sum(0)).reshape(count, -1)
