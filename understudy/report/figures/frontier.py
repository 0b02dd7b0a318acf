"""Accuracy against cost of many students, with the line that none of them gets beyond."""

from collections.abc import Callable, Sequence
from typing import Any

from understudy.measure import Budget
from understudy.report import format as write
from understudy.report.figures.drawing import ALONE, INK, MUTED, PAPER, SERIES, Drawn, clipped, draw
from understudy.report.students import Student, Students

NAMED = 8  # students of a panel: of more, only those on the frontier have their name beside them
ROOM = 0.22  # of an axis, for names at its beginning

_Cost = Callable[[Student], float | None]
_PANELS: tuple[tuple[str, str, _Cost], ...] = (
    ("latency of one image, ms", "latency_ms", lambda student: student.latency_ms),
    ("bytes", "bytes", lambda student: student.network.bytes),
)


def frontier(students: Students, budget: Budget, chosen: Student | None) -> Drawn | None:
    """Two panels, latency and size; the chosen student in a ring, the bounds as lines."""
    panels = [panel for panel in _PANELS if any(panel[2](student) for student in students.all)]
    if not panels:
        return None

    def paint(figure: Any) -> None:
        drawn = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
        for axes, (label, bound, cost) in zip(drawn, panels, strict=True):
            _panel(axes, students, cost, chosen)
            limit = getattr(budget, bound)
            if limit is not None:
                axes.axvline(limit, color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)))
            if budget.accuracy is not None:
                axes.axhline(100 * budget.accuracy, color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)))
            axes.set_xlabel(label)
            axes.set_ylabel(f"{students.chosen_by} accuracy, %")

    told = [f"{student.name} {100 * students.worth(student):.2f} %" for student in students.sorted("accuracy")]
    title = "Accuracy against latency and size"
    return draw("frontier", title, f"{title}: {', '.join(told)}", 3.0 * len(panels), paint)


def undominated(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of (cost, worth) those that nothing at most as dear is better than, from the cheapest on."""
    line: list[tuple[float, float]] = []
    for cost, worth in sorted(points, key=lambda point: (point[0], -point[1])):
        if not line or worth > line[-1][1]:
            line.append((cost, worth))
    return line


def _panel(axes: Any, students: Students, cost: _Cost, chosen: Student | None) -> None:
    known = [(student, value) for student in students.all if (value := cost(student))]
    points = {student.name: (value, 100 * students.worth(student)) for student, value in known}
    line = undominated(list(points.values()))
    axes.plot(*zip(*line, strict=True), color=SERIES[0], alpha=0.5, drawstyle="steps-post", zorder=1)
    for student, value in known:
        worth, colour = points[student.name][1], ALONE if student.method == "alone" else SERIES[0]
        axes.scatter(value, worth, s=44, color=colour, edgecolors=PAPER, linewidths=1, zorder=3)
        if student == chosen:
            axes.scatter(value, worth, s=190, facecolors="none", edgecolors=SERIES[1], linewidths=2, zorder=2)
        ahead = (value, worth) in line
        if student == chosen or ahead or len(known) <= NAMED:
            _name(axes, student, (value, worth), ahead=ahead, colour=INK if student == chosen else MUTED)
    _axis(axes, [value for _, value in known])


def _name(axes: Any, student: Student, place: tuple[float, float], *, ahead: bool, colour: str) -> None:
    """Where nothing else can be: above and left of the frontier, below and right of what lies behind it."""
    side: dict[str, Any] = {"xytext": (-5, 5), "ha": "right", "va": "bottom"}
    if not ahead:
        side = {"xytext": (6, -4), "ha": "left", "va": "top"}
    axes.annotate(clipped(student.name), place, textcoords="offset points", fontsize="small", color=colour, **side)


def _axis(axes: Any, values: Sequence[float]) -> None:
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
