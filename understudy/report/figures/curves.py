"""Curves over epochs: the first figure on validation and training of all methods, and every term's loss of each."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from understudy.methods.registry import notation
from understudy.report.figures.drawing import (
    DASHES,
    FAINT,
    GRID,
    INK,
    MUTED,
    OTHERS,
    SERIES,
    Dash,
    Drawn,
    axis_label,
    clipped,
    draw,
)
from understudy.report.figures.foreground import foreground
from understudy.report.reading import RunFiles
from understudy.training.records import Epoch

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

FEW = 15  # points of a curve that are still drawn as dots


@dataclass(frozen=True)
class Timeline:
    """The beginnings of stages on a common axis; seeds may have stopped at different epochs."""

    starts: dict[str, int]
    end: int

    @classmethod
    def of(cls, trainings: Sequence[Sequence[Epoch]]) -> "Timeline":
        lengths: dict[str, int] = {}
        for training in trainings:
            for epoch in training:
                lengths[epoch.stage] = max(lengths.get(epoch.stage, 0), epoch.epoch)
        starts, end = {}, 0
        for stage, length in lengths.items():
            starts[stage], end = end, end + length
        return cls(starts, end)

    def place(self, epoch: Epoch) -> int:
        return self.starts[epoch.stage] + epoch.epoch


def validation(record: RunFiles, colours: Mapping[str, str]) -> Drawn | None:
    """The first figure on validation by epoch, a line for each training; that of its training batches is dotted."""
    first = record.result.first
    beside: list[tuple[str, str, list[tuple[int, float]]]] = []
    lines: list[tuple[str, str, Dash, list[tuple[int, float]]]] = []
    groups = [(name, colour, DASHES[0], _of_method(record, name)) for name, colour in colours.items()] + [
        (teacher, INK, DASHES[1], [record.epochs[name] for name in names])
        for teacher, names in record.teacher_trainings.items()
    ]
    for name, colour, dash, trainings in groups:
        timeline = Timeline.of(trainings)
        for training in trainings:
            known = [(epoch, epoch.validation.get(first.name, math.nan)) for epoch in training]
            points = [(timeline.place(epoch), first.scale * value) for epoch, value in known if math.isfinite(value)]
            if points:
                lines.append((name, colour, dash, points))
                trained = [(epoch, epoch.train.get(first.name, math.nan)) for epoch in training]
                own = [(timeline.place(epoch), first.scale * value) for epoch, value in trained if math.isfinite(value)]
                beside += [(name, colour, own)] if own else []
    if not lines:
        return None

    front = {*foreground(record.result), *record.teacher_trainings}

    def paint(figure: "Canvas") -> None:
        axes = figure.add_subplot()
        labelled: set[str] = set()
        for name, colour, dash, points in sorted(lines, key=lambda line: line[0] in front):
            called = clipped(name) if name in front else OTHERS
            label = None if called in labelled else called
            labelled.add(called)
            if name in front:
                _line(axes, points, colour, dash, label)
            else:
                _line(axes, points, MUTED, dash, label, FAINT)
        for name, colour, points in beside:
            if name in front:
                axes.plot(*zip(*points, strict=True), color=colour, linestyle=":", linewidth=1.0, alpha=0.6)
        _epoch_axis(axes)
        axes.set_xlim(left=0.5)
        axes.set_ylabel(axis_label(first, "validation"))
        figure.legend(loc="outside upper center", ncols=4, handlelength=1.5, columnspacing=1.4)

    ends = [f"{name} ends at {first.text(points[-1][1] / first.scale)}" for name, _, _, points in lines]
    title = f"{first.title[0].upper()}{first.title[1:]} on validation by epoch"
    title += ", dotted in training" if beside else ""
    return draw("validation", title, "; ".join(ends), 3.2, paint)


def losses(record: RunFiles, method: str, name: str) -> Drawn | None:
    return _losses(_of_method(record, method), name, f"Losses, {method}")


def teacher_losses(record: RunFiles, teacher: str) -> Drawn | None:
    trainings = [record.epochs[name] for name in record.teacher_trainings[teacher]]
    return _losses(trainings, f"losses-0-{teacher}", f"Losses, {teacher}")


def _losses(trainings: list[list[Epoch]], name: str, title: str) -> Drawn | None:
    """Every term before its weight, and its share of the gradient; a line for each seed, stages side by side."""
    timeline = Timeline.of(trainings)
    terms = list(dict.fromkeys(term for training in trainings for epoch in training for term in epoch.terms))
    if not terms:
        return None
    every = [value for training in trainings for epoch in training for value in epoch.terms.values()]
    values = [value for value in every if math.isfinite(value)] or [0.0]

    shared = any(epoch.gradient_shares for training in trainings for epoch in training)
    looks = {term: (SERIES[n % len(SERIES)], DASHES[n % len(DASHES)]) for n, term in enumerate(terms)}

    def paint(figure: "Canvas") -> None:
        panels = list(figure.subplots(1 + shared, 1, sharex=True, squeeze=False)[:, 0])
        for term, (colour, dash) in looks.items():
            label: str | None = clipped(notation(term))
            for training in trainings:
                for stage in timeline.starts:
                    here = [epoch for epoch in training if epoch.stage == stage]
                    points = [
                        (timeline.place(e), e.terms[term]) for e in here if math.isfinite(e.terms.get(term, math.nan))
                    ]
                    if points:
                        _line(panels[0], points, colour, dash, label)
                        label = None
                    shares = [
                        (timeline.place(e), 100 * e.gradient_shares[term]) for e in here if term in e.gradient_shares
                    ]
                    if shares:
                        _line(panels[1], shares, colour, dash, None)
        if min(values) > 0 and max(values) > 20 * min(values):
            _logarithmic(panels[0])
        _stage_marks(panels, timeline)
        for axes in panels:
            _epoch_axis(axes)
            axes.label_outer()
        panels[0].set_xlim(0.5, timeline.end + 0.5)
        panels[0].set_ylabel("loss")
        if shared:
            panels[1].set_ylim(-3, 103)
            panels[1].set_ylabel("of gradient, %")
        figure.legend(loc="outside upper center", ncols=4, handlelength=1.9, columnspacing=1.4)

    stages = ", ".join(timeline.starts)
    last = trainings[-1][-1]
    ends = ", ".join(f"{notation(term)} {value:.3g}" for term, value in last.terms.items())
    words = f"{title} by epoch; stages: {stages}; the last epoch ends with {ends}"
    if last.gradient_shares:
        ends = ", ".join(f"{notation(term)} {share:.0%}" for term, share in last.gradient_shares.items())
        words += f"; shares of the gradient there: {ends}"
    return draw(name, title, words, 4.2 if shared else 2.9, paint)


def _of_method(record: RunFiles, method: str) -> list[list[Epoch]]:
    names = [row.training for row in record.result.methods[method].trainings]
    return [record.epochs[name] for name in names if name in record.epochs]


def _line(
    axes: "Axes", points: list[tuple[int, float]], colour: str, dash: Dash, label: str | None, alpha: float = 0.85
) -> None:
    marker = "o" if len(points) <= FEW else "none"
    axes.plot(
        *zip(*points, strict=True),
        color=colour,
        linestyle=dash,
        label=label,
        alpha=alpha,
        marker=marker,
        markersize=3.5,
        markeredgewidth=0,
    )


def _stage_marks(panels: Sequence["Axes"], timeline: Timeline) -> None:
    if len(timeline.starts) < 2:
        return
    for number, (stage, start) in enumerate(timeline.starts.items()):
        for axes in panels if number else ():
            axes.axvline(start + 0.5, color=GRID, linewidth=1.6)
        panels[0].annotate(
            clipped(stage),
            (start + 0.5, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(4, 3),
            textcoords="offset points",
            color=MUTED,
            fontsize="small",
        )


def _epoch_axis(axes: "Axes") -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    axes.set_xlabel("epoch")
    axes.grid(visible=False, axis="x")


def _logarithmic(axes: "Axes") -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
