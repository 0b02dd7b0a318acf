"""The teachers' answers of one stage: read from files if they exist, else computed and written."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from understudy import nested
from understudy.answers.column import Value, values_of
from understudy.answers.encoding import form_of
from understudy.answers.folder import AnswerFolder, has_others, missed_by_one
from understudy.answers.options import StoredAnswers
from understudy.answers.top import flattened
from understudy.config.settings import Settings
from understudy.config.stage import Stage
from understudy.data.augmentation import PLAIN, Augmentation, Draw
from understudy.data.parts import Batch, Data, Part
from understudy.data.rows import sent
from understudy.errors import UserError
from understudy.models import fingerprints
from understudy.nested import Nested
from understudy.objective import Objective
from understudy.randomness import Number
from understudy.taps import Answer, Tap
from understudy.tasks.classification import LOGITS
from understudy.teacher.batching import company_matters

PROBED = 8  # samples for which the stored answers are compared with the teacher's


class AnswerSource:
    """Called with a batch, it returns the same as ``Objective.ask``."""

    def __init__(
        self,
        stored: StoredAnswers,
        objective: Objective,
        stores: Sequence[AnswerFolder],
        augmentation: Augmentation,
        data: Data,
        *,
        seed: int,
        prepare: Callable[[Nested], Nested],
        note: Callable[[str], None],
    ):
        self.options, self.objective, self.stores, self.augmentation, self.data = (
            stored,
            objective,
            stores,
            augmentation,
            data,
        )
        self.seed, self.prepare, self.note = seed, prepare, note
        self.filling = stored.fill
        self.compared = self.noted = self.weighed = False
        self.teachers = [
            [Value(store, tap, stored, len(data.train.source), note) for tap in values_of(teacher)]
            for store, teacher in zip(stores, objective.teachers, strict=True)
        ]

    @classmethod
    def of(
        cls,
        stored: StoredAnswers | None,
        objective: Objective,
        stage: Stage,
        data: Data,
        settings: Settings,
        forms: Sequence[str],
        *,
        seed: int,
        note: Callable[[str], None],
    ) -> "AnswerSource | None":
        """The source of a stage; None if the stage runs the teacher itself, which is noted with the reason.

        ``forms`` are the teachers' forms: precision and folded layers.
        """
        if stored is None or not objective.terms.reads.teacher:
            return None
        if reason := needs_live_teacher(stored, objective, data, settings):
            note(f"stage {stage.name!r} asks the teacher at every step: {reason}")
            return None
        augmentation, folder = stage.config.augmentation, _folder(stored)
        stores = [
            AnswerFolder(folder, belongs, teacher.network, fill=stored.fill, note=note)
            for teacher, belongs in zip(
                objective.teachers, _belongings(stored, objective, stage, data, settings, forms, seed), strict=True
            )
        ]
        prepare = settings.prepare
        return cls(stored, objective, stores, augmentation, data, seed=seed, prepare=prepare, note=note)

    def unviewed(self) -> "AnswerSource":
        """Those about samples as they are, of a validation part."""
        about = _about(self.options, PLAIN, self.data, self.seed)
        stores = [store.sibling(about) for store in self.stores]
        return AnswerSource(
            self.options,
            self.objective,
            stores,
            PLAIN,
            self.data,
            seed=self.seed,
            prepare=self.prepare,
            note=self.note,
        )

    def draw(self, stage: int, epoch: int) -> Draw:
        return self.options.draw(self.augmentation, self.seed, stage, epoch)

    def answers(self, batch: Batch, inputs: Nested) -> tuple[Answer, ...]:
        """The teachers' answers to a batch whose inputs are prepared."""
        ids = batch.ids.cpu() if batch.numbers is None else batch.numbers
        clean = self.options.clean and batch.draw is not None
        view: Number = 0
        if batch.draw is not None and not clean:
            view = batch.draw.number if batch.views is None else batch.views
        values = [value for teacher in self.teachers for value in teacher]
        there = [value.find(view, ids) for value in values]
        complete = all(present.all() for present in there)
        if clean and not (complete and self.compared):  # the teacher is asked
            inputs = self._as_they_are(ids, batch.ids.device)
        live = None if complete else self.objective.ask(inputs)
        if not self.compared and any(present.any() for present in there):
            self._compare(inputs, live)
        if live is not None:
            self._tell_missing(there, ids)
            self._fill(live, ids)
        answers = tuple(self._answer(teacher, batch.ids.device) for teacher in self.teachers)
        if self.options.top is not None and not self.weighed:
            self.weighed = True
            for text in flattened(self.options, self.objective, answers):
                self.note(text)
        return answers

    def _as_they_are(self, ids: Tensor, device: torch.device) -> Nested:
        """The inputs of these samples without augmentation."""
        (batch,) = Part(self.data.train.source, ids).in_order(len(ids), device)
        return self.prepare(batch.inputs)

    def missing(self, view: int, ids: Tensor) -> Tensor:
        """Those of these samples whose answers are not all stored."""
        view = 0 if self.options.clean else view
        there = [value.find(view, ids) for values in self.teachers for value in values]
        return ids[~torch.stack(there).all(0)]

    def _answer(self, values: Sequence["Value"], device: torch.device) -> Answer:
        tensors = {value.tap: sent(value.decoded(), device) for value in values}
        named = {name: tensor for name, tensor in tensors.items() if isinstance(name, str)}
        taps = {tap: tensor for tap, tensor in tensors.items() if isinstance(tap, Tap)}
        return Answer(named or None, taps, self.data.task)

    def _tell_missing(self, there: Sequence[Tensor], ids: Tensor) -> None:
        """Notes once that the teacher runs although the store may not be filled."""
        if self.options.fill or self.noted:
            return
        self.noted = True
        missing = ids[~torch.stack(list(there)).all(0)].tolist()
        self.note(
            f"answers are missing in {self.stores[0].path} (of view {self.teachers[0][0].first_view}, samples "
            f"{missing[:5]}): the teacher is asked, and nothing is added (fill = false)"
        )

    def _fill(self, live: Sequence[Answer], ids: Tensor) -> None:
        """Add the missing answers, and write them."""
        for values, answer in zip(self.teachers, live, strict=True):
            for value in values:
                value.take(answer)
                try:
                    if self.filling:
                        value.write(ids)
                except (OSError, UserError) as error:
                    self.filling = False
                    self.note(f"answers are no longer stored in {value.store.path}, the run goes on without: {error}")

    def _compare(self, inputs: Nested, live: Sequence[Answer] | None) -> None:
        """Compares the stored answers with the teacher's once, on a few samples."""
        self.compared = True
        for values, answer in zip(
            self.teachers, live or self.objective.ask(nested.chosen(inputs, slice(PROBED))), strict=True
        ):
            for value in values:
                value.compare(answer)


