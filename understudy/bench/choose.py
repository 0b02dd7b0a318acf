"""Which settings are the fastest for a recipe on this machine: candidates are measured on the trainer's own steps.

Two settings take turns, step by step, and the faster one is kept: first the numbers, then the memory format, the
threads, the batches that a teacher answers at once, and compilation. A step is one of the stage that takes most of the
run; where most of its steps read stored answers, the measured ones do, too, from files of their own.
"""

import contextlib
import copy
import math
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from itertools import cycle, islice
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import nn

from understudy.answers import StoredAnswers
from understudy.bench.steps import interleaved, median_ratio
from understudy.config import hardware
from understudy.config.settings import Settings
from understudy.config.stage import Stage
from understudy.errors import UserError
from understudy.recipe import Recipe
from understudy.runs.preview import Preview
from understudy.teacher.stand_in import TimedStandIns
from understudy.training.loop import Training

WORTH = 1.05  # a change of the settings is worth making from so many times the speed on
Choosable = Literal["precision", "teacher_precision", "channels_last", "threads", "teacher_batches", "compile"]
CHOOSABLE: tuple[Choosable, ...] = get_args(Choosable)
Times = Callable[[Settings, Settings], float | None]  # how many times the second's speed the first one has


@dataclass(frozen=True)
class Candidate:
    """A change of the settings that was measured: ``gain`` times the speed; None where it cannot be done here."""

    change: str
    gain: float | None
    taken: bool = False


@dataclass(frozen=True)
class Choice:
    """The fastest settings, how many times the speed of plain ones they have, and all that was compared."""

    settings: Settings
    gain: float = 1.0
    candidates: list[Candidate] = field(default_factory=list)


def choose(recipe: Recipe, preview: Preview, named: Collection[str] = (), *, seconds: float = 5.0) -> Choice:
    """The fastest settings for the students' stage that takes most of a recipe's run.

    Args:
        named: the settings that stay as the recipe has them.
        seconds: to compare two settings for.
    """
    name, number = longest(recipe, preview)
    with Trials(preview.student(name, recipe.answers), number, seconds) as trials:
        return fastest(recipe.settings, trials.times, trials.open(named))


def fastest(settings: Settings, times: Times, open_: Collection[str] = CHOOSABLE) -> Choice:
    """Change the settings that are ``open_`` one after another, as long as each change gains enough.

    Of those that are about equally fast it is the first, which changes least.
    """
    best, gain, candidates = settings, 1.0, list[Candidate]()
    if "threads" in open_ and best.threads is None and best.torch_device.type == "cpu":
        best = replace(best, threads=hardware.threads_each())
    for of in (_precisions, _formats, _threads, _two_batches, _four_batches, _compiled):
        speeds = {best: 1.0}
        for candidate in of(best, open_):
            if candidate not in speeds:
                speed = times(candidate, best)
                candidates.append(Candidate(_change(best, candidate), speed))
                speeds |= {} if speed is None else {candidate: speed}
        first = next(candidate for candidate, speed in speeds.items() if speed * WORTH >= max(speeds.values()))
        if first != best:
            change = _change(best, first)
            candidates = [replace(one, taken=one.taken or one.change == change) for one in candidates]
        best, gain = first, gain * speeds[first]
    return Choice(best, gain, candidates)


def longest(recipe: Recipe, preview: Preview) -> tuple[str, int]:
    """The method with the student's longest stage, and the number of that stage; with a teacher it counts twice."""
    lengths: dict[tuple[str, int], int] = {}
    for name in recipe.methods:
        for number, stage in enumerate(preview.student(name).stages):
            lengths[name, number] = stage.config.epochs * (2 if _runs_teacher(stage, recipe.answers) else 1)
    return max(lengths, key=lambda place: lengths[place])


def _runs_teacher(stage: Stage, stored: StoredAnswers | None) -> bool:
    """Whether most steps of a stage run a teacher."""
    reads = stage.objective.reads
    return reads.teacher and not (stored and stored.mostly_read(stage.config, reads))


