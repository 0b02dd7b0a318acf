"""Several networks at once, a network as its own teacher, and no teacher at all: soft targets from other sources.

Plain born-again networks and Tf-KD's self-training need no loss of their own: the teacher is an earlier copy of the
student, the loss is ``kd`` (temperature 1 for born-again; Tf-KD's code sets it by network and averages over the
classes too, times a multiplier). So do label smoothing (``cross_entropy(label_smoothing=...)``), which is
``virtual_teacher_kd`` with a uniform teacher, weighted by the smoothing.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from understudy.errors import UserError
from understudy.methods.kd import kd
from understudy.methods.shared.logits import Form, check_same, check_stack, divergence, split
from understudy.objective.labels import cross_entropy
from understudy.precision import wide


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
