"""The teachers' answers of one stage: read from files where they are there, else asked for and written."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote

import torch
from torch import Tensor

from understudy.data.parts import Batch, Data
from understudy.data.views import PLAIN, Draw, Views
from understudy.errors import UserError
from understudy.objective import Objective
from understudy.plan import Stage
from understudy.stored import fingerprints
from understudy.stored.options import Stored
from understudy.stored.records import Form
from understudy.stored.shelf import Shelf
from understudy.stored.store import Store
from understudy.taps import Answer, Tap, TappedNetwork
from understudy.training.settings import Settings

LOGITS = "logits"
PROBED = 8  # samples of which the teacher is asked again, to see that its answers are those that are stored
# By how much two answers about one sample may differ, of the largest value: rounding, which depends on the batch.
TOLERANCE = {"float32": 1e-4, "float16": 5e-3, "bfloat16": 3e-2}


class StoredAnswers:
    """Asked with a batch, it answers as ``Objective.ask`` does."""

    def __init__(
        self,
        stored: Stored,
        objective: Objective,
        stores: Sequence[Store],
        views: Views,
        *,
        places: int,
        seed: int,
        note: Callable[[str], None],
    ):
        self.options, self.objective, self.views, self.seed, self.note = stored, objective, views, seed, note
        self.filling = stored.fill
        self.compared = False
        self.teachers = [
            [Value(store, tap, stored, places, note) for tap in _values(teacher)]
            for store, teacher in zip(stores, objective.teachers, strict=True)
        ]

    @classmethod
    def of(
        cls,
        stored: Stored | None,
        objective: Objective,
        stage: Stage,
        data: Data,
        settings: Settings,
        forms: Sequence[str],
        *,
        seed: int,
        note: Callable[[str], None],
    ) -> "StoredAnswers | None":
        """Those of a stage; None where it asks the teacher itself, which is noted with the reason.

        ``forms`` say how each teacher is asked: its precision, and which of its layers were folded.
        """
        reads = objective.terms.reads
        if stored is None or not reads.teacher:
            return None
        reason = stored.needs_live_teacher(reads)
        reason = reason or _alone_in_its_batch(objective, settings.prepare(data.example(PROBED, settings.torch_device)))
        if reason:
            note(f"stage {stage.name!r} asks the teacher at every step: {reason}")
            return None
        views = stage.course.views
        belongs = _belongs(stored, views, data, settings, seed)
        stores = []
        for teacher, form in zip(objective.teachers, forms, strict=True):
            own = {"teacher": fingerprints.of_network(teacher.network), "precision": form}
            stores.append(Store(Path(stored.folder or "stored"), belongs | own, teacher.network, fill=stored.fill))
        return cls(stored, objective, stores, views, places=len(data.train.source), seed=seed, note=note)

    def draw(self, stage: int, epoch: int) -> Draw:
        return self.options.draw(self.views, self.seed, stage, epoch)

    def answers(self, batch: Batch, inputs: Tensor) -> tuple[Answer, ...]:
        """The teachers' answers to a batch whose inputs are prepared."""
        ids = batch.ids.cpu()
        view = batch.draw.number if batch.draw else 0
        values = [value for teacher in self.teachers for value in teacher]
        there = [value.find(view, ids) for value in values]
        live = None if all(found.all() for found in there) else self.objective.ask(inputs)
        if not self.compared and any(found.any() for found in there):
            self._compare(inputs, live)
        if live is not None:
            self._fill(live, ids)
        return tuple(self._answer(teacher, inputs.device) for teacher in self.teachers)

    def _answer(self, values: Sequence["Value"], device: torch.device) -> Answer:
        found = {value.tap: value.decoded().to(device, non_blocking=True) for value in values}
        logits = found.pop(None, None)
        return Answer(logits, {tap: tensor for tap, tensor in found.items() if tap is not None})

    def _fill(self, live: Sequence[Answer], ids: Tensor) -> None:
        """Take over what was not there, and write it down."""
        for values, answer in zip(self.teachers, live, strict=True):
            for value in values:
                value.take(answer)
                try:
                    if self.filling:
                        value.write(ids)
                except OSError as error:
                    self.filling = False
                    where = value.store.path
                    self.note(f"answers can no longer be stored in {where} ({error.strerror}): the run goes on without")

    def _compare(self, inputs: Tensor, live: Sequence[Answer] | None) -> None:
        """Once, on a few samples: does the teacher still say what is stored?"""
        self.compared = True
        asked = live or self.objective.ask(inputs[:PROBED])
        for values, answer in zip(self.teachers, asked, strict=True):
            for value in values:
                apart = value.apart(answer)
                if apart > value.tolerance:
                    raise UserError(
                        f"{value.store.path} does not belong to this teacher: its answers lie {apart:.2g} (of the "
                        f"largest value) from those stored there as {value.name!r}. Remove that folder, or choose "
                        "another one for stored answers"
                    )