def as_read(stored: StoredAnswers, answers: Sequence[Answer]) -> list[Answer]:
    """The teachers' logits as they would be read from a file."""
    kept = stored.kept(LOGITS)
    forms = [form_of(answer.logits, kept) for answer in answers]
    return [
        Answer({LOGITS: form.decode(form.encode(answer.logits))}, {}, answer.task)
        for form, answer in zip(forms, answers, strict=True)
    ]


def passed_over(
    stored: StoredAnswers,
    objective: Objective,
    stage: Stage,
    data: Data,
    settings: Settings,
    forms: Sequence[str],
    seed: int,
) -> str | None:
    """Why a stage does not use the answers in its folder, if they differ from the needed ones in a single thing."""
    folder = _folder(stored)
    if not has_others(folder):  # or else all samples would be looked at for nothing
        return None
    belongings = _belongings(stored, objective, stage, data, settings, forms, seed)
    differences = [missed_by_one(folder, b, t.network) for t, b in zip(objective.teachers, belongings, strict=True)]
    nearest = next((text for text in differences if text), None)
    return nearest and f"{folder} holds none that belong here, so new ones begin: the nearest are those of {nearest}"


def refuse_unfilled(
    stored: StoredAnswers,
    objective: Objective,
    stage: Stage,
    data: Data,
    settings: Settings,
    forms: Sequence[str],
    seed: int,
    *,
    learned: bool,
) -> None:
    """A ``UserError`` if a stage may add nothing to its folder, and there are no answers of its teachers.

    Of teachers that have not ``learned`` yet, only an empty folder is known to have none.
    """
    if stored.fill or not objective.terms.reads.teacher or needs_live_teacher(stored, objective, data, settings):
        return
    folder = _folder(stored)
    if learned:
        belongings = _belongings(stored, objective, stage, data, settings, forms, seed)
        for teacher, belongs in zip(objective.teachers, belongings, strict=True):
            AnswerFolder(folder, belongs, teacher.network, fill=False)
    elif not has_others(folder):
        raise UserError(f"{folder} holds no answers, and none are to be added (answers.fill = false): fill it first")


