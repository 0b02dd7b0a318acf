"""The fastest settings for two networks on this machine, found by a short measurement and remembered.

What was found is written into the run folder, so that a run goes on with the settings that it began with; the memory
of earlier measurements only saves measuring again.
"""

import contextlib
import copy
import hashlib
import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch
from torch import nn

from understudy.bench.steps import interleaved, median_ratio
from understudy.data.parts import Data
from understudy.errors import UserError
from understudy.files import write_atomically
from understudy.hardware import timed
from understudy.measure.surroundings import machine, versions
from understudy.models.fingerprints import of_layers, of_network
from understudy.settings import Choosable, Settings
from understudy.stage import Stage
from understudy.stored import Stored
from understudy.taps import inner
from understudy.teacher.stand_in import StandIns, TimedStandIns
from understudy.training.loop import Training

WORTH = 1.05  # a change of the settings is worth making from so many times the speed on
SHORT = 120.0  # seconds: a run that takes no longer is not worth a measurement
LONG = 1800.0  # seconds: a run that takes no less is worth trying compilation
COMPARISON = 0.8  # seconds of taking turns, for each comparison
MOST = 15.0  # seconds of comparing, after which no more is begun: the machine has other things to do
STEP = 0.15  # seconds that a measured step may take: larger ones are measured on a part of their batch
SMALLEST_BATCH = 8

Times = Callable[[Settings, Settings], float | None]  # how many times the second's speed the first one has


@dataclass(frozen=True)
class Choice:
    """Settings without anything left to choose, and why these."""

    settings: Settings
    reason: str


def fastest_settings(
    settings: Settings,
    teachers: Sequence[nn.Module],
    student: nn.Module,
    stage: Stage,
    data: Data,
    *,
    steps: int,
    stored: Stored | None = None,
    stand_ins: StandIns | None = None,
) -> Choice:
    """The fastest of what ``settings.auto`` leaves open, for a run of so many steps such as those of ``stage``.

    Where most of them read their teacher's answers from files, it is such steps that are measured, with files of
    their own.
    """
    if not teachers:
        settings = _without("teacher_precision", settings)
    reads = stage.objective.reads
    if not reads.teacher or reads.gradients or (stored and not stored.needs_live_teacher(reads)):
        settings = _without("teacher_batches", settings)  # it would change nothing
    stored, stand_ins = _read(stored, stage), stand_ins or StandIns()
    about = _about(teachers, student, stage, data, stored, stand_ins)
    known = _remembered(settings, about, steps)
    if known is not None:
        return known
    with _trials(teachers, student, stage, data, stored, stand_ins) as trials:
        return _measured(settings, trials, about, steps)


def plain_step(
    settings: Settings,
    teachers: Sequence[nn.Module],
    student: nn.Module,
    stage: Stage,
    data: Data,
    *,
    stored: Stored | None = None,
) -> float:
    """Seconds of a step of ``stage`` as most of them are, with nothing chosen."""
    with (
        _trials(teachers, student, stage, data, _read(stored, stage), StandIns()) as trials,
        torch.random.fork_rng(_devices(settings)),
    ):
        return trials.plain_step(settings.plain)


def _read(stored: Stored | None, stage: Stage) -> Stored | None:
    """Where most steps read their teacher's answers from files."""
    return stored if stored and stored.mostly_read(stage.course, stage.objective.reads) else None


@contextlib.contextmanager
def _trials(
    teachers: Sequence[nn.Module],
    student: nn.Module,
    stage: Stage,
    data: Data,
    stored: Stored | None,
    stand_ins: StandIns,
) -> Iterator["_Trials"]:
    """With answers in files of their own, where there are any."""
    with contextlib.ExitStack() as stack:
        if stored:
            folder = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
            stored = stored.aside(Path(folder))
        yield _Trials(teachers, student, stage, data, stored, stand_ins)


def _measured(settings: Settings, trials: "_Trials", about: Any, steps: int) -> Choice:
    """What the trials find; it is remembered where all was compared."""
    plain, began = settings.plain, time.perf_counter()
    try:
        with torch.random.fork_rng(_devices(settings)):
            seconds = trials.plain_step(plain)
            if steps * seconds < SHORT:
                return Choice(plain, f"{describe(plain)}; so short a run is not worth measuring")
            question = _asked(settings, steps * seconds)
            found, gain = best_of(question, trials.times)
    except UserError:
        return Choice(plain, f"{describe(plain)}; nothing could be measured")
    if not trials.compared:
        why = "the time was over before anything was compared" if trials.left_out else "there was nothing to compare"
        return Choice(found, f"{describe(found)}; {why}")
    took = f"measured in {time.perf_counter() - began:.0f} s"
    if trials.left_out:
        return Choice(found, f"{describe(found)}: {_gained(gain)} ({took}, which was not enough to compare all)")
    _remember(question, about, found, gain, seconds)
    return Choice(found, f"{describe(found)}: {_gained(gain)} ({took})")


