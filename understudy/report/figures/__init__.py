"""All figures of a run's page, drawn by matplotlib as SVG in the page's colours."""

import re
from collections.abc import Mapping

from understudy.report.figures import answers
from understudy.report.figures.curves import losses, teacher_losses, validation
from understudy.report.figures.drawing import ALONE, SERIES, Drawn
from understudy.report.figures.foreground import foreground
from understudy.report.figures.landscapes import landscapes
from understudy.report.figures.methods import cost, first_figure
from understudy.report.figures.paths import tree
from understudy.report.reading import RunFiles
from understudy.runs.records import BASELINE, Result

MAPS = 4  # of inner values, at most


def draw_all(record: RunFiles) -> dict[str, Drawn]:
    """All figures for which the run has data, by their place on the page."""
    result, colours = record.result, method_colours(record.result)
    drawn: dict[str, Drawn | None] = {
        "first": first_figure(result, colours),
        "paths": tree(result),
        "cost": cost(result, colours),
        "options": answers.options(result, colours),
        "calibration": answers.calibration(result, colours),
        "agreement": answers.agreement(result, colours),
        "logit": answers.logit(result, colours),
        "validation": validation(record, colours),
    }
    for number, method in enumerate(mapped(result), 1):
        name = f"similarity-{number}-{_plain(method)}"
        drawn[f"similarity of {method}"] = answers.similarity(result, method, name)
    for number, method in enumerate(result.methods, 1):
        drawn[f"losses of {method}"] = losses(record, method, f"losses-{number}-{_plain(method)}")
    for teacher in record.teacher_trainings:
        drawn[f"losses of {teacher}"] = teacher_losses(record, teacher)
    if record.landscapes is not None:
        drawn["landscapes"] = landscapes(record.landscapes)
    return {place: figure for place, figure in drawn.items() if figure is not None}


def mapped(result: Result) -> list[str]:
    """The methods whose inner values are shown: alone, the leading one, and those that compare inner values."""
    tapping = result.similarity.tapped if result.similarity else {}
    return [name for name in dict.fromkeys((BASELINE, result.foremost, *tapping)) if name in result.methods][:MAPS]


def method_colours(result: Result) -> Mapping[str, str]:
    """Grey for the baseline, a colour for each other method: first for those that figures show in the foreground."""
    front = foreground(result)
    distilled = sorted(result.distilled, key=lambda name: name not in front)
    return {
        name: SERIES[distilled.index(name) % len(SERIES)] if name in distilled else ALONE for name in result.methods
    }


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", name)[:40].strip("-") or "method"