def check_stored(stored: StoredAnswers, stage: Stage, objective: Objective, data: Data, settings: Settings) -> None:
    """A ``UserError`` if a stage cannot be served from a file as these options have it."""
    config, reads = stage.config, objective.terms.reads
    if config.repeats and not stored.clean and stored.views % config.repeats:
        raise UserError(
            f"answers.views = {stored.views} is no multiple of repeats = {config.repeats}, the views of a sample "
            "in a batch: make it one"
        )
    if not reads.teacher:
        return
    if stored.top and data.task.rows_per_sample != "one":
        raise UserError(
            f"answers.top keeps the largest of one row of class scores, and an answer of task {data.task.name!r} "
            "is none: leave it out"
        )
    if config.group_by_length is not None and (data.task.rows_per_sample == "many" or reads.teacher_taps):
        raise UserError(
            "group_by_length makes batches of many lengths, and stored values of tokens have one: leave out "
            "group_by_length or [answers]"
        )
    stored.kept("logits")  # raises where top, packed and logits exclude each other
    if needs_live_teacher(stored, objective, data, settings):
        return
    stored.seen_by_teacher(config.augmentation)
    if stored.clean and config.augmentation.displaces and (places := _of_places(objective, data, settings)):
        raise UserError(
            "answers.clean keeps the teacher's answer to each sample as it is, and the student sees it moved by "
            f"{config.augmentation}, so that {places} of the two would be compared at different places: leave clean "
            "out, or what moves them"
        )


def _of_places(objective: Objective, data: Data, settings: Settings) -> str | None:
    """Which of the teacher's stored values has places that belong to those of the sample."""
    if data.task.dense or data.task.moves_targets:
        return "the answers"
    if not objective.terms.reads.teacher_taps:
        return None
    with torch.no_grad():
        answers = objective.ask(settings.prepare(data.example(1, settings.torch_device)))
    maps = any(value.ndim > 2 for answer in answers for value in answer.values())
    return "hidden values" if maps else None


def _folder(stored: StoredAnswers) -> Path:
    return Path(stored.folder or "stored")


def _belongings(
    stored: StoredAnswers,
    objective: Objective,
    stage: Stage,
    data: Data,
    settings: Settings,
    forms: Sequence[str],
    seed: int,
) -> list[dict[str, object]]:
    """Everything that each teacher's answers depend on."""
    shared = {
        "data": fingerprints.of_samples(data.train.source),
        "device": settings.torch_device.type,
        "channels_last": settings.channels_last,
        "compiled": settings.compile,
        **_about(stored, stored.seen_by_teacher(stage.config.augmentation), data, seed),
    }
    return [
        shared | {"teacher": fingerprints.of_network(teacher.network), "precision": form}
        for teacher, form in zip(objective.teachers, forms, strict=True)
    ]


def _about(stored: StoredAnswers, augmentation: Augmentation, data: Data, seed: int) -> dict[str, object]:
    """The properties of the views that answers depend on."""
    changes = {name: value for name, value in asdict(augmentation).items() if value is not None}
    if augmentation.tokens is not None:
        changes["tokens"] |= augmentation.tokens.of_task(data.task)
    return {
        "augmentation": changes,
        "seed": stored.draw(augmentation, seed, 0, 0).seed if augmentation != PLAIN else None,
        "mixed": fingerprints.of_pool(data.train) if augmentation.mixes else None,
    }


def needs_live_teacher(stored: StoredAnswers, objective: Objective, data: Data, settings: Settings) -> str | None:
    """Why a stage cannot use stored answers, because of its terms or its teachers."""
    if data.task.draws:
        return f"task {data.task.name!r} draws candidates for each batch, so that an answer is none to its sample alone"
    return stored.needs_live_teacher(objective.terms.reads) or company_matters(objective, data, settings)
