"""A call of ``understudy.distill`` where it is like a recipe: what it can write down, and which settings it has."""

import json
from dataclasses import asdict, replace
from typing import Any, Literal

import tomli_w
from torch import nn

from understudy.bench.choose import fastest_settings
from understudy.data.parts import Data, Part
from understudy.data.sources import InMemory
from understudy.models.fingerprints import brief, of_layers, of_network, of_samples, of_values
from understudy.recipe.overrides import without_nones
from understudy.runs.folder import RunFolder
from understudy.settings import CHOOSABLE, Settings
from understudy.stage import Stage
from understudy.stored import Stored
from understudy.taps import inner
from understudy.training.watch import Watcher


def settled(
    settings: Settings | Literal["auto"],
    teachers: list[nn.Module],
    student: nn.Module,
    stages: list[Stage],
    data: Data,
    stored: Stored | None,
    folder: RunFolder | None,
    watcher: Watcher,
) -> Settings:
    """The settings of a call with nothing left to choose: those that its run began with, or the fastest ones."""
    settings = Settings(auto=CHOOSABLE) if settings == "auto" else settings
    if not settings.auto:
        return settings
    begun = folder.settings() if folder else None
    if begun is not None:
        return begun
    longest = max(stages, key=lambda stage: stage.course.epochs)
    steps = sum(stage.course.epochs * data.train.steps(stage.course.batch) for stage in stages)
    choice = fastest_settings(settings, teachers, student, longest, data, steps=steps, stored=stored)
    watcher.note(f"settings: {choice.reason}")
    return choice.settings


def described(
    method: Any,
    own: dict[str, Any],
    stages: list[Stage],
    seed: int,
    settings: Settings,
    teachers: list[nn.Module],
    student: nn.Module,
    stored: Stored | None,
    assistants: list[dict[str, Any]],
    data: Data,
) -> str:
    """What of a call can be written down, as TOML: networks by their class, teachers and data by what they hold."""
    record = {
        "title": "understudy.distill, with networks passed as objects",
        "method": method if isinstance(method, str) else "own",
        "method_settings": {key: str(value) for key, value in own.items()},
        "seed": seed,
        "teacher": class_of(teachers[0]) if teachers else "none",
        "teachers": [class_of(teacher) for teacher in teachers] if len(teachers) > 1 else None,
        "weights_of_teachers": [of_network(teacher) for teacher in teachers],
        "data": [_held(part) for part in (data.train, data.validation) if part],
        "student": class_of(student),
        "parameters": sum(p.numel() for p in student.parameters()),
        "layers": brief([of_layers(student)]),
        **({"assistants": [assistant["network"] for assistant in assistants]} if assistants else {}),
        "settings": asdict(settings),
        "stored": asdict(replace(stored, folder=None)) if stored else None,
        "stages": [{"name": s.name, "objective": str(s.objective), "course": asdict(s.course)} for s in stages],
    }
    return tomli_w.dumps(without_nones(json.loads(json.dumps(record, default=str))))


def _held(part: Part) -> str:
    """What tells one part from another. Samples that are streamed are known by their labels: they may be too many."""
    source = part.source
    samples = of_samples(source) if isinstance(source, InMemory) else of_values(source.targets)
    return brief([samples, of_values(part.ids)])


def class_of(network: nn.Module) -> str:
    own = type(inner(network))
    return f"{own.__module__}:{own.__qualname__}"
