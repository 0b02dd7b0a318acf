"""The first figure of each method, alone and against what the networks cost."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from understudy.measure import Spread
from understudy.report import format as write
from understudy.report.figures.drawing import INK, MARKERS, PAPER, Drawn, axis_label, clipped, draw
from understudy.runs.records import NetworkRecord, Result
from understudy.tasks import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

_COSTS: dict[str, Callable[[NetworkRecord], float | None]] = {
    "latency of one sample, ms": lambda network: network.latency_ms.p50 if network.latency_ms else None,
    "parameters": lambda network: network.parameters,
}
FAR = 1.0  # of the students' range; an arrow points at a teacher farther away


def first_figure(result: Result, colours: Mapping[str, str]) -> Drawn | None:
    """A row for each method: every seed's dot, the mean, the spread; the teacher as a line."""
    first, scale = result.first, result.first.scale
    rows = {name: spread for name in result.methods if (spread := result.spread_of(name)) and spread.finite}
    teacher = result.teacher_spread
    if not rows:
        return None
    low, high = scale * min(map(_least, rows.values())), scale * max(map(_most, rows.values()))
    if teacher and low - FAR * (high - low) <= scale * teacher.mean <= high + FAR * (high - low):
        low, high = min(low, scale * teacher.mean), max(high, scale * teacher.mean)
    margin = max(0.06 * (high - low), 0.0025 * scale if scale > 1 else 0.01 * abs(high)) or 1.0

    def paint(figure: "Canvas") -> None:
        axes = figure.add_subplot()
        for place, (name, spread) in enumerate(rows.items()):
            colour, mean = colours[name], scale * spread.mean
            if spread.sd is not None:
                width = scale * spread.sd
                axes.barh(place, 2 * width, left=mean - width, height=0.4, color=colour, alpha=0.2, linewidth=0)
            axes.plot([mean, mean], [place - 0.27, place + 0.27], color=colour, linewidth=2.6, solid_capstyle="butt")
            seeds = [scale * value for value in spread.values]
            axes.scatter(seeds, [place] * len(seeds), s=36, color=colour, edgecolors=PAPER, linewidths=1, zorder=3)
            axes.annotate(
                spread.text(first.unit).removesuffix(" %"),
                (1.02, place),
                xycoords=("axes fraction", "data"),
                va="center",
                annotation_clip=False,
            )
        if teacher:
            _teacher_line(axes, first.text(teacher.mean).removesuffix(" %"), scale * teacher.mean, low, high)
        axes.set_yticks(range(len(rows)), [clipped(name) for name in rows])
        axes.tick_params(axis="y", labelcolor=INK)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(low - margin, high + margin)
        axes.set_xlabel(axis_label(first, result.data.measured_on))
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)

    texts = [f"{name} {spread.text(first.unit)} ({_listed(spread, first)})" for name, spread in rows.items()]
    texts += [f"teacher {teacher.text(first.unit)}"] if teacher else []
    height = 1.0 + (0.72 if len(rows) < 5 else 0.5) * max(len(rows), 2)
    title = f"{first.title[0].upper()}{first.title[1:]} by method"
    return draw("first", title, "; ".join(texts), height, paint)


def _teacher_line(axes: "Axes", shown: str, mean: float, low: float, high: float) -> None:
    """The teacher as a line, or an arrow towards it where it is too far from the students."""
    text, place, side = f"teacher {shown}", mean, "right" if mean > (low + high) / 2 else "left"
    if low <= mean <= high:
        axes.axvline(mean, color=INK, linewidth=1.4, linestyle=(0, (4, 3)))
    elif mean > high:
        text, place = f"{text} →", high
    else:
        text, place = f"← {text}", low
    axes.annotate(
        text, (place, 1.0), xycoords=("data", "axes fraction"), xytext=(0, 4), textcoords="offset points", ha=side
    )


def cost(result: Result, colours: Mapping[str, str]) -> Drawn | None:
    """The first figure against latency and against size, the teacher and each student."""
    teacher, taught = result.networks.get("teacher"), result.teacher_spread
    scale = result.first.scale
    points = {name: spread for name in result.methods if (spread := result.spread_of(name)) and spread.finite}
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

    def paint(figure: "Canvas") -> None:
        panels = figure.subplots(1, len(pairs), sharey=True, squeeze=False)[0]
        for axes, (label, ours, theirs) in zip(panels, pairs, strict=True):
            least, most = min(*ours.values(), theirs), max(*ours.values(), theirs)
            wide = most > 8 * least
            _point(axes, theirs, taught, scale, INK, "*", "teacher")
            for place, (name, spread) in enumerate(points.items()):
                aside = (place - (len(points) - 1) / 2) * min(0.05, 0.12 / len(points))
                x = _beside(ours[name], most / least if wide else most, aside, wide)
                _point(
                    axes,
                    x,
                    spread,
                    scale,
                    colours[name],
                    MARKERS[(place + place // len(MARKERS)) % len(MARKERS)],
                    clipped(name),
                )
            _cost_axis(axes, label, least, most, wide)
        panels[0].set_ylabel(axis_label(result.first, result.data.measured_on))
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=4, handletextpad=0.3, columnspacing=1.4)

    texts = []
    for label, ours, theirs in pairs:
        students = ", ".join(write.short(value) for value in dict.fromkeys(ours.values()))
        texts.append(f"{label}: student {students}, teacher {write.short(theirs)}")
    title = f"{result.first.title[0].upper()}{result.first.title[1:]} against cost"
    return draw("cost", title, "; ".join(texts), 2.9 + 0.2 * ((len(points) + 4) // 4), paint)


def _point(axes: "Axes", x: float, spread: Spread, scale: int, colour: str, marker: str, label: str) -> None:
    if spread.sd:
        axes.errorbar(
            x, scale * spread.mean, yerr=scale * spread.sd, color=colour, linewidth=1.4, capsize=0, alpha=0.55
        )
    size = 130 if marker == "*" else 46
    axes.scatter(x, scale * spread.mean, s=size, color=colour, marker=marker, edgecolors=PAPER, label=label, zorder=3)


def _beside(cost: float, extent: float, aside: float, wide: bool) -> float:
    """Students of equal cost are drawn side by side."""
    return float(cost * extent**aside) if wide else cost + aside * extent


def _cost_axis(axes: "Axes", label: str, least: float, most: float, wide: bool) -> None:
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


def _least(spread: Spread) -> float:
    return min(*spread.values, spread.mean - (spread.sd or 0.0))


def _most(spread: Spread) -> float:
    return max(*spread.values, spread.mean + (spread.sd or 0.0))


def _listed(spread: Spread, figure: Figure) -> str:
    return ", ".join(figure.text(value).removesuffix(" %") for value in spread.values)
