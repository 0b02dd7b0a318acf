"""Contrast with many samples that a memory holds: ``CE + 0.8 CRD``.

The defaults are those of the authors' code; the memory holds two vectors for every sample that trains.

Settings:
    embedding: what goes into both classifiers, ``"fc:input -> fc:input"``.
    weight: of the contrast.
    width: of the projected vectors.
    negatives: how many samples of other classes each one is told from.
    temperature: of the similarities.
    momentum: of the memory.
"""

from dataclasses import dataclass
from math import log, sqrt
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from understudy.bounds import Interval, ShareBelowOne, Temperature, Width
from understudy.errors import UserError
from understudy.methods.method import one_stage
from understudy.methods.shared.logits import class_numbers
from understudy.methods.shared.pairs import EmbeddingTerm
from understudy.methods.shared.relations import flat, inner_products, one_batch, unit
from understudy.objective.term import Facts, Reading, Reads, Shapes, needs_classes
from understudy.precision import wide
from understudy.tasks.task import Task

VECTORS = ("seen_by_student", "seen_by_teacher")


def crd(
    similarities: Tensor,
    *,
    samples: int,
    temperature: float = 0.07,
    log_normalizer: Tensor | float | None = None,
) -> Tensor:
    """Contrastive representation distillation against given negatives: tell the one true partner from K noise ones.

    ``-log h(u_0) - sum_(k = 1..K) log(1 - h(u_k))``, ``h(u) = P / (P + K/M)``, ``P = exp(u / tau) / Z``; the mean over
    the samples is the loss of one direction

    Args:
        similarities: (N, K+1) inner products of an anchor with its partner (column 0) and K others, all of them
            vectors of length 1. The loss is called once with the student's vector as the anchor and the teacher's as
            partners, and once the other way round; the two are added. Weight 0.8.
        samples: M, of the whole training set: the noise is uniform over them.
        temperature: tau. 0.07 in the authors' code, where K is 16384.
        log_normalizer: the logarithm of Z, a constant that is estimated once, on the first batch of a training, and
            kept (``crd_log_normalizer``). None estimates it on this batch.

    Reference: Tian, Krishnan, Isola, "Contrastive representation distillation", ICLR 2020, equation 18.
    Differences: computed on logarithms, so that the code's 1e-7 in the denominator is not needed.

    >>> similarities = torch.tensor([[1.0, 0.0, 0.0]])
    >>> crd(similarities, samples=10)
    tensor([0.5108])
    """
    if similarities.ndim != 2 or similarities.shape[1] < 2:
        raise UserError(f"crd takes the partner and one other at least, (N, K+1), not {tuple(similarities.shape)}")
    u = wide(similarities)
    if log_normalizer is None:
        log_normalizer = crd_log_normalizer(u, samples=samples, temperature=temperature)
    noise = log((u.shape[1] - 1) / samples)
    odds = u / temperature - log_normalizer - noise  # the logarithm of P / (K/M): h is its sigmoid
    return -F.logsigmoid(odds[:, 0]) - F.logsigmoid(-odds[:, 1:]).sum(1)


def crd_log_normalizer(similarities: Tensor, *, samples: int, temperature: float = 0.07) -> Tensor:
    """The logarithm of Z as CRD estimates it on its first batch: ``Z = M mean exp(u / tau)``; without gradient."""
    u = wide(similarities).detach()
    return (u / temperature).flatten().logsumexp(0) - log(u.numel()) + log(samples)


