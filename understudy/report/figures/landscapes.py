"""The loss around each student as maps with contour lines, all on one scale."""

import math
from typing import TYPE_CHECKING

from understudy.report.figures.drawing import GRID, INK, MUTED, PAPER, SERIES, Drawn, clipped, draw
from understudy.runs.records import Landscapes, Surface

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

COLUMNS, LEVELS = 3, 10
DEEP = 1000  # a loss so many times below the highest is shown as the lowest


def landscapes(record: Landscapes) -> Drawn | None:
    """A map for each student; a step of colour is the same step of loss, by a factor, in all of them."""
    levels = _levels(record)
    if levels is None:
        return None
    columns = min(COLUMNS, len({student.method for student in record.students}))  # methods side by side, seed by seed
    rows = math.ceil(len(record.students) / columns)

    def paint(figure: "Canvas") -> None:
        plan = figure.add_gridspec(rows + 1, columns, height_ratios=[*[1] * rows, 0.1])
        for place, student in enumerate(record.students):
            axes = figure.add_subplot(plan[place // columns, place % columns])
            _map(axes, student, levels)
            axes.tick_params(labelleft=place % columns == 0)
        _key(figure.add_subplot(plan[rows, :]), levels)

    sentences = [f"{student.training}: {_caption(student)}" for student in record.students]
    return draw(
        "landscapes", "The loss around each student", "; ".join(sentences), 0.8 + 5.2 / max(columns, 2) * rows, paint
    )


def _levels(record: Landscapes) -> list[float] | None:
    """Borders between colours, evenly in logarithms over all students; None where all losses are equal."""
    values = [value for student in record.students for row in student.losses for value in row if value is not None]
    if not values or max(values) <= 0 or max(values) <= min(values):
        return None
    high = max(values)
    low = max(min(values), high / DEEP)
    return [low * (high / low) ** (step / LEVELS) for step in range(1, LEVELS)]


def _map(axes: "Axes", student: Surface, levels: list[float]) -> None:
    """Draw every level over those below it, in the page's colours."""
    highest = 2 * levels[-1] + max(value for row in student.losses for value in row if value is not None)
    surface = [[highest if value is None else value for value in row] for row in zip(*student.losses, strict=True)]
    for level in levels:
        if level < max(map(max, surface)):
            axes.contourf(
                student.axis, student.axis, surface, levels=[level, 2 * highest], colors=[SERIES[0]], alpha=0.1
            )
    within = [level for level in levels if min(map(min, surface)) < level < max(map(max, surface))]
    if within:
        axes.contour(student.axis, student.axis, surface, levels=within, colors=[MUTED], linewidths=0.5)
    axes.scatter([0], [0], s=26, color=INK, edgecolors=PAPER, linewidths=1, zorder=3)
    axes.set_title(clipped(student.training), fontsize="medium", color=INK)
    axes.set_aspect("equal")
    axes.set_xticks([student.axis[0], 0, student.axis[-1]])
    axes.set_yticks([student.axis[0], 0, student.axis[-1]])
    axes.grid(visible=False)


def _key(axes: "Axes", levels: list[float]) -> None:
    for place in range(len(levels)):
        axes.axvspan(place + 1, len(levels) + 1, color=SERIES[0], alpha=0.1, linewidth=0)
    axes.set_xlim(0, len(levels) + 1)
    axes.set_xticks(range(1, len(levels) + 1), [f"{level:.2g}" for level in levels])
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.set_xlabel("loss")
    for spine in axes.spines.values():
        spine.set(visible=True, color=GRID)


def _caption(student: Surface) -> str:
    rise = "unknown" if student.sharpness is None else f"{student.sharpness:.3g}"
    return f"mean rise {rise}"