class Trials:
    """Copies of a training's networks under different settings; each takes the trainer's steps."""

    def __init__(self, training: Training, number: int, seconds: float = 5.0):
        self.training, self.stage, self.seconds = training, training.stages[number], seconds
        self.stand_ins = TimedStandIns()
        reads = self.stage.objective.reads
        stored = training.stored
        self.stored = stored if stored and stored.mostly_read(self.stage.config, reads) else None
        self.steps: dict[Settings, Callable[[], None]] = {}

    def __enter__(self) -> "Trials":
        self._stack = contextlib.ExitStack()
        device = self.training.settings.torch_device
        self._stack.enter_context(torch.random.fork_rng([device] if device.type == "cuda" else []))
        if self.stored:
            folder = self._stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
            self.stored = self.stored.aside(Path(folder))
        return self

    def __exit__(self, *_: object) -> None:
        self.steps.clear()
        self._stack.close()

    def open(self, named: Collection[str] = ()) -> tuple[str, ...]:
        """The settings that are not named and that could change something in this stage."""
        reads = self.stage.objective.reads
        idle = set() if self.training.teachers and reads.teacher else {"teacher_precision", "teacher_batches"}
        if reads.gradients or (self.stored and not self.stored.needs_live_teacher(reads)):
            idle.add("teacher_batches")
        return tuple(name for name in CHOOSABLE if name not in idle and name not in named)

    def times(self, settings: Settings, other: Settings) -> float | None:
        """None where the machine cannot do it, in its memory or at all, or where the numbers go wrong."""
        try:
            self.steps = {one: self.steps.get(one) or self._step(one) for one in (other, settings)}  # no more are held
            steps = {"this": self.steps[settings], "other": self.steps[other]}
            groups = math.lcm(self._together(settings), self._together(other))
            times = interleaved(steps, settings.torch_device, seconds=self.seconds, multiple=groups)
        except (RuntimeError, UserError):
            return None
        return median_ratio(times["other"], times["this"])

    def _together(self, settings: Settings) -> int:
        """The number of batches in one forward pass of the teacher, at most those of an epoch."""
        return min(settings.teacher_batches, self.training.data.train.steps(self.stage.config.batch))

    def _step(self, settings: Settings) -> Callable[[], None]:
        of = self.training
        teachers = [self._copied(teacher) for teacher in of.teachers]
        training = Training(
            copy.deepcopy(of.student),
            teachers,
            [self.stage],
            of.data,
            settings=settings,
            stored=self.stored,
            stand_ins=self.stand_ins,
        )
        with settings.in_force():
            training.open(self.stage)
            batches = cycle(list(islice(training.batches(self.stage), self._together(settings))))

        def step() -> None:
            training.place.step = 0
            with settings.in_force():
                training.advance(self.stage, next(batches), time.monotonic())

        if training.stage_state.stored:
            for _ in range(1 + self._together(settings)):  # the answers are stored, then compared; other steps read
                step()
        return step

    def _copied(self, teacher: nn.Module) -> nn.Module:
        twin = copy.deepcopy(teacher)
        return twin if self.training.stand_ins.has_learned(teacher) else self.stand_ins.untrained(twin)


def _precisions(best: Settings, open_: Collection[str]) -> Iterator[Settings]:
    """The teacher's numbers alone change less than the student's."""
    if "teacher_precision" in open_:
        yield replace(best, teacher_precision="bfloat16")
    if "precision" in open_:
        yield replace(best, precision="bfloat16")


def _formats(best: Settings, open_: Collection[str]) -> Iterator[Settings]:
    if "channels_last" in open_:
        yield replace(best, channels_last=not best.channels_last)


def _threads(best: Settings, open_: Collection[str]) -> Iterator[Settings]:
    """Half of them, a quarter, one: small networks are slower with many."""
    if "threads" in open_ and best.threads:
        for threads in sorted({best.threads // 2, best.threads // 4, 1} - {0, best.threads}, reverse=True):
            yield replace(best, threads=threads)


def _two_batches(best: Settings, open_: Collection[str]) -> Iterator[Settings]:
    if "teacher_batches" in open_:
        yield replace(best, teacher_batches=2)


def _four_batches(best: Settings, open_: Collection[str]) -> Iterator[Settings]:
    """Where two have gained something."""
    if "teacher_batches" in open_ and best.teacher_batches == 2:
        yield replace(best, teacher_batches=4)


def _compiled(best: Settings, open_: Collection[str]) -> Iterator[Settings]:
    """On a CPU it was measured to gain something in float32, and nothing beside bfloat16, for a long wait."""
    if "compile" in open_ and (best.precision == "float32" or best.torch_device.type != "cpu"):
        yield replace(best, compile=True)


def _change(before: Settings, after: Settings) -> str:
    """``"precision = 'bfloat16'"``"""
    changed = {name: getattr(after, name) for name in CHOOSABLE if getattr(before, name) != getattr(after, name)}
    return ", ".join(f"{name} = {value!r}" for name, value in changed.items())