def info_nce(
    student: Tensor,
    teacher: Tensor,
    *,
    temperature: float = 0.07,
    both: bool = True,
    labels: Tensor | None = None,
) -> Tensor:
    """Contrast within the batch: which of the teacher's answers belongs to this one of the student's, and vice versa.

    ``-log softmax_j(<s_i, t_j> / tau)_i - log softmax_j(<s_j, t_i> / tau)_i``, all vectors scaled to length 1; the
    mean over the samples i is the loss. It needs no memory, and its negatives are the others of the batch

    Args:
        student, teacher: projected to the same width, (N, D). No paper's weight: 0.8, as for ``crd``, is of the
            right size.
        temperature: tau, as in CRD's code.
        both: the second part too, with the teacher's answer as the anchor.
        labels: class numbers (N); others of the same class are then no negatives (CRD draws them from other
            classes too).

    Reference: van den Oord, Li, Vinyals, "Representation learning with contrastive predictive coding", 2018; as an
    alternative to the memory of Tian, Krishnan, Isola, ICLR 2020.
    Differences: the two parts are added, as CRD's are; others take their mean.

    >>> vectors = torch.eye(2)
    >>> info_nce(vectors, vectors, temperature=1.0)
    tensor([0.6265, 0.6265])
    """
    one_batch(student, teacher)
    own, other = unit(flat(student)), unit(flat(teacher))
    if own.shape != other.shape:
        raise UserError(f"project both to one width: the student's is {own.shape[1]}, the teacher's {other.shape[1]}")
    logits = inner_products(own, other) / temperature
    if labels is not None:
        same = labels.unsqueeze(0) == labels.unsqueeze(1)
        itself = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
        logits = torch.where(same & ~itself, -torch.inf, logits)
    right = logits.diagonal()
    loss = logits.logsumexp(1) - right
    return loss + logits.logsumexp(0) - right if both else loss


