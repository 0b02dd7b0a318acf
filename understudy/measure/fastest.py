"""The fastest settings for two networks on this machine, found by a short measurement and remembered.

What was found is written into the run folder, so that a run goes on with the settings that it began with; the memory
of earlier measurements only saves measuring again.
"""

import contextlib
import copy
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from understudy.data.parts import Data
from understudy.errors import UserError
from understudy.measure.steps import interleaved, median_ratio, timed
from understudy.measure.surroundings import machine, versions
from understudy.stage import Stage
from understudy.training.checkpoints import write_atomically
from understudy.training.loop import Training
from understudy.training.settings import Settings

WORTH = 1.05  # a change of the settings is worth making from so many times the speed on
SHORT = 120.0  # seconds: a run that takes no longer is not worth a measurement
LONG = 1800.0  # seconds: a run that takes no less is worth trying compilation
COMPARISON = 0.8  # seconds of taking turns, for each of some four comparisons
MOST = 15.0  # seconds, after which nothing more is compared: the machine has other things to do
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
    about: Mapping[str, Any],
) -> Choice:
    """The fastest of what ``settings.auto`` leaves open, for a run of so many steps such as those of ``stage``.

    Args:
        about: what the answer depends on besides the machine, as plain data: the key under which it is remembered.
    """
    if not teachers:
        settings = replace(settings, auto=tuple(name for name in settings.auto if name != "teacher_precision"))
    known = _remembered(settings, about)
    if known is not None:
        return known
    began = time.perf_counter()
    trials = _Trials(teachers, student, stage, data)
    try:
        with torch.random.fork_rng(_devices(settings)):
            seconds = steps * trials.plain_step(settings.plain)
            if seconds < SHORT:
                return Choice(settings.plain, f"{describe(settings.plain)}; so short a run is not worth measuring")
            found, gain = best_of(settings, trials.times, long=seconds > LONG)
    except UserError:
        return Choice(settings.plain, f"{describe(settings.plain)}; nothing could be measured")
    reason = f"{describe(found)}: {_gained(gain)} (measured in {time.perf_counter() - began:.0f} s)"
    if not trials.out_of_time:
        _remember(settings, about, found, gain)
    return Choice(found, reason)


def best_of(settings: Settings, times: Times, *, long: bool = False) -> tuple[Settings, float]:
    """Settings and how many times the plain ones' speed they have: numbers first, then memory format, then threads.

    Of those that are about equally fast it is the first, which changes least.
    """
    best, gain = settings.plain, 1.0
    if "threads" in settings.auto and settings.torch_device.type == "cpu":
        best = replace(best, threads=torch.get_num_threads())  # written down, for results depend on it
    for candidates in (_precisions, _formats, _threads, _compiled if long else _nothing):
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
    return ", ".join([*said, *(["compiled"] if settings.compile else [])])


class _Trials:
    """Copies of the networks under one setting or another, each taking the trainer's own steps."""

    def __init__(self, teachers: Sequence[nn.Module], student: nn.Module, stage: Stage, data: Data):
        self.teachers, self.student, self.stage, self.data = teachers, student, stage, data
        self.samples = min(stage.course.batch, len(data.train))
        self.end = time.perf_counter() + MOST
        self.steps: dict[Settings, Callable[[], None]] = {}

    def plain_step(self, settings: Settings) -> float:
        """Seconds of a plain step on a whole batch; what is measured from here on is small enough."""
        step = self._step(settings)
        step()
        seconds = timed(step, settings.torch_device)
        self.samples = max(min(SMALLEST_BATCH, self.samples), int(self.samples * min(1.0, STEP / seconds)))
        return seconds

    @property
    def out_of_time(self) -> bool:
        return time.perf_counter() > self.end

    def times(self, settings: Settings, other: Settings) -> float | None:
        """None where the machine cannot do it, in its memory or at all, where the numbers go wrong, or time is up."""
        if self.out_of_time:
            return None
        try:
            self.steps = {one: self.steps.get(one) or self._step(one) for one in (other, settings)}  # no more are held
            steps = {"this": self.steps[settings], "other": self.steps[other]}
            found = interleaved(steps, settings.torch_device, seconds=COMPARISON)
        except (RuntimeError, UserError):
            return None
        return median_ratio(found["other"], found["this"])

    def _step(self, settings: Settings) -> Callable[[], None]:
        student, teachers = copy.deepcopy(self.student), [copy.deepcopy(teacher) for teacher in self.teachers]
        stage = replace(self.stage, course=replace(self.stage.course, batch=self.samples))
        training = Training(student, teachers, [stage], self.data, settings=settings)
        with settings.in_force():
            training.open(stage)
            batch = next(training.batches(stage))

        def step() -> None:
            training.place.step = 0
            with settings.in_force():
                training.advance(stage, batch, time.monotonic())

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


def _compiled(best: Settings, settings: Settings) -> Iterator[Settings]:
    """On a CPU it was measured to gain nothing beside channels-last and bfloat16, for up to a minute's wait."""
    if "compile" in settings.auto and settings.torch_device.type != "cpu":
        yield replace(best, compile=True)


def _nothing(best: Settings, settings: Settings) -> Iterator[Settings]:
    return iter(())


def _gained(gain: float) -> str:
    return f"{gain:.2f} times the speed of plain settings" if gain > 1 else "plain settings are the fastest here"


def _devices(settings: Settings) -> list[torch.device]:
    return [settings.torch_device] if settings.torch_device.type == "cuda" else []


def cache_folder() -> Path:
    """Where what can be found again is kept: $UNDERSTUDY_CACHE, or the user's cache."""
    return Path(os.environ.get("UNDERSTUDY_CACHE") or "~/.cache/understudy").expanduser()


def _place(settings: Settings, about: Mapping[str, Any]) -> Path:
    facts = {"machine": machine(), "versions": versions(), "settings": asdict(settings), "about": about}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()
    return cache_folder() / "settings" / f"{digest[:32]}.json"


def _remembered(settings: Settings, about: Mapping[str, Any]) -> Choice | None:
    """What was found before; a damaged memory is none."""
    from pydantic import TypeAdapter  # late: it is slow to import

    try:
        kept = json.loads(_place(settings, about).read_text(encoding="utf-8"))
        found = TypeAdapter(Settings).validate_python(kept["found"]).plain
        return Choice(found, f"{describe(found)}: {_gained(float(kept['gain']))} (measured before)")
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remember(settings: Settings, about: Mapping[str, Any], found: Settings, gain: float) -> None:
    content = json.dumps({"found": asdict(found), "gain": round(gain, 4)}, indent=2)
    with contextlib.suppress(UserError):  # what cannot be written is measured again
        write_atomically(_place(settings, about), f"{content}\n".encode())
