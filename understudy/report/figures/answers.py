"""Figures of the answers: by option, by confidence, and the similarity of inner values."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from understudy.measure import Bin
from understudy.report.figures.drawing import (
    ALONE,
    FAINT,
    GRID,
    INK,
    MARKERS,
    MUTED,
    PAPER,
    SERIES,
    Drawn,
    axis_label,
    clipped,
    draw,
)
from understudy.report.figures.foreground import foreground
from understudy.runs.records import BASELINE, Method, Result, Similarity, Teacher
from understudy.tasks import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

FEWEST = 10  # samples of a bin that is shown
MOST_OPTIONS = 16  # of more, those with the largest change are shown
LIGHT = 0.55  # of a colour: above it, text on it is light


def options(result: Result, colours: Mapping[str, str]) -> Drawn | None:
    """The first figure of each option: from the student alone to the distilled one, and the teacher.

    The largest gain comes first.
    """
    foremost = result.foremost
    first, names = result.first, result.task.options
    ours, alone = _of_options(result, foremost), _of_options(result, BASELINE)
    theirs = _scaled(result.teacher.measures.options, first) if result.teacher else []
    if foremost == BASELINE or not ours or len(ours) != len(names) or len(alone) != len(names):
        return None
    after = {place: value for place, value in enumerate(ours) if value is not None and alone[place] is not None}
    before = {place: value for place, value in enumerate(alone) if value is not None and place in after}
    change = {place: after[place] - before[place] for place in after}
    order = sorted(after, key=lambda place: -first.quality(change[place]))
    if len(order) > MOST_OPTIONS:
        order = order[: MOST_OPTIONS // 2] + order[-(MOST_OPTIONS // 2) :]
    if not order:
        return None
    changes = {place: f"{change[place]:+.1f}" if first.unit == "share" else f"{change[place]:+.2g}" for place in order}

    def paint(figure: "Canvas") -> None:
        axes = figure.add_subplot()
        rows = range(len(order))
        colour = colours[foremost]
        for row, place in enumerate(order):
            axes.plot([before[place], after[place]], [row, row], color=colour, linewidth=3, alpha=0.35)
            axes.annotate(changes[place], (1.02, row), xycoords=("axes fraction", "data"), va="center", color=INK)
        dots = partial(axes.scatter, edgecolors=PAPER, linewidths=1, zorder=3)
        if len(theirs) == len(names):
            stars = [math.nan if (value := theirs[place]) is None else value for place in order]
            dots(stars, rows, s=120, marker="*", color=INK, label="teacher")
        dots([before[place] for place in order], rows, s=36, color=ALONE, label="alone")
        dots([after[place] for place in order], rows, s=46, color=colour, label=clipped(foremost))
        axes.set_yticks(rows, [clipped(names[place]) for place in order])
        axes.tick_params(axis="y", labelcolor=INK)
        axes.set_ylim(len(order) - 0.4, -0.6)
        axes.set_xlabel(axis_label(first, result.data.measured_on))
        axes.spines["left"].set_visible(False)
        figure.legend(loc="outside upper center", ncols=3, handletextpad=0.3, columnspacing=1.4)

    points = " points" if first.unit == "share" else ""
    words = ", ".join(f"{names[place]} {changes[place]}{points}" for place in order)
    title = f"{first.title[0].upper()}{first.title[1:]} in detail: {foremost} against alone"
    return draw("options", title, f"{title}: {words}", 1.15 + 0.3 * max(len(order), 3), paint)


def calibration(result: Result, colours: Mapping[str, str]) -> Drawn | None:
    """The share of right answers by confidence; calibrated answers are on the diagonal."""
    lines = _lines(result, colours, {name: one.measures.calibration for name, one in result.methods.items()})
    if result.teacher and result.teacher.measures.calibration:
        lines.append(("teacher", INK, "*", result.teacher.measures.calibration))
    owners: dict[str, Method | Teacher] = {**result.methods, **({"teacher": result.teacher} if result.teacher else {})}
    spreads = {name: owner.spread("calibration_error") for name, owner in owners.items()}
    words = f"Expected calibration error: {', '.join(f'{n} {one.percent()}' for n, one in spreads.items() if one)}"
    labels = ("confidence, %", f"right on {result.data.measured_on}, %")
    return _by_confidence("calibration", "Calibration", words, lines, labels, diagonal=True)


def agreement(result: Result, colours: Mapping[str, str]) -> Drawn | None:
    """Agreement of the students with the teacher, by the teacher's confidence."""
    lines = _lines(result, colours, {name: one.measures.agreement for name, one in result.methods.items()})
    values = {name: one.spread("agreement") for name, one in result.methods.items()}
    words = "Agreement with the teacher: " + ", ".join(f"{name} {v.percent()}" for name, v in values.items() if v)
    labels = ("the teacher's confidence, %", "same answer, %")
    return _by_confidence("agreement", "Agreement with the teacher by its confidence", words, lines, labels)


def logit(result: Result, colours: Mapping[str, str]) -> Drawn | None:
    """The histogram of one option's logit, of the teacher and of the methods in the foreground (CAN's figure 6)."""
    counted = {name: result.methods[name].measures.logit for name in foreground(result)}
    counted |= {"teacher": result.teacher.measures.logit} if result.teacher else {}
    shown = {name: one for name, one in counted.items() if one is not None and any(one.counts)}
    if not shown:
        return None
    option = clipped(next(iter(shown.values())).option)

    def paint(figure: "Canvas") -> None:
        axes = figure.add_subplot()
        for name, one in shown.items():
            width, total = (one.high - one.low) / len(one.counts), sum(one.counts)
            edges = [one.low + place * width for place in range(len(one.counts) + 1)]
            heights = [count / total / width for count in one.counts]
            colour = INK if name == "teacher" else colours[name]
            axes.stairs(heights, edges, color=colour, linewidth=1.4, alpha=0.85, label=clipped(name))
        axes.set_xlabel(f"logit of {option}")
        axes.set_ylabel("density")
        figure.legend(loc="outside upper center", ncols=4, handlelength=1.5, columnspacing=1.4)

    title = f"The logit of {option} over all samples"
    ranges = ", ".join(f"{name} from {one.low:.3g} to {one.high:.3g}" for name, one in shown.items())
    return draw("logit", title, f"{title}: {ranges}", 2.9, paint)


