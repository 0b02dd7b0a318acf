"""The figures of a search: its course, and validation against each setting."""

from typing import TYPE_CHECKING

from understudy.report.figures.drawing import ALONE, INK, PAPER, SERIES, Drawn, axis_label, clipped, draw
from understudy.runs.records import SearchRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas


def draw_search(search: SearchRecord) -> dict[str, Drawn]:
    """By their place on the page."""
    drawn = {"trials": trials(search)}
    for number, key in enumerate(search.search, 1):
        drawn[f"setting {key}"] = setting(search, key, number)
    return {place: figure for place, figure in drawn.items() if figure is not None}


def trials(search: SearchRecord) -> Drawn | None:
    """The first figure on validation of each complete trial, and the best so far."""
    first = search.task.first
    pick = max if first.better == "higher" else min
    complete = _complete(search)
    stopped = [point.trial for point in search.trials if point.state != "complete"]
    if not complete:
        return None

    def paint(figure: "Canvas") -> None:
        axes = figure.add_subplot()
        numbers, values = zip(*complete, strict=True)
        best = [pick(values[: place + 1]) for place in range(len(values))]
        axes.step([*numbers, len(search.trials)], [*best, best[-1]], where="post", color=SERIES[1], label="best so far")
        axes.scatter(numbers, values, s=36, color=SERIES[0], edgecolors=PAPER, linewidths=1, zorder=3, label="trial")
        if stopped:
            axes.scatter(
                stopped,
                [0.04] * len(stopped),
                s=26,
                color=ALONE,
                marker="x",
                label="stopped or failed",
                transform=axes.get_xaxis_transform(),  # at the foot: they have no value
            )
        axes.set_xlabel("trial")
        axes.set_ylabel(axis_label(first, "validation"))
        axes.margins(y=0.12)
        axes.grid(visible=False, axis="x")
        figure.legend(loc="outside upper center", ncols=3, handletextpad=0.4, columnspacing=1.4)

    words = f"best {search.best.validation.spread.text(first.unit)}, trial {search.best.trial}"
    title = f"{first.title[0].upper()}{first.title[1:]} on validation by trial"
    return draw("trials", title, words, 3.4, paint)


def setting(search: SearchRecord, key: str, number: int) -> Drawn | None:
    """The first figure on validation against one setting; the others vary as well."""
    first = search.task.first
    points = [
        (point.settings[key], first.scale * spread.mean, point.trial == search.best.trial)
        for point in search.trials
        if point.validation and (spread := point.validation.spread).finite and key in point.settings
    ]
    if len(points) < 2:
        return None

    def paint(figure: "Canvas") -> None:
        axes = figure.add_subplot()
        for value, measured, chosen in points:
            colour, size = (SERIES[1], 60) if chosen else (SERIES[0], 36)
            axes.scatter(value, measured, s=size, color=colour, edgecolors=PAPER, linewidths=1, zorder=3)
        if search.search[key].endswith("log"):
            _logarithmic(axes)
        axes.set_xlabel(clipped(key, 40))
        axes.set_ylabel(axis_label(first, "validation"))
        axes.tick_params(labelcolor=INK)

    text = "; ".join(f"{value:g}: {first.text(measured / first.scale)}" for value, measured, _ in sorted(points))
    return draw(f"setting-{number}", key, text, 2.6, paint)


def _logarithmic(axes: "Axes") -> None:
    from matplotlib.ticker import FuncFormatter, NullLocator

    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _complete(search: SearchRecord) -> list[tuple[int, float]]:
    return [
        (point.trial, search.task.first.scale * spread.mean)
        for point in search.trials
        if point.validation and (spread := point.validation.spread).finite
    ]
