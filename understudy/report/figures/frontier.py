"""The first figure against the costs of many students, with the Pareto frontier."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from understudy.measure import Budget
from understudy.report import format as write
from understudy.report.figures.drawing import ALONE, INK, MUTED, PAPER, SERIES, Drawn, axis_label, clipped, draw
from understudy.report.students import Student, Students
from understudy.runs.records import BASELINE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

NAMED = 8  # students of a panel: of more, only those on the frontier have their name beside them
ROOM = 0.22  # of an axis, for names at its beginning

_Cost = Callable[[Student], float | None]
_PANELS: tuple[tuple[str, str, _Cost], ...] = (
    ("latency of one sample, ms", "latency_ms", lambda student: student.latency_ms),
    ("bytes", "bytes", lambda student: student.network.bytes),
)


def frontier(students: Students, budget: Budget, chosen: Student | None) -> Drawn | None:
    """Two panels, latency and size; the chosen student in a ring, the bounds as lines."""
    panels = [
        panel for panel in _PANELS if any(panel[2](one) and math.isfinite(students.worth(one)) for one in students.all)
    ]
    if not panels:
        return None

    def paint(figure: "Canvas") -> None:
        drawn = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
        for axes, (label, bound, cost) in zip(drawn, panels, strict=True):
            _panel(axes, students, cost, chosen)
            limit = getattr(budget, bound)
            if limit is not None:
                axes.axvline(limit, color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)))
            if budget.value is not None:
                axes.axhline(students.figure.scale * budget.value, color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)))
            axes.set_xlabel(label)
            axes.set_ylabel(axis_label(students.figure, students.chosen_by))

    figure = students.figure
    texts = [f"{student.name} {figure.text(students.worth(student))}" for student in students.sorted("value")]
    title = f"{figure.title[0].upper()}{figure.title[1:]} against latency and size"
    return draw("frontier", title, f"{title}: {', '.join(texts)}", 3.0 * len(panels), paint)


def undominated(points: Sequence[tuple[float, float]], *, lower: bool = False) -> list[tuple[float, float]]:
    """The Pareto-optimal points of (cost, value), from the cheapest on.

    Args:
        lower: whether a lower value is better.
    """
    sign = -1 if lower else 1
    line: list[tuple[float, float]] = []
    for cost, value in sorted(points, key=lambda point: (point[0], -sign * point[1])):
        if not line or sign * value > sign * line[-1][1]:
            line.append((cost, value))
    return line


def _panel(axes: "Axes", students: Students, cost: _Cost, chosen: Student | None) -> None:
    finite = [student for student in students.all if math.isfinite(students.worth(student))]
    known = [(student, value) for student in finite if (value := cost(student))]
    scale, lower = students.figure.scale, students.figure.better == "lower"
    points = {student.name: (value, scale * students.worth(student)) for student, value in known}
    line = undominated(list(points.values()), lower=lower)
    axes.plot(*zip(*line, strict=True), color=SERIES[0], alpha=0.5, drawstyle="steps-post", zorder=1)
    for student, value in known:
        worth, colour = points[student.name][1], ALONE if student.method == BASELINE else SERIES[0]
        axes.scatter(value, worth, s=44, color=colour, edgecolors=PAPER, linewidths=1, zorder=3)
        if student == chosen:
            axes.scatter(value, worth, s=190, facecolors="none", edgecolors=SERIES[1], linewidths=2, zorder=2)
        ahead = (value, worth) in line
        if student == chosen or ahead or len(known) <= NAMED:
            _name(axes, student, (value, worth), ahead=ahead, colour=INK if student == chosen else MUTED)
    _axis(axes, [value for _, value in known])


def _name(axes: "Axes", student: Student, place: tuple[float, float], *, ahead: bool, colour: str) -> None:
    """Place labels above and left of the frontier, and below and right of other points."""
    axes.annotate(
        clipped(student.name),
        place,
        xytext=(-5, 5) if ahead else (6, -4),
        ha="right" if ahead else "left",
        va="bottom" if ahead else "top",
        textcoords="offset points",
        fontsize="small",
        color=colour,
    )


def _axis(axes: "Axes", values: Sequence[float]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    axes.margins(x=0.16, y=0.16)
    if max(values) > 8 * min(values):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5))
    low, high = axes.get_xlim()  # with room for the names of the cheapest
    wide = axes.get_xscale() == "log"
    axes.set_xlim(left=low * (low / high) ** ROOM if wide else max(low - ROOM * (high - low), 0.0))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: write.short(value)))
