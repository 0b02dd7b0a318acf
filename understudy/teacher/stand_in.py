"""Stand-ins: cheaper copies of teachers, with folded batch norms, and in low precision if it is set.

Before a stage, a copy's answers are compared with the teacher's on samples of the training part, for every
value that the stage reads. A copy with different answers is not used, and a note says so.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from weakref import WeakSet, WeakValueDictionary

import torch
from torch import Tensor, nn

from understudy import nested
from understudy.config.hardware import rounding
from understudy.config.settings import Settings
from understudy.data.parts import Data, Part
from understudy.models.fingerprints import brief, of_network, of_values
from understudy.nested import Nested
from understudy.objective import Asker, Objective, evaluating
from understudy.ranks import is_sharded, ranks
from understudy.sharding import sharded
from understudy.taps import Answer, TappedNetwork, call, is_bare
from understudy.tasks.task import Task
from understudy.teacher.folding import LAYERS, copied, fold

DISTANCE = 0.02  # of hidden values in low precision from those in float32, by length
MOST, LEAST, VALUES = 256, 32, 2**20  # samples that are compared: fewer where they are large
BATCH = 64
CLEAR = 2  # batches after which a copy in low precision that clearly answers alike is taken; the others only in doubt
MARGIN = 2  # answers are clearly alike where differences so many times as large would change nothing
FOLDED = 16  # samples on which folded batch norms are compared: their rounding is the same in all
FEW = 4  # answers that identify a teacher


class StandIn:
    """A teacher's copy, called in its place."""

    def __init__(self, network: nn.Module, teacher: TappedNetwork, settings: Settings, layers: Sequence[str] = ()):
        placed = network if is_sharded(network) else settings.place(network)
        self.tapped = TappedNetwork(placed, teacher.taps, cut=teacher.cut, called=teacher.called, task=teacher.task)
        self.settings, self.layers = settings, layers
        # Inference tensors cannot be saved for backward, and maps are expensive to copy; FSDP2 gathers none.
        self._inference = not (self.tapped.taps or is_sharded(network))

    @property
    def form(self) -> str:
        """The form of its answers: precision and folded layers."""
        return f"{self.settings.precision}{f', without {brief(self.layers)}' if self.layers else ''}"

    def compiled(self) -> "StandIn":
        """The same through ``torch.compile``, if it is set."""
        return StandIn(self.settings.compiled(self.tapped.network), self.tapped, self.settings, self.layers)

    def __call__(self, inputs: Nested) -> Answer:
        if not self._inference:
            with torch.no_grad(), self.settings.autocast():
                return call(self.tapped, inputs)
        with torch.inference_mode(), self.settings.autocast():
            answer = call(self.tapped, inputs)
        return answer.each(torch.clone)


@dataclass(frozen=True)
class Verdict:
    """The outcome of comparing copies of a teacher with it."""

    possible: bool
    folded: bool = False
    low: bool = False
    notes: tuple[str, ...] = ()


