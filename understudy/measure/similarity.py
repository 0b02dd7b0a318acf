"""Linear centred kernel alignment (CKA): how alike the inner values of two networks are, layer by layer.

Kornblith et al. (2019), in the minibatch form of Nguyen, Raghu and Kornblith (2021): the unbiased estimator of HSIC is
summed over minibatches, so that its expectation does not depend on their size and no sample's values are kept.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from understudy.nested import Nested
from understudy.objective import evaluating
from understudy.taps import Tap, TappedNetwork, call
from understudy.taps.stages import stages
from understudy.taps.tracing import Traced

FEWEST = 4  # samples of a minibatch for which the estimator is defined


@dataclass(frozen=True)
class Similarity:
    """``values[i][j]``: the similarity of the teacher's tap i and the student's tap j, from 0 to 1."""

    teacher: tuple[str, ...]
    student: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]
    samples: int


class CKA:
    """CKA of every value of one network with every value of another, gathered over minibatches."""

    def __init__(self) -> None:
        self.cross: Tensor | None = None  # sums of HSIC: first with second, and each with itself
        self.first: Tensor | None = None
        self.second: Tensor | None = None

    def add(self, first: Sequence[Tensor], second: Sequence[Tensor]) -> None:
        """The values of both on one minibatch; each has its samples along the first dimension."""
        ours, theirs = _grams(first), _grams(second)
        cross, one, two = _hsic(ours[:, None], theirs[None]), _hsic(ours, ours), _hsic(theirs, theirs)
        self.cross = cross if self.cross is None else self.cross + cross
        self.first = one if self.first is None else self.first + one
        self.second = two if self.second is None else self.second + two

    def values(self) -> Tensor:
        """One for each pair; 0 where a value does not vary."""
        if self.cross is None or self.first is None or self.second is None:
            raise ValueError("no minibatch has been added")
        scale = (self.first.clamp_min(0)[:, None] * self.second.clamp_min(0)[None]).sqrt()
        return torch.where(scale > 0, self.cross / scale, 0.0)


def similarity(
    teacher: nn.Module,
    student: nn.Module,
    batches: Iterable[Nested],
    *,
    teacher_taps: Sequence[Tap | str],
    student_taps: Sequence[Tap | str],
) -> Similarity:
    """The map of two networks over some batches of inputs."""
    theirs, ours = TappedNetwork(teacher, teacher_taps), TappedNetwork(student, student_taps)
    cka, samples = CKA(), 0
    with torch.no_grad(), evaluating(teacher), evaluating(student):
        for inputs in batches:
            taught, learnt = call(theirs, inputs), call(ours, inputs)
            values = [taught[tap] for tap in theirs.taps], [learnt[tap] for tap in ours.taps]
            if len(values[0][0]) >= FEWEST:
                cka.add(*values)
                samples += len(values[0][0])
    rows = tuple(tuple(round(value, 4) for value in row) for row in cka.values().tolist())
    return Similarity(tuple(map(str, theirs.taps)), tuple(map(str, ours.taps)), rows, samples)


def taps_to_compare(traces: Sequence[Traced], *, most: int = 8, also: Iterable[Tap] = ()) -> list[Tap]:
    """At most ``most`` taps for a map, in their order: ``also``, the ends of the stages, then taps between them."""
    order = {traced.path: place for place, traced in enumerate(traces)}
    chosen = dict.fromkeys(list(dict.fromkeys(also))[:most])
    for traced in stages(traces):
        if len(chosen) < most:
            chosen.setdefault(Tap(traced.path))
    between = _between(traces, chosen, most - len(chosen))
    for traced in _spread(between, most - len(chosen)):
        chosen.setdefault(Tap(traced.path))
    return sorted(chosen, key=lambda tap: order.get(tap.path, -1))


def _between(traces: Sequence[Traced], chosen: Iterable[Tap], wanted: int) -> list[Traced]:
    """Further taps, each value once, nested no deeper than needed."""
    values = {(t.depth, t.shape): t for t in traces if t.tappable and t.depth > 0}  # an outer module answers last
    paths = {tap.path for tap in chosen}
    taken = {(t.depth, t.shape) for t in traces if t.path in paths}
    left = [t for value, t in values.items() if value not in taken]
    for nested in sorted({t.path.count(".") for t in left}):
        shallow = [t for t in left if t.path.count(".") <= nested]
        if len(shallow) >= wanted:
            return shallow
    return left


def _spread(traces: Sequence[Traced], count: int) -> list[Traced]:
    """So many of them, evenly."""
    if count <= 0 or not traces:
        return []
    step = max(len(traces) / count, 1.0)
    return [traces[int(place * step)] for place in range(min(count, len(traces)))]


def _grams(values: Sequence[Tensor]) -> Tensor:
    """Each value's similarities of samples, without those with themselves."""
    grams = []
    for value in values:
        flat = value.detach().flatten(1).float()
        flat = flat - flat.mean(0)  # changes nothing but the rounding
        grams.append((flat @ flat.T).cpu().double().fill_diagonal_(0))
    return torch.stack(grams)


def _hsic(first: Tensor, second: Tensor) -> Tensor:
    """The unbiased estimator of Song et al. (2012) over the last two dimensions."""
    n = first.shape[-1]
    trace = (first * second).sum((-2, -1))
    sums = first.sum((-2, -1)) * second.sum((-2, -1)) / ((n - 1) * (n - 2))
    rows = (first.sum(-1) * second.sum(-1)).sum(-1) * 2 / (n - 2)
    return (trace + sums - rows) / (n * (n - 3))