def best_of(settings: Settings, times: Times) -> tuple[Settings, float]:
    """Settings and how many times the plain ones' speed they have: numbers first, then memory format, and so on.

    Of those that are about equally fast it is the first, which changes least.
    """
    best, gain = settings.plain, 1.0
    if "threads" in settings.auto and settings.torch_device.type == "cpu":
        best = replace(best, threads=torch.get_num_threads())  # written down, for results depend on it
    for candidates in (_precisions, _formats, _threads, _two_batches, _four_batches, _compiled):
        speeds = {best: 1.0}
        for candidate in candidates(best, settings):
            speed = times(candidate, best)
            if candidate not in speeds and speed is not None:
                speeds[candidate] = speed
        first = next(found for found, speed in speeds.items() if speed * WORTH >= max(speeds.values()))
        best, gain = first, gain * speeds[first]
    return best, gain


def describe(settings: Settings) -> str:
    """``"bfloat16, channels-last, 2 threads"``"""
    said: list[str] = [settings.precision]
    if settings.of_teacher.precision != settings.precision:
        said.append(f"the teacher in {settings.of_teacher.precision}")
    said.append("channels-last" if settings.channels_last else "channels-first")
    if settings.threads:
        said.append(f"{settings.threads} thread{'s' if settings.threads > 1 else ''}")
    if settings.teacher_batches > 1:
        said.append(f"the teacher about {settings.teacher_batches} batches at once")
    return ", ".join([*said, *(["compiled"] if settings.compile else [])])


class _Trials:
    """Copies of the networks under one setting or another, each taking the trainer's own steps."""

    def __init__(
        self,
        teachers: Sequence[nn.Module],
        student: nn.Module,
        stage: Stage,
        data: Data,
        stored: Stored | None,
        stand_ins: StandIns,
    ):
        self.untrained = [not stand_ins.has_learned(teacher) for teacher in teachers]
        self.stand_ins = TimedStandIns()
        self.teachers, self.student, self.stage, self.data, self.stored = teachers, student, stage, data, stored
        self.batch = self.samples = min(stage.course.batch, len(data.train))
        self.end = math.inf
        self.compared, self.left_out = 0, False
        self.steps: dict[Settings, Callable[[], None]] = {}

    def plain_step(self, settings: Settings) -> float:
        """Seconds of a plain step on a whole batch; what is measured from here on is small enough.

        The time for comparisons begins after it, so that the heaviest networks, too, get one.
        """
        step, steps = self._step(settings), self._together(settings)
        for _ in range(steps):
            step()
        seconds = timed(step, settings.torch_device, steps)
        self.samples = max(min(SMALLEST_BATCH, self.samples), int(self.samples * min(1.0, STEP / seconds)))
        self.end = time.perf_counter() + MOST
        return seconds

    def times(self, settings: Settings, other: Settings) -> float | None:
        """None where the machine cannot do it, in its memory or at all, where the numbers go wrong, or time is up."""
        if time.perf_counter() > self.end:
            self.left_out = True
            return None
        if settings.teacher_batches != other.teacher_batches and self.samples < self.batch:
            return None  # of parts of a batch the teacher would take more at once gladly, and not of whole ones
        try:
            self.steps = {one: self.steps.get(one) or self._step(one) for one in (other, settings)}  # no more are held
            steps = {"this": self.steps[settings], "other": self.steps[other]}
            groups = math.lcm(self._together(settings), self._together(other))
            found = interleaved(steps, settings.torch_device, seconds=COMPARISON, multiple=groups)
        except (RuntimeError, UserError):
            return None
        self.compared += 1
        return median_ratio(found["other"], found["this"])

    def _together(self, settings: Settings) -> int:
        """The steps whose batches a teacher is asked about at once: no more than an epoch has."""
        return min(settings.teacher_batches, self.data.train.steps(self.samples))

    def _step(self, settings: Settings) -> Callable[[], None]:
        student, teachers = copy.deepcopy(self.student), [copy.deepcopy(teacher) for teacher in self.teachers]
        for teacher, untrained in zip(teachers, self.untrained, strict=True):
            if untrained:
                self.stand_ins.untrained(teacher)
        stage = replace(self.stage, course=replace(self.stage.course, batch=self.samples))
        training = Training(
            student, teachers, [stage], self.data, settings=settings, stored=self.stored, stand_ins=self.stand_ins
        )
        with settings.in_force():
            training.open(stage)
            batches = cycle(list(islice(training.batches(stage), self._together(settings))))

        def step() -> None:
            training.place.step = 0
            with settings.in_force():
                training.advance(stage, next(batches), time.monotonic())

        if training.apparatus.stored:
            for _ in range(1 + self._together(settings)):  # it answers to each, then is compared; other steps only read
                step()
        return step


