"""The landscapes of a run: every student's loss around it, on the same samples, in the same directions."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import torch
from torch import nn

from understudy import nested
from understudy.data.parts import fewer
from understudy.errors import UserError
from understudy.files import sha256, write_atomically
from understudy.measure.landscape import RING, landscape
from understudy.models.student import WEIGHTS
from understudy.runs.records import Landscapes, Row, Surface
from understudy.runs.run import Run

LANDSCAPES = "landscape.json"


def survey(
    run: Run,
    *,
    grid: int = 21,
    samples: int = 1000,
    part: Literal["train", "validation"] = "train",
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> Landscapes:
    """Measure the surfaces of a finished run's students, and write them into its folder."""
    inputs, labels = _samples(run, part, samples)
    task, students = run.builder.data.task, []

    def loss(answer: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return task.loss(task.answer(answer), targets).mean()

    rows = _rows(run)
    with run.recipe.settings.in_force():
        for method, row in rows:
            name = row.training
            tell = None if progress is None else lambda done, of, name=name: progress(name, done, of)
            surface = landscape(_network(run, name), inputs, labels, grid=grid, seed=seed, loss=loss, progress=tell)
            students.append(
                Surface(
                    training=name,
                    method=method,
                    seed=row.seed,
                    student=sha256(run.folder.training(name) / WEIGHTS),
                    axis=list(surface.axis),
                    losses=[[_number(loss) for loss in losses] for losses in surface.losses],
                    centre=_number(surface.centre),
                    sharpness=_number(surface.sharpness),
                )
            )
    landscapes = Landscapes(
        part=part, samples=len(labels), direction_seed=seed, sharpness_radius=RING, students=students
    )
    write_atomically(run.folder.path / LANDSCAPES, landscapes.text().encode())
    return landscapes


def _rows(run: Run) -> list[tuple[str, Row]]:
    """The students that the result names, seed by seed.

    Not those of the plan, which lacks the choices made during the run: an assistant by the rule of thumb, the best
    path of a search.
    """
    result = run.folder.result()
    if result is None:
        raise UserError(
            f"{run.folder.path} holds no finished run with students: run the command again that made it, it goes on"
        )
    rows = [(method, row) for method, record in result.methods.items() for row in record.trainings]
    seeds = list(dict.fromkeys(row.seed for _, row in rows))
    return sorted(rows, key=lambda student: seeds.index(student[1].seed))


def _network(run: Run, training: str) -> nn.Module:
    """A student: the recipe's network, by any method."""
    network = run.builder.trained(run.recipe.student, run.folder.training(training))
    return run.recipe.settings.place(network)


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _samples(run: Run, part: str, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Samples without augmentation, stratified by class: of the students' training samples, or of validation."""
    data, settings = run.student_data, run.recipe.settings
    if part == "validation":
        if data.validation is None:
            raise UserError("this run has no validation part: choose --part train")
        data = replace(data, train=data.validation)
    elif not data.task.labelled:
        raise UserError("the training part of these data has no targets: choose --part validation")
    chosen = fewer(data, min(count, len(data.train))).train
    batches = list(chosen.in_order(500, settings.torch_device))
    inputs = nested.concatenated([batch.inputs for batch in batches])
    targets = nested.concatenated([batch.targets for batch in batches])
    if not isinstance(inputs, torch.Tensor) or not isinstance(targets, torch.Tensor):
        raise UserError("a loss surface is measured on inputs and targets of one tensor each")
    return settings.prepare(inputs), targets