class StandIns:
    """The stand-ins of a run's teachers: each teacher is compared once, and its copies are shared.

    The trainings of one process share the verdicts; those that run at the same time share the copies, too.

    >>> stand_ins = StandIns()
    >>> teacher = stand_ins.untrained(nn.Linear(2, 2))
    >>> stand_ins.has_learned(teacher), stand_ins.has_learned(nn.Linear(2, 2))
    (False, True)
    """

    def __init__(self) -> None:
        self._verdicts: dict[str, Verdict] = {}
        self._copies: WeakValueDictionary[tuple[str, int], StandIn] = WeakValueDictionary()
        self._untrained: WeakSet[nn.Module] = WeakSet()

    def untrained(self, network: nn.Module) -> nn.Module:
        """Mark a network as untrained, and return it.

        Rounding changes its nearly equal answers, so a comparison says nothing, and low precision is used
        without one: a step then costs the same as with trained weights.
        """
        self._untrained.add(network)
        return network

    def has_learned(self, network: nn.Module) -> bool:
        return network not in self._untrained

    def use(
        self,
        objective: Objective,
        teachers: Sequence[nn.Module],
        data: Data,
        settings: Settings,
        note: Callable[[str], None],
    ) -> list[str]:
        """Replace each teacher that a stage calls by its stand-in; return how each one is called from now on.

        ``teachers`` are the networks themselves, where the objective's are compiled already: copies are compiled last.
        """
        wished = settings.of_teacher.precision
        shard = settings.teacher_shard and ranks() is not None
        if (settings.teacher == "plain" and not shard) or objective.terms.reads.gradients or not objective.teachers:
            return [wished] * len(objective.teachers)
        batches = _samples(data, settings)
        askers: list[Asker | None] = []
        forms = []
        pairs = zip(objective.teachers, teachers, strict=False)  # not every one need be read
        for number, (asked, network) in enumerate(pairs):
            teacher = TappedNetwork(network, asked.taps, cut=asked.cut, called=asked.called, task=asked.task)
            lean = settings.teacher == "lean" and is_bare(network)
            stand_in = self._of(number, teacher, batches, settings, note) if lean else None
            if shard:
                stand_in = _sharded(stand_in or StandIn(network, teacher, settings.of_teacher), batches[0])
            askers.append(stand_in)
            forms.append(stand_in.form if stand_in else wished)
        objective.stand_in(askers)
        return forms

    def _of(
        self,
        number: int,
        teacher: TappedNetwork,
        batches: Sequence[Nested],
        settings: Settings,
        note: Callable[[str], None],
    ) -> StandIn | None:
        """The cheapest copy that answers alike; None where there can be no copy."""
        learned = self.has_learned(teacher.network)
        key = _key(teacher, batches, settings, learned)
        question = self._question(number, key, settings)
        made: StandIn | None = None
        if question not in self._verdicts:
            self._verdicts[question], made = _judged(teacher, batches, settings, learned)
        verdict = self._verdicts[question]
        for text in verdict.notes:
            note(text)
        if not verdict.possible:
            return None
        one = key, id(teacher.network)  # a copy shares tensors with its own teacher
        stand_in = self._copies.get(one)
        if stand_in is None:
            if made is None:
                made = _copy(teacher, batches[0], settings, folded=verdict.folded, low=verdict.low)
            stand_in = self._copies[one] = made.compiled()
        return stand_in

    def _question(self, number: int, key: str, settings: Settings) -> str:
        """The key of a verdict: everything that it depends on."""
        return key


class TimedStandIns(StandIns):
    """The stand-ins of teachers that are timed under many settings: each is compared once for each precision.

    A comparison takes as long as many steps, and memory format and threads change it by rounding alone.
    """

    def _question(self, number: int, key: str, settings: Settings) -> str:
        return f"{number} {settings.of_teacher.precision}"


def _key(teacher: TappedNetwork, batches: Sequence[Nested], settings: Settings, learned: bool) -> str:
    """Everything that a verdict depends on. A few answers distinguish teachers that differ only in code."""
    with torch.no_grad(), evaluating(teacher.network):
        few = _answers(teacher, [nested.chosen(batches[0], slice(FEW))])
    values = [*batches, *few.taps, *few.named.values()]
    return brief(
        [
            of_network(teacher.network),
            f"{teacher.called} {teacher.taps} {teacher.cut} {settings} {learned}",
            *map(of_values, values),
        ]
    )


def _judged(
    teacher: TappedNetwork, batches: Sequence[Nested], settings: Settings, learned: bool
) -> tuple[Verdict, StandIn | None]:
    """The verdict and its copy."""
    example, notes = batches[0], list[str]()
    try:
        exact = _copy(teacher, example, settings, folded=True)
    except Exception as error:  # a network may raise any error when it is copied
        return Verdict(False, notes=(f"{teacher.called} is asked as it is, for it cannot be copied: {error}",)), None
    with torch.no_grad(), evaluating(teacher.network):
        some = [nested.chosen(example, slice(FOLDED))]
        folded = bool(exact.layers)
        if folded and (reason := _apart(_answers(teacher, some), _answers(exact, some))):
            notes.append(f"{teacher.called} is asked with its batch norms as they are: folded, {reason}")
            folded, exact = False, _copy(teacher, example, settings, folded=False)
        wished = settings.of_teacher.precision
        if wished == "float32":
            return Verdict(True, folded, False, tuple(notes)), exact
        low = StandIn(
            _narrowed(exact.tapped.network, settings.of_teacher.low), teacher, settings.of_teacher, exact.layers
        )
        if learned and (reason := _changed_by(low, exact, batches)):
            notes.append(f"{teacher.called} is asked in float32: in {wished}, {reason}")
            return Verdict(True, folded, False, tuple(notes)), exact
    return Verdict(True, folded, True, tuple(notes)), low


def _changed_by(low: StandIn, full: StandIn, batches: Sequence[Nested]) -> str | None:
    """Whether low precision changes the teacher's answers: to a few batches if they leave no doubt, or to all."""
    clear, others = batches[:CLEAR], batches[CLEAR:]
    truth, found = _answers(full, clear), _answers(low, clear)
    if others and _changed(truth, truth.beyond(found, MARGIN)):
        truth, found = truth.joined(_answers(full, others)), found.joined(_answers(low, others))
    return _changed(truth, found)