class Projections(nn.Module):
    """Both networks' values as vectors of one width and of length 1."""

    def __init__(self, student: Tensor, teacher: Tensor, width: int):
        super().__init__()
        self.student = nn.Linear(student[0].numel(), width)
        self.teacher = nn.Linear(teacher[0].numel(), width)

    def forward(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        return unit(flat(self.student(flat(student)))), unit(flat(self.teacher(flat(teacher))))


@dataclass(frozen=True)
class CRDBatch(EmbeddingTerm):
    """Contrast within the batch, without a memory: which of the teacher's vectors belongs to this one of the student's.

    ``-log softmax_j(<s_i, t_j> / tau)_i - log softmax_j(<s_j, t_i> / tau)_i``; see ``losses.info_nce``

    Args:
        embedding: what goes into both classifiers, ``"fc:input -> fc:input"``.
        width: of the projected vectors, as CRD's.
        temperature: tau, as CRD's.
        other_classes: others of the same class are no negatives. Of mixed labels the largest share counts.

    Reference: van den Oord, Li, Vinyals, "Representation learning with contrastive predictive coding", 2018, with the
    projections of Tian, Krishnan, Isola, ICLR 2020.

    >>> print(CRDBatch("fc:input -> fc:input"))
    CRDBatch(embedding='fc:input -> fc:input')
    """

    width: Width = 128
    temperature: Temperature = 0.07
    other_classes: bool = True

    @property
    def reads(self) -> Reads:
        return super().reads | Reads(batch=True, labels=self.other_classes)

    def misfit(self, task: Task) -> str | None:
        return needs_classes(task) if self.other_classes else None

    def build(self, shapes: Shapes) -> nn.Module:
        pair = self.taps
        return Projections(shapes.student[pair.student], shapes.teacher[pair.teacher], self.width)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        assert owned is not None
        pair = self.taps
        student, teacher = owned(reading.student[pair.student], reading.teacher[pair.teacher])
        same = class_numbers(reading.labels) if self.other_classes else None
        return info_nce(student, teacher, temperature=self.temperature, labels=same)


class Memory(Projections):
    """The last vectors of every training sample, of both networks, and the samples of each class.

    Vectors are rounded to float16, so that checkpoints hold them in half the space without loss.
    """

    seen_by_student: Tensor
    seen_by_teacher: Tensor
    log_z: Tensor
    rows: Tensor
    labels: Tensor
    order: Tensor
    starts: Tensor
    counts: Tensor

    def __init__(self, student: Tensor, teacher: Tensor, width: int, facts: Facts):
        super().__init__(student, teacher, width)
        trained = torch.arange(facts.samples) if facts.ids is None else facts.ids.cpu()
        for name in VECTORS:
            spread = torch.rand(len(trained), width) * 2 - 1
            self.register_buffer(name, _rounded(spread * sqrt(3 / width)))
        self.register_buffer("log_z", torch.full((2,), torch.inf))  # of each direction; infinite until it is estimated
        self.estimated = False  # a copy of the buffer's state on the CPU, which needs no synchronisation
        labels = facts.labels.cpu().long()[trained] if len(facts.labels) else torch.zeros_like(trained)
        counts = labels.bincount()
        # Sorted by class, a class is one interval, and the other classes are before and after it.
        buffers = {
            "rows": torch.full((facts.samples,), -1).index_copy(0, trained, torch.arange(len(trained))),
            "labels": labels,
            "order": labels.argsort(stable=True),
            "counts": counts,
            "starts": counts.cumsum(0) - counts,
        }
        for name, values in buffers.items():
            self.register_buffer(name, values, persistent=False)

    def others(self, rows: Tensor, count: int) -> Tensor:
        """Rows of other classes, (N, count), all equally likely."""
        own = self.labels[rows]
        size, start = self.counts[own].unsqueeze(1), self.starts[own].unsqueeze(1)
        room = len(self.order) - size
        drawn = torch.minimum((torch.rand(len(rows), count, device=rows.device) * room).long(), room - 1)
        return self.order[drawn + torch.where(drawn >= start, size, 0)]

    def anyone(self, rows: Tensor, count: int) -> Tensor:
        return torch.randint(len(self.order), (len(rows), count), device=rows.device)

    def write(self, rows: Tensor, student: Tensor, teacher: Tensor, momentum: float) -> None:
        for memory, vectors in ((self.seen_by_student, student), (self.seen_by_teacher, teacher)):
            memory.index_copy_(
                0, rows, _rounded(unit(momentum * memory[rows] + (1 - momentum) * vectors)).to(memory.dtype)
            )

    def estimate(self, log_z: Tensor) -> None:
        self.log_z.copy_(log_z)
        self.estimated = True

    def _load_from_state_dict(self, *args: object, **keywords: object) -> None:
        super()._load_from_state_dict(*args, **keywords)
        self.estimated = bool(self.log_z.isfinite().all())

    def _save_to_state_dict(self, destination: dict[str, Tensor], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for name in VECTORS:
            destination[prefix + name] = destination[prefix + name].half()


def _rounded(vectors: Tensor) -> Tensor:
    return vectors.half().float()


@dataclass(frozen=True)
class CRD(EmbeddingTerm):
    """Tells a sample's vector by the other network from those of many samples, which a memory holds.

    ``-log h(u_0) - sum_k log(1 - h(u_k))``, both ways; see ``losses.crd``. Weight 0.8. Needs the samples' numbers
    (``ids``) and facts of the data; where there are none, ``CRDBatch`` needs neither

    Args:
        embedding: what goes into both classifiers, ``"fc:input -> fc:input"``.
        width: of the projected vectors, 128.
        negatives: K, 16384, or as many as there are samples if these are fewer.
        temperature: tau, 0.07.
        momentum: of the memory, 0.5.
        other_classes: draw the negatives from other classes only, as published for labelled data.

    Reference: Tian, Krishnan, Isola, "Contrastive representation distillation", ICLR 2020.
    Differences: negatives are drawn anew for every step with replacement (the code: without); what the memory takes in
    has been projected after the step (the code: before). A sample's class is looked up by its number: of mixed labels
    none is read, and the memory holds mixed samples as they come. Vectors are kept in 16 bits' precision. Samples that
    do not train are in no memory; where one is asked about, its own vector by the other network is the one of now.

    >>> print(CRD("fc:input -> fc:input", negatives=1024))
    CRD(embedding='fc:input -> fc:input', negatives=1024)
    """

    width: Width = 128
    negatives: Annotated[int, Interval(ge=1, le=10_000_000)] = 16384
    temperature: Temperature = 0.07
    momentum: ShareBelowOne = 0.5
    other_classes: bool = True

    @property
    def reads(self) -> Reads:
        return super().reads | Reads(batch=True, labels=self.other_classes)

    def misfit(self, task: Task) -> str | None:
        return needs_classes(task) if self.other_classes else None

    def build(self, shapes: Shapes) -> nn.Module:
        if shapes.facts is None:
            raise UserError("CRD keeps a memory of every sample: pass facts= (samples and labels), or take CRDBatch")
        if self.other_classes and not len(shapes.facts.labels):
            raise UserError("CRD: some samples have no label: other_classes=False draws negatives from all of them")
        if self.other_classes and len(shapes.facts.labels.unique()) < 2:
            raise UserError("CRD: all samples are of one class: other_classes=False draws negatives from all of them")
        pair = self.taps
        return Memory(shapes.student[pair.student], shapes.teacher[pair.teacher], self.width, shapes.facts)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        assert isinstance(owned, Memory)
        forth, back = (
            crd(
                similarities,
                samples=len(owned.order),
                temperature=self.temperature,
                log_normalizer=self._log_z(owned, direction, similarities),
            )
            for direction, similarities in enumerate(self._similarities(reading, owned))
        )
        return forth + back

    def learn(self, reading: Reading, owned: nn.Module) -> None:
        assert isinstance(owned, Memory)
        if not owned.estimated:  # Z is estimated once, on the first batch
            estimates = [self._log_z(owned, i, u) for i, u in enumerate(self._similarities(reading, owned))]
            owned.estimate(torch.stack(estimates))
        owned.write(owned.rows[_ids(reading)], *self._vectors(reading, owned), self.momentum)

    def _similarities(self, reading: Reading, memory: Memory) -> tuple[Tensor, Tensor]:
        """Of the student's vectors with the teacher's in memory, and the other way round: (N, 1 + K), own one first.

        The product with the whole memory is smaller than K rows of it for each sample would be.
        """
        rows = memory.rows[_ids(reading)]
        known, held = rows.clamp_min(0), rows >= 0
        draw = memory.others if self.other_classes else memory.anyone
        columns = torch.cat([known.unsqueeze(1), draw(known, min(self.negatives, len(memory.order)))], dim=1)
        student, teacher = self._vectors(reading, memory)
        forth = inner_products(student, memory.seen_by_teacher).gather(1, columns)
        back = inner_products(teacher, memory.seen_by_student).gather(1, columns)
        now = (student * teacher).sum(1, keepdim=True)  # for samples that do not train, which no memory holds
        remembered = held.unsqueeze(1) | (torch.arange(columns.shape[1], device=rows.device) > 0)
        return torch.where(remembered, forth, now), torch.where(remembered, back, now)

    def _vectors(self, reading: Reading, owned: nn.Module) -> tuple[Tensor, Tensor]:
        pair = self.taps
        vectors: tuple[Tensor, Tensor] = owned(reading.student[pair.student], reading.teacher[pair.teacher])
        return vectors

    def _log_z(self, memory: Memory, direction: int, similarities: Tensor) -> Tensor:
        estimate = crd_log_normalizer(similarities, samples=len(memory.order), temperature=self.temperature)
        kept = memory.log_z[direction]
        return torch.where(kept.isfinite(), kept, estimate)


def _ids(reading: Reading) -> Tensor:
    if reading.ids is None:
        raise UserError("CRD keeps a memory of every sample: pass ids= with the batch, or take CRDBatch")
    return reading.ids if (device := reading.student.device) is None else reading.ids.to(device)


_PAPER = "Tian et al., Contrastive representation distillation"
METHOD = one_stage(
    "crd",
    CRD,
    stage="labels and contrast",
    family="features",
    year=2020,
    paper=_PAPER,
    weight=0.8,
)
BATCH = one_stage(
    "crd-batch",
    CRDBatch,
    stage="labels and contrast",
    family="features",
    year=2020,
    paper=f"{_PAPER}, with InfoNCE within the batch",
    weight=0.8,
    doc="""Contrast with the others of the batch, without a memory: ``CE + 0.8 InfoNCE``.

    Projections, temperature and weight are those of CRD; nothing grows with the data set.
    """,
)
