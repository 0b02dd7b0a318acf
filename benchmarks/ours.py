"""Understudy's own loops: the real trainer, live and stored, under one setting or another; and the floors."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.workload import BATCH, MEAN, SGD, STD, Loop, Work
from understudy import Augmentation, Settings, Stage, StoredAnswers, TrainConfig, optimizers
from understudy.bench.floors import Floor
from understudy.methods import find
from understudy.models import Normalized
from understudy.teacher.shared import SharedPasses
from understudy.terms import CE, KD
from understudy.training.loop import Training

PLAIN, FAST = Settings(), Settings(precision="bfloat16")
SETTINGS = {"plain": PLAIN, "fast": FAST}
FLOORS = {"kd": "F2", "hint": "F2", "stored kd": "F1", "stored hint": "F1"}  # what each kind cannot be faster than
KINDS = tuple(FLOORS)
_TAPS: dict[str, Any] = {"float32": "exact", "bfloat16": "bfloat16"}
CONFIG = TrainConfig(
    epochs=100, batch=BATCH, optimizer=optimizers.SGD(**SGD), augmentation=Augmentation(shift=4, flip=True), keep="last"
)


def stages(work: Work, kind: str, config: TrainConfig = CONFIG) -> list[Stage]:
    if kind.endswith("hint"):
        return find("fitnets")(config, pair=f"{work.pair.tap} -> {work.pair.tap}")[:1]
    return find("kd")(config, temperature=4)


def training(
    work: Work,
    found: list[Stage],
    settings: Settings,
    stored: Path | None = None,
    shared: SharedPasses | None = None,
    views: int = 1,
) -> Training:
    """As ``understudy distill`` makes it: each network behind its own normalisation."""
    return Training(
        Normalized(work.student(), MEAN, STD),
        [Normalized(work.teacher(), MEAN, STD)],
        found,
        work.data,
        settings=settings,
        shared=shared,
        stored=StoredAnswers(views=views, seed=0, taps=_TAPS[settings.precision], folder=str(stored))
        if stored
        else None,
    )


def loop(work: Work, kind: str, settings: Settings, stored: Path) -> Loop:
    """One of ``KINDS``. What is stored is there before anything is measured."""
    is_stored = kind.startswith("stored")
    ours = training(work, stages(work, kind), settings, stored if is_stored else None)
    stage = ours.stages[0]
    with settings.in_force():
        ours.open(stage)
        if is_stored:
            _epoch(ours, stage)
        batch = next(iter(ours.batches(stage)))

    def step() -> None:
        ours.place.step = 0  # the last step of an epoch does more
        with settings.in_force():
            ours.advance(stage, batch, time.monotonic())

    def epoch() -> None:
        with settings.in_force():
            _epoch(ours, stage)

    return Loop(step, epoch)


def floors(work: Work, kind: str, settings: Settings) -> dict[str, Callable[[], None]]:
    """F1 and F2 of a stage."""
    return _floor(work, kind, settings)[1].steps()


def floor_epochs(work: Work, kind: str, settings: Settings) -> dict[str, Callable[[], None]]:
    """F1 and F2 of a stage over a whole epoch, whose batches come as the trainer's do."""
    ours, floor = _floor(work, kind, settings)
    return {name: partial(_floor_epoch, ours, floor, step) for name, step in floor.steps().items()}


def _floor(work: Work, kind: str, settings: Settings) -> tuple[Training, Floor]:
    """Of a stage, with the training whose networks and batches it has."""
    ours = training(work, stages(work, kind), settings)
    stage = ours.stages[0]
    with settings.in_force():
        ours.open(stage)
        return ours, Floor(ours, stage, next(iter(ours.batches(stage))))


def _floor_epoch(ours: Training, floor: Floor, step: Callable[[], None]) -> None:
    with ours.settings.in_force():
        for batch in ours.batches(ours.stages[0]):
            floor.take(batch)
            step()
    ours.place.epoch += 1


def many_terms(work: Work, count: int) -> Callable[[], None]:
    """A step with the labels and ``count - 1`` soft targets at different temperatures."""
    objective = CE()
    for number in range(count - 1):
        objective = objective + 0.1 * KD(temperature=2.0 + number)
    ours = training(work, [Stage("terms", objective, CONFIG)], FAST)
    ours.open(ours.stages[0])
    batch = next(iter(ours.batches(ours.stages[0])))

    def step() -> None:
        ours.place.step = 0
        ours.advance(ours.stages[0], batch, time.monotonic())

    return step


def teacher_passes(work: Work, batch: int) -> Callable[[], None]:
    """The trainer's teacher asked about all images, so many at once."""
    found = stages(work, "kd")
    ours = training(work, found, FAST)
    ours.open(found[0])
    inputs = FAST.prepare(next(iter(ours.data.train.in_order(work.images, FAST.torch_device))).inputs)

    def passes() -> None:
        for chunk in inputs.split(batch):
            ours.stage_state.objective.ask(FAST.prepare(chunk))

    return passes


def _epoch(ours: Training, stage: Stage) -> None:
    ours.place.step = 0
    for batch in ours.batches(stage):
        ours.advance(stage, batch, time.monotonic())
    ours.place.step = 0
    ours.place.epoch += 1


def stored_bytes(work: Work, views: int, folder: Path) -> int:
    """The size of a store of so many views of every sample."""
    config = replace(CONFIG, epochs=views)
    found = find("kd")(config, temperature=4)
    ours = training(work, found, FAST)
    ours.stored = StoredAnswers(views=views, seed=0, folder=str(folder))
    ours.run()
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
