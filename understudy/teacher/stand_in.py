"""Teachers that cost less: a copy stands in for each one, its batch norms folded, in low precision where that is asked.

That the copy answers alike is checked on samples of the training part, for every value that a stage reads, before the
stage begins. What does not pass is not used, and a line says so.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakValueDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from understudy.data.parts import Data, Part
from understudy.models.fingerprints import brief, of_network, of_values
from understudy.objective import Asker, Objective, evaluating
from understudy.settings import Settings
from understudy.stored.value import rounding
from understudy.taps import Answer, TappedNetwork, is_bare
from understudy.teacher.folding import LAYERS, copied, fold

AGREEMENT = 0.99  # of the first choices in low precision with those in float32, one sample apart
DIVERGENCE = 0.05  # the largest KL (nats, at temperature 1) of an answer in low precision from that in float32
DISTANCE = 0.02  # of hidden values in low precision from those in float32, by length
MOST, LEAST, VALUES = 256, 32, 2**20  # samples that are looked at: fewer where they are large
BATCH = 64
FEW = 4  # answers by which a teacher is known again


class Lean:
    """A teacher's copy, asked in its stead."""

    def __init__(self, network: nn.Module, teacher: TappedNetwork, settings: Settings, layers: Sequence[str] = ()):
        self.tapped = TappedNetwork(settings.place(network), teacher.taps, cut=teacher.cut, called=teacher.called)
        self.settings, self.layers = settings, layers

    @property
    def form(self) -> str:
        """How it is asked: its precision, and which layers were folded."""
        return f"{self.settings.precision}{f', without {brief(self.layers)}' if self.layers else ''}"

    def compiled(self) -> "Lean":
        """The same through ``torch.compile``, where the settings say so."""
        return Lean(self.settings.compiled(self.tapped.network), self.tapped, self.settings, self.layers)

    def __call__(self, inputs: Any) -> Answer:
        if self.tapped.taps:  # what inference mode makes cannot be saved for backward, and maps are dear to copy
            with torch.no_grad(), self.settings.autocast():
                return self.tapped(inputs)
        with torch.inference_mode(), self.settings.autocast():
            logits = self.tapped(inputs).logits
        return Answer(logits.clone(), {})


def unlearned(network: nn.Module) -> nn.Module:
    """The network, known from here on, and in its copies, as one that has learned nothing yet.

    Its answers are ties that any rounding breaks. They tell nothing about low precision, which it is granted: so a
    step costs what it will cost with the weights that are yet to be learned.
    """
    network.has_learned = False  # type: ignore[assignment]
    return network


def lean(
    objective: Objective,
    teachers: Sequence[nn.Module],
    data: Data,
    settings: Settings,
    note: Callable[[str], None],
) -> list[str]:
    """Let a copy stand in for each teacher that a stage asks; answers with how each one is asked from now on.

    ``teachers`` are the networks themselves, where the objective's are compiled already: copies are compiled last.
    """
    wished = settings.of_teacher.precision
    if settings.teacher == "plain" or objective.terms.reads.gradients or not objective.teachers:
        return [wished] * len(objective.teachers)
    batches = _samples(data, settings)
    askers: list[Asker | None] = []
    forms = []
    pairs = zip(objective.teachers, teachers, strict=False)  # not every one need be read
    for number, (asked, network) in enumerate(pairs):
        teacher = TappedNetwork(network, asked.taps, cut=asked.cut, called=asked.called)
        found = _stand_in(number, teacher, batches, settings, note) if is_bare(network) else None
        askers.append(found)
        forms.append(found.form if found else wished)
    objective.stand_in(askers)
    return forms


@dataclass(frozen=True)
class _Verdict:
    """What was found out about copies of a teacher."""

    possible: bool
    folded: bool = False
    low: bool = False
    notes: tuple[str, ...] = ()


# Of this process: the trainings of a sweep share a verdict, those that are under way together the copy.
_verdicts: dict[str, _Verdict] = {}
_copies: WeakValueDictionary[tuple[str, int], Lean] = WeakValueDictionary()
_timed: dict[tuple[int, str], _Verdict] | None = None  # those of teachers that are timed, while they are


@contextmanager
def judged_once() -> Iterator[None]:
    """For a while, in which the same teachers are timed under many settings: each is judged once for each precision.

    A judgement takes as long as many steps, and memory format and threads change it by rounding alone. Trainings judge
    for themselves, so that one that goes on finds the same.
    """
    global _timed
    before, _timed = _timed, {}
    try:
        yield
    finally:
        _timed = before


def _stand_in(
    number: int, teacher: TappedNetwork, batches: Sequence[Tensor], settings: Settings, note: Callable[[str], None]
) -> Lean | None:
    """The cheapest copy that answers alike; None where there can be no copy."""
    key = _key(teacher, batches, settings)
    verdicts: dict[Any, _Verdict] = _verdicts if _timed is None else _timed
    about = key if _timed is None else (number, settings.of_teacher.precision)
    if about not in verdicts:
        verdicts[about] = _judged(teacher, batches, settings)
    verdict = verdicts[about]
    for text in verdict.notes:
        note(text)
    if not verdict.possible:
        return None
    one = key, id(teacher.network)  # a copy shares tensors with the very teacher that it was made of
    found = _copies.get(one)
    if found is None:
        found = _copy(teacher, batches[0], settings, folded=verdict.folded, low=verdict.low).compiled()
        _copies[one] = found
    return found


