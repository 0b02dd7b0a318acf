"""The figures of a run: accuracy by method, accuracy against cost."""

from collections.abc import Callable
from typing import Any

from understudy.measure import Spread
from understudy.report.figures.drawing import INK, MARKERS, PAPER, Drawn, clipped, draw
from understudy.runs.records import NetworkRecord, Result

_COSTS: dict[str, Callable[[NetworkRecord], float | None]] = {
    "latency of one image, ms": lambda network: network.latency_ms.p50 if network.latency_ms else None,
    "parameters": lambda network: network.parameters,
}
FAR = 1.0  # of the students' own range: a teacher farther off is pointed at


def accuracy(result: Result, colours: dict[str, str]) -> Drawn | None:
    """A row for each method: every seed's dot, the mean, the spread; the teacher as a line."""
    rows = {name: found for name in result.methods if (found := result.spread_of(name))}
    teacher = result.teacher_spread
    if not rows:
        return None
    low, high = 100 * min(map(_least, rows.values())), 100 * max(map(_most, rows.values()))
    if teacher and low - FAR * (high - low) <= 100 * teacher.mean <= high + FAR * (high - low):
        low, high = min(low, 100 * teacher.mean), max(high, 100 * teacher.mean)
    margin = max(0.06 * (high - low), 0.25)

    def paint(figure: Any) -> None:
        axes = figure.add_subplot()
        for place, (name, found) in enumerate(rows.items()):
            colour, mean = colours[name], 100 * found.mean
            if found.sd is not None:
                width = 100 * found.sd
                axes.barh(place, 2 * width, left=mean - width, height=0.4, color=colour, alpha=0.2, linewidth=0)
            axes.plot([mean, mean], [place - 0.27, place + 0.27], color=colour, linewidth=2.6, solid_capstyle="butt")
            seeds = [100 * value for value in found.values]
            axes.scatter(seeds, [place] * len(seeds), s=36, color=colour, edgecolors=PAPER, linewidths=1, zorder=3)
            axes.annotate(
                found.percent().removesuffix(" %"),
                (1.02, place),
                xycoords=("axes fraction", "data"),
                va="center",
                annotation_clip=False,
            )
        if teacher:
            _teacher_line(axes, 100 * teacher.mean, low, high)
        axes.set_yticks(range(len(rows)), [clipped(name) for name in rows])
        axes.tick_params(axis="y", labelcolor=INK)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(low - margin, high + margin)
        axes.set_xlabel(f"accuracy on the {result.data.measured_on} part, %")
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)

    told = [f"{name} {found.percent()} ({_listed(found)})" for name, found in rows.items()]
    told += [f"teacher {teacher.percent()}"] if teacher else []
    height = 1.0 + (0.72 if len(rows) < 5 else 0.5) * max(len(rows), 2)
    return draw("accuracy", "Accuracy by method", "; ".join(told), height, paint)


def _teacher_line(axes: Any, mean: float, low: float, high: float) -> None:
    """The teacher, or the way to it where it is so far off that it would press the students' spreads to nothing."""
    text, place, side = f"teacher {mean:.2f}", mean, "right" if mean > (low + high) / 2 else "left"
    if low <= mean <= high:
        axes.axvline(mean, color=INK, linewidth=1.4, linestyle=(0, (4, 3)))
    elif mean > high:
        text, place = f"{text} →", high
    else:
        text, place = f"← {text}", low
    axes.annotate(
        text, (place, 1.0), xycoords=("data", "axes fraction"), xytext=(0, 4), textcoords="offset points", ha=side
    )


def cost(result: Result, colours: dict[str, str]) -> Drawn | None:
    """Accuracy against latency and against size, the teacher and each student."""
    teacher, taught = result.networks.get("teacher"), result.teacher_spread
    points = {name: found for name in result.methods if (found := result.spread_of(name))}
    if teacher is None or taught is None or not points:
        return None
    pairs: list[tuple[str, dict[str, float], float]] = []
    for label, cost_of in _COSTS.items():
        ours = {name: value for name in points if (value := cost_of(result.network_of(name)))}
        theirs = cost_of(teacher)
        if theirs and len(ours) == len(points):
            pairs.append((label, ours, theirs))
    if not pairs:
        return None

    def paint(figure: Any) -> None:
        panels = figure.subplots(1, len(pairs), sharey=True, squeeze=False)[0]
        for axes, (label, ours, theirs) in zip(panels, pairs, strict=True):
            least, most = min(*ours.values(), theirs), max(*ours.values(), theirs)
            wide = most > 8 * least
            _point(axes, theirs, taught, INK, "*", "teacher")
            for place, (name, found) in enumerate(points.items()):
                aside = (place - (len(points) - 1) / 2) * min(0.05, 0.12 / len(points))
                x = _beside(ours[name], most / least if wide else most, aside, wide)
                _point(axes, x, found, colours[name], MARKERS[place % len(MARKERS)], clipped(name))
            _cost_axis(axes, label, least, most, wide)
        panels[0].set_ylabel(f"{result.data.measured_on} accuracy, %")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=4, handletextpad=0.3, columnspacing=1.4)

    told = []
    for label, ours, theirs in pairs:
        students = ", ".join(write.short(value) for value in dict.fromkeys(ours.values()))
        told.append(f"{label}: student {students}, teacher {write.short(theirs)}")
    return draw("cost", "Accuracy against cost", "; ".join(told), 2.9 + 0.2 * ((len(points) + 4) // 4), paint)


def _point(axes: Any, x: float, found: Spread, colour: str, marker: str, label: str) -> None:
    if found.sd:
        axes.errorbar(x, 100 * found.mean, yerr=100 * found.sd, color=colour, linewidth=1.4, capsize=0, alpha=0.55)
    size = 130 if marker == "*" else 46
    axes.scatter(x, 100 * found.mean, s=size, color=colour, marker=marker, edgecolors=PAPER, label=label, zorder=3)


def _beside(cost: float, extent: float, aside: float, wide: bool) -> float:
    """Students that cost the same stand side by side, or they would hide each other."""
    return float(cost * extent**aside) if wide else cost + aside * extent


def _cost_axis(axes: Any, label: str, least: float, most: float, wide: bool) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    axes.margins(y=0.12)
    if wide:
        axes.set_xscale("log")
        axes.set_xlim(least / 2.5, most * 2.5)
        axes.xaxis.set_major_locator(LogLocator(subs=(1,) if most > 10 * least else (1, 3)))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.set_xlim(0, 1.2 * most)
        axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: write.short(value)))
    axes.set_xlabel(label)


def _least(found: Spread) -> float:
    return min(*found.values, found.mean - (found.sd or 0.0))


def _most(found: Spread) -> float:
    return max(*found.values, found.mean + (found.sd or 0.0))


def _listed(found: Spread) -> str:
    return ", ".join(f"{100 * value:.2f}" for value in found.values)