def _copy(teacher: TappedNetwork, example: Nested, settings: Settings, *, folded: bool, low: bool = False) -> StandIn:
    """A copy of the teacher."""
    network, layers = _folded(teacher, nested.chosen(example, slice(2))) if folded else (copied(teacher.network), [])
    if low:
        return StandIn(_narrowed(network, settings.of_teacher.low), teacher, settings.of_teacher, layers)
    return StandIn(network, teacher, replace(settings, precision="float32"), layers)


def _sharded(stand_in: StandIn, example: Nested) -> StandIn:
    """The same copy, sharded over all ranks. It runs to its end, which FSDP2 counts on."""
    teacher, settings = stand_in.tapped, stand_in.settings
    with settings.autocast():
        inputs = nested.chosen(example, slice(2))
        network = sharded(teacher.network, inputs, settings.torch_device, called=teacher.called)
    whole = TappedNetwork(network, teacher.taps, called=teacher.called, task=teacher.task)
    return StandIn(network, whole, settings, stand_in.layers)


def _folded(teacher: TappedNetwork, example: Nested) -> tuple[nn.Module, list[str]]:
    network = copied(teacher.network)
    tapped = TappedNetwork(network, teacher.taps, called=teacher.called, task=teacher.task)
    return network, fold(network, lambda: call(tapped, example).values())


def _narrowed(network: nn.Module, low: torch.dtype) -> nn.Module:
    """A copy with the layers' weights in low precision, which autocast would otherwise convert at every step."""
    narrow = copied(network)
    for module in narrow.modules():
        if type(module) in LAYERS:
            for name, value in module.named_parameters(recurse=False):  # new ones: the old are the teacher's own
                setattr(module, name, nn.Parameter(value.detach().to(low), requires_grad=False))
    return narrow


def _samples(data: Data, settings: Settings) -> list[Nested]:
    """Samples spread over the training part, without augmentation; so are those of each batch."""
    one = data.example(1, settings.torch_device)
    values = sum(tensor.numel() for tensor in nested.tensors(one))
    count = min(MOST, max(LEAST, VALUES // values))
    ids = data.train.ids[:: -(-len(data.train) // count)]
    batches = -(-len(ids) // BATCH)
    part = Part(data.train.source, torch.cat([ids[first::batches] for first in range(batches)]))
    return [settings.prepare(batch.inputs) for batch in part.in_order(BATCH, settings.torch_device)]


@dataclass(frozen=True)
class _Seen:
    """Each value that is read, over all samples."""

    task: Task
    named: dict[str, Tensor]
    taps: list[Tensor]

    def joined(self, others: "_Seen") -> "_Seen":
        """Add the values of further samples."""
        named = {name: torch.cat([value, others.named[name]]) for name, value in self.named.items()}
        return _Seen(self.task, named, [torch.cat(pair) for pair in zip(self.taps, others.taps, strict=True)])

    def beyond(self, others: "_Seen", times: float) -> "_Seen":
        """Values so many times as far from these as others are."""
        named = {name: value.lerp(others.named[name], times) for name, value in self.named.items()}
        taps = [value.lerp(other, times) for value, other in zip(self.taps, others.taps, strict=True)]
        return _Seen(self.task, named, taps)


def _answers(asker: Asker, batches: Iterable[Nested]) -> _Seen:
    answers = [call(asker, inputs) if isinstance(asker, TappedNetwork) else asker(inputs) for inputs in batches]
    first = answers[0]
    taps = [torch.cat([answer[tap] for answer in answers]).float() for tap in first]
    named = {name: torch.cat([answer.named[name] for answer in answers]).float() for name in first.named}
    return _Seen(first.task, named, taps)


def _apart(truth: _Seen, found: _Seen) -> str | None:
    """Whether two networks differ by more than rounding."""
    pairs = [
        *zip(truth.taps, found.taps, strict=True),
        *((truth.named[name], found.named[name]) for name in truth.named),
    ]
    for one, other in pairs:
        apart = ((one - other).abs().max() / one.abs().max().clamp_min(1e-30)).item()
        allowed = rounding("float32", one.device)
        if not apart <= allowed:
            return f"its answers differ by {apart:.2g} of the largest value (allowed: {allowed:g})"
    return None


def _changed(truth: _Seen, found: _Seen) -> str | None:
    """Whether low precision changes the teacher's answers."""
    if truth.named and (reason := truth.task.changed(truth.named, found.named)):
        return reason
    for one, other in zip(truth.taps, found.taps, strict=True):
        distance = ((one - other).norm() / one.norm().clamp_min(1e-30)).item()
        if not distance <= DISTANCE:
            return f"its hidden values differ by {distance:.2g} of their length (allowed: {DISTANCE:g})"
    return None