def _key(teacher: TappedNetwork, batches: Sequence[Tensor], settings: Settings) -> str:
    """All that a verdict depends on; where two teachers differ in code alone, a few answers tell them apart."""
    with torch.no_grad(), evaluating(teacher.network):
        few = _answers(teacher, [batches[0][:FEW]])
    values = [*batches, *few.taps, *([] if few.logits is None else [few.logits])]
    return brief(
        [
            of_network(teacher.network),
            f"{teacher.called} {teacher.taps} {teacher.cut} {settings} {has_learned(teacher.network)}",
            *map(of_values, values),
        ]
    )


def _judged(teacher: TappedNetwork, batches: Sequence[Tensor], settings: Settings) -> _Verdict:
    wished, example, notes = settings.of_teacher.precision, batches[0], list[str]()
    try:
        found = _copy(teacher, example, settings, folded=True)
    except Exception as error:  # whatever somebody's network raises when it is copied
        return _Verdict(False, notes=(f"{teacher.called} is asked as it is, for it cannot be copied: {error}",))
    with torch.no_grad(), evaluating(teacher.network):
        few = _answers(teacher, batches[:1])  # rounding is alike in all
        folded = bool(found.layers)
        if folded and (reason := _apart(few, _answers(found, batches[:1]))):
            notes.append(f"{teacher.called} is asked with its batch norms as they are: folded, {reason}")
            folded = False
        low = wished != "float32"
        if low and has_learned(teacher.network):
            found = _copy(teacher, example, settings, folded=folded, low=True)
            if reason := _changed(_answers(teacher, batches), _answers(found, batches)):
                notes.append(f"{teacher.called} is asked in float32: in {wished}, {reason}")
                low = False
    return _Verdict(True, folded, low, tuple(notes))


def has_learned(network: nn.Module) -> bool:
    return getattr(network, "has_learned", True)


def _copy(teacher: TappedNetwork, example: Tensor, settings: Settings, *, folded: bool, low: bool = False) -> Lean:
    """A copy of the teacher."""
    network, layers = _folded(teacher, example[:2]) if folded else (copied(teacher.network), [])
    if low:
        return Lean(_narrowed(network), teacher, settings.of_teacher, layers)
    return Lean(network, teacher, replace(settings, precision="float32"), layers)


def _folded(teacher: TappedNetwork, example: Tensor) -> tuple[nn.Module, list[str]]:
    network = copied(teacher.network)
    tapped = TappedNetwork(network, teacher.taps, called=teacher.called)
    return network, fold(network, lambda: tapped(example).values())


def _narrowed(network: nn.Module) -> nn.Module:
    """A copy whose layers hold their weights in bfloat16 already, where autocast would make them so at every step."""
    narrow = copied(network)
    for module in narrow.modules():
        if type(module) in LAYERS:
            for name, value in module.named_parameters(recurse=False):  # new ones: the old are the teacher's own
                setattr(module, name, nn.Parameter(value.detach().bfloat16(), requires_grad=False))
    return narrow


def _samples(data: Data, settings: Settings) -> list[Tensor]:
    """Some samples of the training part, spread over it, as they are."""
    values = torch.Size(data.shape).numel()
    count = min(MOST, max(LEAST, VALUES // values))
    part = Part(data.train.source, data.train.ids[:: -(-len(data.train) // count)])
    return [settings.prepare(batch.inputs) for batch in part.in_order(BATCH, settings.torch_device)]


@dataclass(frozen=True)
class _Seen:
    """Each value that is read, over all samples."""

    logits: Tensor | None
    taps: list[Tensor]


def _answers(asker: Asker, batches: Iterable[Tensor]) -> _Seen:
    answers = [asker(inputs) for inputs in batches]
    taps = [torch.cat([answer[tap] for answer in answers]).float() for tap in answers[0]]
    return _Seen(None if answers[0].output is None else torch.cat([a.logits for a in answers]).float(), taps)


def _apart(truth: _Seen, found: _Seen) -> str | None:
    """Whether two networks that should differ by rounding alone differ by more."""
    pairs = [*zip(truth.taps, found.taps, strict=True)]
    if truth.logits is not None and found.logits is not None:
        pairs.append((truth.logits, found.logits))
    for one, other in pairs:
        apart = ((one - other).abs().max() / one.abs().max().clamp_min(1e-30)).item()
        allowed = rounding("float32", one.device)
        if not apart <= allowed:
            return f"its answers differ by {apart:.2g} of the largest value (allowed: {allowed:g})"
    return None


def _changed(truth: _Seen, found: _Seen) -> str | None:
    """Whether low precision changes what the teacher says."""
    if truth.logits is not None and found.logits is not None:
        before, after = truth.logits.double().log_softmax(1), found.logits.double().log_softmax(1)
        others = int((before.argmax(1) != after.argmax(1)).sum())
        if others > max(1, (1 - AGREEMENT) * len(before)):
            return f"it chooses another class for {others} of {len(before)} samples (allowed: {1 - AGREEMENT:.0%})"
        divergence = F.kl_div(after, before, reduction="none", log_target=True).sum(1).max().item()
        if not divergence <= DIVERGENCE:
            return f"its answers differ by a KL of up to {divergence:.2g} (allowed: {DIVERGENCE:g})"
    for one, other in zip(truth.taps, found.taps, strict=True):
        distance = ((one - other).norm() / one.norm().clamp_min(1e-30)).item()
        if not distance <= DISTANCE:
            return f"its hidden values differ by {distance:.2g} of their length (allowed: {DISTANCE:g})"
    return None
