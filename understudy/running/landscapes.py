"""The landscapes of a run: every student's loss around it, on the same samples, in the same directions."""

import math
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any, Literal

import torch

from understudy.data.parts import fewer
from understudy.errors import UserError
from understudy.measure.landscape import RING, landscape
from understudy.plans.entry import write_json
from understudy.running.run import Run

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
    inputs, labels = _samples(run, part, samples)
    students = []
    with run.recipe.settings.in_force():
        for node in run.plan:
            if node.role == "teacher":
                continue
            network = run.trained(node.name)
            tell = None if progress is None else lambda done, of, name=node.name: progress(name, done, of)
            found = landscape(network, inputs, labels, grid=grid, seed=seed, progress=tell)
            method = node.name.rpartition("-")[0]
            students.append({"training": node.name, "method": method, "seed": node.seed, **_plain(asdict(found))})
    content = {
        "part": part,
        "samples": len(labels),
        "direction_seed": seed,
        "sharpness_radius": RING,
        "students": students,
    }
    write_json(run.folder.path / LANDSCAPES, content)
    return content


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
    return settings.prepare(inputs), torch.cat([batch.labels for batch in batches])
