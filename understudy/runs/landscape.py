"""The landscapes of a run: every student's loss around it, on the same samples, in the same directions."""

import math
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any, Literal

import torch
from torch import nn

from understudy.data.parts import fewer
from understudy.errors import UserError
from understudy.files import read_json, write_json
from understudy.measure.landscape import RING, landscape
from understudy.plans.entry import RESULT
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
) -> dict[str, Any]:
    """Measure the surfaces of a finished run's students, and write them into its folder."""
    found = _students(run)
    inputs, labels = _samples(run, part, samples)
    students = []
    with run.recipe.settings.in_force():
        for student in found:
            name = student["training"]
            tell = None if progress is None else lambda done, of, name=name: progress(name, done, of)
            surface = landscape(_network(run, name), inputs, labels, grid=grid, seed=seed, progress=tell)
            students.append({**student, **_plain(asdict(surface))})
    content = {
        "part": part,
        "samples": len(labels),
        "direction_seed": seed,
        "sharpness_radius": RING,
        "students": students,
    }
    write_json(run.folder.path / LANDSCAPES, content)
    return content


def _students(run: Run) -> list[dict[str, Any]]:
    """Those that the result tells, seed by seed.

    Not those of the plan, which has no part of what was decided on the way: an assistant by the rule of thumb, the best
    path of a search.
    """
    result = read_json(run.folder.path / RESULT) or {}
    found = [
        {"training": row["training"], "method": method, "seed": row["seed"]}
        for method, told in result.get("methods", {}).items()
        for row in told.get("trainings", ())
        if row.get("training")
    ]
    if not found:
        raise UserError(
            f"{run.folder.path} holds no finished run with students: run the command again that made it, it goes on"
        )
    seeds = list(dict.fromkeys(student["seed"] for student in found))
    return sorted(found, key=lambda student: seeds.index(student["seed"]))


def _network(run: Run, training: str) -> nn.Module:
    """A student: the recipe's network, whoever taught it."""
    network = run.cast.trained(run.recipe.student, run.folder.training(training))
    return run.recipe.settings.place(network)


def _plain(value: Any) -> Any:
    """As JSON has it: a loss that is no number is None."""
    if isinstance(value, dict):
        return {key: _plain(own) for key, own in value.items()}
    if isinstance(value, tuple):
        return [_plain(own) for own in value]
    return value if math.isfinite(value) else None


def _samples(run: Run, part: str, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """So many samples as they are, each class in proportion: of what the students saw, or of validation."""
    data, settings = run.student_data, run.recipe.settings
    if part == "validation":
        if data.validation is None:
            raise UserError("this run has no validation part: choose --part train")
        data = replace(data, train=data.validation)
    chosen = fewer(data, min(count, len(data.train))).train
    batches = list(chosen.in_order(500, settings.torch_device))
    inputs = torch.cat([batch.inputs for batch in batches])
    return settings.prepare(inputs), torch.cat([batch.targets for batch in batches])
