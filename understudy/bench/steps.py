"""The cost of a step of a stage: the trainer's step against the floors, interleaved in one run."""

import itertools
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch

from understudy.bench.floors import Floor
from understudy.bench.parts import Parts
from understudy.config.hardware import synchronize, timed
from understudy.config.stage import Stage
from understudy.data.parts import Batch
from understudy.measure.machine import peak_memory, reset_peak_memory
from understudy.training.loop import Training

WARM_UP = 3
LEAST_ROUNDS = 3
ROUND = 0.03  # seconds that a round of steps takes at least, so that the clock's own moods are small against it


@dataclass(frozen=True)
class StepCost:
    """Of one stage. Times are medians in milliseconds; ratios are medians over rounds, floor over step."""

    stage: str
    objective: str
    batch: int
    step_ms: float  # without the data
    parts_ms: dict[str, float]  # of the same step, with the time of waiting for data
    floors_ms: dict[str, float]
    of_floor: dict[str, float]  # 1 is the floor
    samples_per_second: float  # waiting for data included
    loader_samples_per_second: float  # of the data alone, as fast as they come
    limit: Literal["loader", "step"]
    peak_memory_mb: float
    memory_of: Literal["accelerator", "process"]
    rounds: int


def step_cost(training: Training, number: int, *, seconds: float = 5.0) -> StepCost:
    """Of stage ``number`` of a training that has not begun; its student is trained a little by it."""
    stage, device = training.stages[number], training.settings.torch_device
    devices = [device] if device.type == "cuda" else []
    with training.settings.in_force(), torch.random.fork_rng(devices):
        training.place.stage = number
        reset_peak_memory(device)  # other stages, and the search for settings, have taken some
        training.open(stage)
        warm_up = max(WARM_UP, training.stage_state.together + 1)  # memory peaks when a teacher runs
        for batch in itertools.islice(_endless(training, stage), warm_up):
            training.advance(stage, batch, time.monotonic())
        found = peak_memory(device)  # before anything else than the training takes some
        times = _interleaved(training, stage, 0.5 * seconds)
        loader = _loader_rate(training, stage, 0.15 * seconds)
        split = _split(training, stage, 0.35 * seconds)
    ours, size = times.pop("step"), len(batch)
    return StepCost(
        stage=stage.name,
        objective=str(stage.objective),
        batch=size,
        step_ms=_milliseconds(ours),
        parts_ms=split,
        floors_ms={name: _milliseconds(values) for name, values in times.items()},
        of_floor={name: round(median_ratio(values, ours), 4) for name, values in times.items()},
        samples_per_second=round(size / (statistics.median(ours) + split["data"] / 1000), 1),
        loader_samples_per_second=round(loader, 1),
        limit="loader" if loader < size / statistics.median(ours) else "step",
        peak_memory_mb=round(found.get("accelerator", found.get("process", 0)) / 1e6, 1),
        memory_of="accelerator" if "accelerator" in found else "process",
        rounds=len(ours),
    )


def interleaved(
    variants: Mapping[str, Callable[[], object]],
    device: torch.device,
    *,
    seconds: float,
    least: int = LEAST_ROUNDS,
    repeats: int | None = None,
    multiple: int = 1,
) -> dict[str, list[float]]:
    """Seconds of one call of each variant, round by round, in an order that is shuffled in each.

    A round calls each variant ``repeats`` times; by default, after a warm-up, as often as takes a while: ``multiple``
    times or some such number more.
    """
    times: dict[str, list[float]] = {name: [] for name in variants}
    calls = {name: repeats or _repeats(run, device, multiple) for name, run in variants.items()}
    order, draw, end = list(variants), random.Random(0), time.perf_counter() + seconds
    while len(times[order[0]]) < least or time.perf_counter() < end:
        draw.shuffle(order)
        for name in order:
            times[name].append(timed(variants[name], device, calls[name]))
    return times


def median_ratio(values: list[float], base: list[float]) -> float:
    """The median over rounds of one variant's time over another's."""
    return statistics.median(value / other for value, other in zip(values, base, strict=True))


def _repeats(run: Callable[[], object], device: torch.device, multiple: int) -> int:
    """Calls that a round makes; on the way, the variant is warmed up."""
    timed(run, device, multiple)
    return multiple * max(1, round(ROUND / (multiple * timed(run, device, multiple))))


def _interleaved(training: Training, stage: Stage, seconds: float) -> dict[str, list[float]]:
    training.place.step, together = 0, training.stage_state.together
    few = list(itertools.islice(training.batches(stage), together))  # in one forward pass of the teacher
    floor, batches = Floor(training, stage, few[0]), itertools.cycle(few)

    def step() -> None:
        training.place.step = 0  # the last step of an epoch does more
        training.advance(stage, next(batches), time.monotonic())

    variants = {"step": step, **floor.steps()}
    return interleaved(variants, training.settings.torch_device, seconds=seconds, multiple=together)


def _split(training: Training, stage: Stage, seconds: float) -> dict[str, float]:
    """Milliseconds of each part of a step, as it is in a training: the next batch is waited for, then taken."""
    parts = Parts(training.settings.torch_device)
    parts.watch(training.stage_state)
    rows: list[dict[str, float]] = []
    together = training.stage_state.together  # in one of them the teacher runs for all
    feed = _endless(training, stage)
    end = time.perf_counter() + seconds
    while len(rows) < LEAST_ROUNDS or time.perf_counter() < end:
        parts.seconds = dict.fromkeys(parts.seconds, 0.0)
        for _ in range(together):
            with parts.part("data"):
                batch = next(feed)
            with parts.part("loop"):
                training.place.step = 0
                training.advance(stage, batch, time.monotonic())
        rows.append({name: passed / together for name, passed in parts.seconds.items()})
    medians = {name: _milliseconds([row[name] for row in rows]) for name in rows[0]}
    return {name: value for name, value in medians.items() if value or name in ("data", "loop")}


def _loader_rate(training: Training, stage: Stage, seconds: float) -> float:
    """Samples per second of the data alone."""
    feed = _endless(training, stage)
    next(feed)  # worker processes have started
    device = training.settings.torch_device
    synchronize(device)
    began, samples = time.perf_counter(), 0
    while samples == 0 or time.perf_counter() - began < seconds:
        samples += len(next(feed))
    synchronize(device)
    return samples / (time.perf_counter() - began)


def _endless(training: Training, stage: Stage) -> Iterator[Batch]:
    """The batches of successive epochs in their views; repeated views if answers are stored.

    So a step with stored answers is measured as most of its training's steps are: with answers that are there.
    """
    while True:
        training.place.step = 0
        if training.stage_state.stored:
            yield from itertools.islice(training.batches(stage), WARM_UP)
        else:
            yield from training.batches(stage)
            training.place.epoch += 1


def _milliseconds(values: list[float]) -> float:
    return round(1000 * statistics.median(values), 4)