def _precisions(best: Settings, settings: Settings) -> Iterator[Settings]:
    """The teacher's numbers alone change less than the student's."""
    if "teacher_precision" in settings.auto:
        yield replace(best, teacher_precision="bfloat16")
    if "precision" in settings.auto:
        yield replace(best, precision="bfloat16")


def _formats(best: Settings, settings: Settings) -> Iterator[Settings]:
    if "channels_last" in settings.auto:
        yield replace(best, channels_last=not best.channels_last)


def _threads(best: Settings, settings: Settings) -> Iterator[Settings]:
    """Half of them, a quarter, one: small networks are slower with many."""
    if "threads" in settings.auto and best.threads:
        for threads in sorted({best.threads // 2, best.threads // 4, 1} - {0, best.threads}, reverse=True):
            yield replace(best, threads=threads)


def _two_batches(best: Settings, settings: Settings) -> Iterator[Settings]:
    if "teacher_batches" in settings.auto:
        yield replace(best, teacher_batches=2)


def _four_batches(best: Settings, settings: Settings) -> Iterator[Settings]:
    """Where two have gained something."""
    if "teacher_batches" in settings.auto and best.teacher_batches == 2:
        yield replace(best, teacher_batches=4)


def _compiled(best: Settings, settings: Settings) -> Iterator[Settings]:
    """On a CPU it was measured to gain something in float32, and nothing beside bfloat16, for a long wait."""
    if "compile" in settings.auto and (best.precision == "float32" or settings.torch_device.type != "cpu"):
        yield replace(best, compile=True)


def _asked(settings: Settings, seconds: float) -> Settings:
    """What a run of so many seconds leaves open: compilation takes long itself."""
    return settings if seconds > LONG else _without("compile", settings)


def _without(name: Choosable, settings: Settings) -> Settings:
    return replace(settings, auto=tuple(other for other in settings.auto if other != name))


def _gained(gain: float) -> str:
    return f"{gain:.2f} times the speed of plain settings" if gain > 1 else "plain settings are the fastest here"


def _devices(settings: Settings) -> list[torch.device]:
    return [settings.torch_device] if settings.torch_device.type == "cuda" else []


def cache_folder() -> Path:
    """Where what can be found again is kept: $UNDERSTUDY_CACHE, or the user's cache."""
    return Path(os.environ.get("UNDERSTUDY_CACHE") or "~/.cache/understudy").expanduser()


def _about(
    teachers: Sequence[nn.Module],
    student: nn.Module,
    stage: Stage,
    data: Data,
    stored: Stored | None,
    stand_ins: StandIns,
) -> dict[str, Any]:
    """What the speed of a step depends on besides settings and machine; data that is ready costs alike, whatever it is.

    The teachers' weights decide in which precision they are asked, as far as they are known.
    """
    course = stage.course
    return {
        "teachers": [of_network(one) if stand_ins.has_learned(one) else _structure(one) for one in teachers],
        "student": _structure(student),
        "objective": str(stage.objective),
        "batch": min(course.batch, len(data.train)),
        "sample": data.shape,
        "optimizer": course.optimizer.name,
        "beside it": [course.ema is not None, bool(course.max_norm)],
        "stored": [stored.taps, stored.top] if stored else None,
    }


def _structure(network: nn.Module) -> list[str]:
    """Whose code, in which layers, and what of it is trained."""
    parameters = [f"{tuple(p.shape)} {p.dtype} {p.requires_grad}" for p in network.parameters()]
    return [type(inner(network)).__module__, of_layers(network), *parameters]


def _place(settings: Settings, about: Any) -> Path:
    facts = {"machine": machine(), "versions": versions(), "settings": asdict(settings), "about": about}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()
    return cache_folder() / "settings" / f"{digest[:32]}.json"


def _remembered(settings: Settings, about: Any, steps: int) -> Choice | None:
    """What was found before, by the question that so many steps ask; a damaged memory is none."""
    from pydantic import TypeAdapter  # late: it is slow to import

    for question in {settings: None, _without("compile", settings): None}:
        try:
            kept = json.loads(_place(question, about).read_text(encoding="utf-8"))
            found = TypeAdapter(Settings).validate_python(kept["found"]).plain
            reason = f"{describe(found)}: {_gained(float(kept['gain']))} (measured before)"
            if question == _asked(settings, steps * float(kept["step"])):
                return Choice(found, reason)
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


def _remember(question: Settings, about: Any, found: Settings, gain: float, seconds: float) -> None:
    content = json.dumps({"found": asdict(found), "gain": round(gain, 4), "step": seconds}, indent=2)
    with contextlib.suppress(UserError):  # what cannot be written is measured again
        write_atomically(_place(question, about), f"{content}\n".encode())