class Value:
    """One value of a teacher's answers, its logits or a tap: the file of the view at hand, and what was read there."""

    def __init__(self, store: Store, tap: Tap | None, stored: Stored, places: int, note: Callable[[str], None]):
        self.store, self.tap, self.places, self.note = store, tap, places, note
        self.kept = _kept(stored, tap)
        name = LOGITS if tap is None else quote(str(tap), safe="")
        self.name = name if self.kept == "exact" else f"{name}.{self.kept}"
        self.form = store.form(self.name)
        self.shelf: Shelf | None = None
        self.view = 0
        self.words = self.there = torch.zeros(0)

    @property
    def tolerance(self) -> float:
        assert self.form is not None
        return max(TOLERANCE.get(kind, 0.0) for kind in (self.form.given, self.form.kept))

    def find(self, view: int, ids: Tensor) -> Tensor:
        """Look these samples up; answers with which are there."""
        self.view = view
        if self.form is None:
            self.there = torch.zeros(len(ids), dtype=torch.bool)
            return self.there
        self._turn_to(view, self.form)
        assert self.shelf is not None
        self.words, self.there, damaged = self.shelf.read(ids)
        if damaged.any():
            self.note(
                f"{self.shelf.path}: the answers about samples {ids[damaged].tolist()[:5]} are damaged "
                "(their checksums do not fit): the teacher is asked again"
            )
        return self.there

    def take(self, answer: Answer) -> None:
        """The live answer's words, where there are none."""
        live = self._of(answer)
        found = Form.of(live, self.kept)
        if self.form is None:
            self.form, self.words = found, found.encode(live)
        elif (found.shape, found.given) != (self.form.shape, self.form.given):
            raise UserError(
                f"{self.store.path}: {self.name!r} is stored as {self.form.given} of {self.form.shape}, and the "
                f"teacher answers with {found.given} of {found.shape}. Remove that folder, or choose another one"
            )
        else:
            self.words = torch.where(self.there[:, None], self.words, self.form.encode(live))

    def write(self, ids: Tensor) -> None:
        assert self.form is not None
        if self.shelf is None:
            self.store.claim(self.name, self.form)
            self._turn_to(self.view, self.form)
        assert self.shelf is not None
        self.shelf.write(ids[~self.there], self.words[~self.there])

    def decoded(self) -> Tensor:
        assert self.form is not None
        return self.form.decode(self.words)

    def apart(self, answer: Answer) -> float:
        """How far the stored answers lie from these about the same samples, of the largest value."""
        if self.form is None:
            return 0.0
        live = self._of(answer)
        here = self.there[: len(live)]
        if not here.any():
            return 0.0
        stored = self.form.decode(self.words[: len(live)]).to(live.device)
        if stored.shape != live.shape or stored.dtype != live.dtype:
            return float("inf")
        return _apart(stored[here.to(live.device)], live[here.to(live.device)])

    def _of(self, answer: Answer) -> Tensor:
        return answer.logits if self.tap is None else answer[self.tap]

    def _turn_to(self, view: int, form: Form) -> None:
        path = self.store.file(self.name, view)
        if self.shelf is None or self.shelf.path != path:
            if self.shelf is not None:
                self.shelf.close()
            self.shelf = Shelf(path, self.places, form.words)


def forms(stored: Stored, answers: Sequence[Answer]) -> list[Form]:
    """How such answers would lie in their files."""
    found = [Form.of(value, _kept(stored, tap)) for answer in answers for tap, value in answer.items()]
    return found + [Form.of(answer.logits, _kept(stored, None)) for answer in answers if answer.output is not None]


def _kept(stored: Stored, tap: Tap | None) -> str:
    return "exact" if tap is None else stored.taps


def _values(teacher: TappedNetwork) -> list[Tap | None]:
    """What is read of a teacher; None stands for its logits."""
    return [*teacher.taps, *([] if teacher.cut else [None])]


def _belongs(stored: Stored, views: Views, data: Data, settings: Settings, seed: int) -> dict[str, Any]:
    """What answers depend on, beside the teacher."""
    return {
        "data": fingerprints.of_samples(data.train.source),
        "views": asdict(views),
        "seed": stored.draw(views, seed, 0, 0).seed if views != PLAIN else None,
        "mixed": fingerprints.of_pool(data.train) if views.mixup else None,
        "device": settings.torch_device.type,
        "channels_last": settings.channels_last,
    }


def _alone_in_its_batch(objective: Objective, inputs: Tensor) -> str | None:
    """Whether an answer depends on who shares the batch, beyond rounding: then it cannot be stored for its sample."""
    whole, backwards = objective.ask(inputs), objective.ask(inputs.flip(0))
    for teacher, one, other in zip(objective.teachers, whole, backwards, strict=True):
        for tap in _values(teacher):
            a, b = (answer.logits if tap is None else answer[tap] for answer in (one, other))
            if len(a) != len(inputs):
                return f"{teacher.called} does not answer with one value for each sample ({tap or LOGITS})"
            apart = _apart(a, b.flip(0))
            if apart > TOLERANCE.get(str(a.dtype).removeprefix("torch."), 0.0):
                return (
                    f"{teacher.called}'s answers depend on who shares the batch (by {apart:.2g} of the largest value)"
                )
    return None


def _apart(one: Tensor, other: Tensor) -> float:
    largest = other.abs().max().item()
    return (one - other).abs().max().item() / (largest or 1.0)