def similarity(result: Result, method: str, name: str) -> Drawn | None:
    """A map of linear CKA: the teacher's taps from first to last downwards, the student's to the right."""
    record = result.similarity
    if record is None or not record.methods.get(method) or not record.student:
        return None
    rows = record.methods[method]

    def paint(figure: "Canvas") -> None:
        axes = figure.add_subplot()
        for down, values in enumerate(rows):
            for right, value in enumerate(values):
                _cell(axes, right, down, min(max(value, 0.0), 1.0), value)
        for taught, learnt in record.tapped.get(method, []):
            if taught in record.teacher and learnt in record.student:
                _frame(axes, record.student.index(learnt), record.teacher.index(taught))
        axes.set_xlim(0, len(record.student))
        axes.set_ylim(len(record.teacher), 0)
        axes.set_xticks([place + 0.5 for place in range(len(record.student))], map(_tail, record.student), rotation=90)
        axes.set_yticks([place + 0.5 for place in range(len(record.teacher))], map(_tail, record.teacher))
        axes.set_xlabel(f"student, {clipped(method)}")
        axes.set_ylabel("teacher")
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)

    title = f"Inner likeness to the teacher, {method}"
    words = f"{title}: linear CKA of {record.samples} samples; {_likest(record, rows)}"
    return draw(name, title, words, 1.5 + 0.33 * len(record.teacher), paint)


def _of_options(result: Result, method: str) -> list[float | None]:
    record = result.methods.get(method)
    return _scaled(record.measures.options, result.first) if record else []


def _scaled(values: Sequence[float | None], figure: Figure) -> list[float | None]:
    return [None if value is None else figure.scale * value for value in values]


def _lines(
    result: Result, colours: Mapping[str, str], bins: Mapping[str, Sequence[Bin]]
) -> list[tuple[str, str, str, Sequence[Bin]]]:
    front = foreground(result)
    markers = dict(zip(front, MARKERS, strict=False))
    shown = [(name, colours[name], markers[name], bins[name]) for name in front if bins[name]]
    return [(name, MUTED, "", points) for name, points in bins.items() if points and name not in front] + shown


def _telling(bins: Sequence[Bin]) -> Sequence[Bin]:
    """Without bins of too few samples."""
    return [bin for bin in bins if bin.count >= FEWEST] or bins


def _by_confidence(
    name: str,
    title: str,
    words: str,
    lines: Sequence[tuple[str, str, str, Sequence[Bin]]],
    labels: tuple[str, str],
    *,
    diagonal: bool = False,
) -> Drawn | None:
    if not lines:
        return None

    def paint(figure: "Canvas") -> None:
        from matplotlib.collections import PathCollection

        axes = figure.add_subplot()
        if diagonal:
            axes.plot([0, 100], [0, 100], color=GRID, linewidth=2)
        for method, colour, marker, every in lines:
            bins = _telling(every)
            x, y = [100 * bin.confidence for bin in bins], [100 * bin.share for bin in bins]
            if not marker:  # in the background
                axes.plot(x, y, color=colour, alpha=FAINT, linewidth=1)
                continue
            axes.plot(x, y, color=colour, alpha=0.6, linewidth=1.4)
            most = max(bin.count for bin in bins) or 1
            sizes = [18 + 60 * bin.count / most for bin in bins]
            label = clipped(method)
            axes.scatter(x, y, s=sizes, color=colour, marker=marker, edgecolors=PAPER, label=label, zorder=3)
        axes.set_xlabel(labels[0])
        axes.set_ylabel(labels[1])
        axes.set_xlim(right=102)
        axes.set_ylim(top=102)
        legend = figure.legend(loc="outside upper center", ncols=4, handletextpad=0.3, columnspacing=1.4)
        for handle in legend.legend_handles:
            if isinstance(handle, PathCollection):
                handle.set_sizes([40])

    return draw(name, title, words, 3.3, paint)


def _cell(axes: "Axes", right: int, down: int, strength: float, value: float) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((right, down), 1, 1, color=SERIES[0], alpha=strength, linewidth=0))
    colour = PAPER if strength > LIGHT else INK
    text = f"{100 * value:.0f}"
    axes.annotate(text, (right + 0.5, down + 0.5), ha="center", va="center", color=colour, fontsize="small")


def _frame(axes: "Axes", right: int, down: int) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((right, down), 1, 1, fill=False, edgecolor=SERIES[1], linewidth=2.2, zorder=3))


def _tail(path: str, most: int = 13) -> str:
    """The end of a dotted path, which is more specific than its beginning."""
    return path if len(path) <= most else f"…{path[-(most - 1) :]}"


def _likest(record: Similarity, rows: Sequence[Sequence[float]]) -> str:
    sentences = []
    for tap, values in zip(record.teacher, rows, strict=True):
        best = max(range(len(values)), key=lambda place: values[place])
        sentences.append(f"{tap} is most like {record.student[best]} ({values[best]:.2f})")
    return ", ".join(sentences)
