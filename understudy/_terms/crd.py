"""Contrastive representation distillation (Tian, Krishnan, Isola, 2020), with its memory."""

from dataclasses import dataclass
from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn

from understudy import losses
from understudy._losses._contrastive import crd_log_normalizer
from understudy._terms.crd_batch import Projections, check_size
from understudy.errors import UserError
from understudy.methods.shared.relations import inner_products, unit
from understudy.objective.term import Facts, Reading, Reads, Shapes, Term
from understudy.taps import Pair

VECTORS = ("seen_by_student", "seen_by_teacher")


class Memory(Projections):
    """The last vectors of every sample that trains, of both networks, and who is of which class.

    Vectors are rounded to what half a float32 holds, so that checkpoints hold them in half the space and lose nothing.
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
        self.estimated = False  # known beside the buffer: a device that is asked for it waits
        labels = facts.labels.cpu().long()[trained]
        counts = labels.bincount()
        # Sorted by class, a class is one stretch, and the others are what lies before and behind it.
        found = {
            "rows": torch.full((facts.samples,), -1).index_copy(0, trained, torch.arange(len(trained))),
            "labels": labels,
            "order": labels.argsort(stable=True),
            "counts": counts,
            "starts": counts.cumsum(0) - counts,
        }
        for name, values in found.items():
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
            memory.index_copy_(0, rows, _rounded(unit(momentum * memory[rows] + (1 - momentum) * vectors)))

    def estimate(self, log_z: Tensor) -> None:
        self.log_z.copy_(log_z)
        self.estimated = True

    def _load_from_state_dict(self, *args: Any, **keywords: Any) -> None:
        super()._load_from_state_dict(*args, **keywords)
        self.estimated = bool(self.log_z.isfinite().all())

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for name in VECTORS:
            destination[prefix + name] = destination[prefix + name].half()


def _rounded(vectors: Tensor) -> Tensor:
    return vectors.half().float()


@dataclass(frozen=True)
class CRD(Term):
    """Tells a sample's vector by the other network from those of many samples, which a memory holds.

    ``-log h(u_0) - sum_k log(1 - h(u_k))``, both ways; see ``losses.crd``. Weight 0.8. Needs the samples' numbers
    (``ids``) and facts of the data; where there are none, ``CRDBatch`` needs neither

    Args:
        pair: what goes into both classifiers, ``"fc:input -> fc:input"``.
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
    """

    pair: str
    width: int = 128
    negatives: int = 16384
    temperature: float = 0.07
    momentum: float = 0.5
    other_classes: bool = True

    def __post_init__(self) -> None:
        Pair.parse(self.pair)
        check_size(self, self.width, self.temperature)
        if self.negatives < 1:
            raise UserError(f"{self}: there is one negative at least")
        if not 0 <= self.momentum < 1:
            raise UserError(f"{self}: momentum is from 0 up to, not including, 1")

    @property
    def reads(self) -> Reads:
        return Reads.pairs((Pair.parse(self.pair),))

    def build(self, shapes: Shapes) -> nn.Module:
        if shapes.facts is None:
            raise UserError("CRD keeps a memory of every sample: pass facts= (samples and labels), or take CRDBatch")
        if self.other_classes and len(shapes.facts.labels.unique()) < 2:
            raise UserError("CRD: all samples are of one class: other_classes=False draws negatives from all of them")
        pair = Pair.parse(self.pair)
        return Memory(shapes.student[pair.student], shapes.teacher[pair.teacher], self.width, shapes.facts)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        assert isinstance(owned, Memory)
        forth, back = (
            losses.crd(
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
            found = [self._log_z(owned, i, u) for i, u in enumerate(self._similarities(reading, owned))]
            owned.estimate(torch.stack(found))
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
        pair = Pair.parse(self.pair)
        vectors: tuple[Tensor, Tensor] = owned(reading.student[pair.student], reading.teacher[pair.teacher])
        return vectors

    def _log_z(self, memory: Memory, direction: int, similarities: Tensor) -> Tensor:
        estimate = crd_log_normalizer(similarities, samples=len(memory.order), temperature=self.temperature)
        kept = memory.log_z[direction]
        return torch.where(kept.isfinite(), kept, estimate)


def _ids(reading: Reading) -> Tensor:
    if reading.ids is None:
        raise UserError("CRD keeps a memory of every sample: pass ids= with the batch, or take CRDBatch")
    return reading.ids.to(reading.labels.device)
