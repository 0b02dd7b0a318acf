"""The tree of a path search, drawn as Figure 5 of the teacher assistants' paper."""

from typing import TYPE_CHECKING

from understudy.measure import Spread
from understudy.paths.edges import arrows
from understudy.report.figures.drawing import ALONE, INK, MUTED, PAPER, SERIES, Drawn, draw
from understudy.report.format import NONE
from understudy.runs.records import PathRecord, Result
from understudy.tasks import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

BEST, ROW = SERIES[0], 0.34  # inches
Way = tuple[int | str, ...]


def tree(result: Result) -> Drawn | None:
    """A column for each size, a row for each path; what paths share is drawn once, the best path in colour."""
    search, first = result.path, result.first
    if search is None or not search.ranked:
        return None
    places = _places(search)
    best = tuple(search.ranked[0])
    columns = {size: column for column, size in enumerate(search.sizes)}
    rows = max(row for row, _ in places.values()) + 1
    alone = {size: hop.shown for size in search.sizes[1:] if (hop := search.hop([size])) and hop.shown}

    def paint(drawn: "Canvas") -> None:
        axes = drawn.add_subplot()
        for way, (row, _) in places.items():
            if len(way) > 1:
                begins = columns[way[-2]], places[way[:-1]][0]
                on = way == best[: len(way)]
                axes.plot(
                    (begins[0], begins[0] + 0.5, columns[way[-1]]),
                    (begins[1], row, row),
                    color=BEST if on else ALONE,
                    linewidth=2.2 if on else 0.8,
                    zorder=2 if on else 1,
                    solid_joinstyle="round",
                )
        for way, (row, spread) in places.items():
            _number(axes, columns[way[-1]], row, _shown(spread, first), BEST if way == best[: len(way)] else INK)
        for size, spread in alone.items():
            _number(axes, columns[size], rows + 0.2, _shown(spread, first), MUTED)
        if alone:
            axes.annotate("alone", (0, rows + 0.2), color=MUTED, ha="center", va="center")
        axes.set_xticks(range(len(search.sizes)), [str(size) for size in search.sizes])
        axes.tick_params(axis="x", top=False, labeltop=True, labelbottom=False, labelcolor=INK)
        axes.set_yticks([])
        axes.set_xlim(-0.4, len(search.sizes) - 0.6)
        axes.set_ylim(rows + (0.8 if alone else 0) - 0.4, -0.6)
        axes.grid(visible=False)
        for side in axes.spines.values():
            side.set_visible(False)

    texts = [f"{arrows(path)} {_shown(hop.shown, first)}" for path in search.ranked if (hop := search.hop(path))]
    texts += [f"{size} alone {_shown(spread, first)}" for size, spread in alone.items()]
    height = 0.55 + ROW * (rows + (1 if alone else 0))
    return draw("paths", f"Paths from {best[0]} to {best[-1]}", "; ".join(texts), height, paint)


def _number(axes: "Axes", column: float, row: float, text: str, colour: str) -> None:
    axes.annotate(
        text,
        (column, row),
        color=colour,
        ha="center",
        va="center",
        bbox={"boxstyle": "round,pad=0.25", "facecolor": PAPER, "edgecolor": "none"},
        zorder=3,
    )


def _places(search: PathRecord) -> dict[Way, tuple[float, Spread | None]]:
    """Each training's row and figure: whole paths in the order of the paper, shared trainings between theirs."""
    known = {tuple(hop.path): hop.shown for hop in search.edges if not hop.quick and hop.path[0] == search.sizes[0]}
    known.setdefault((search.sizes[0],), None)
    placed: dict[Way, tuple[float, Spread | None]] = {}
    leaves = 0

    def place(way: Way) -> float:
        nonlocal leaves
        below = search.sizes[search.sizes.index(way[-1]) + 1 :]
        rows = [place((*way, size)) for size in below if (*way, size) in known]
        if not rows:
            rows, leaves = [float(leaves)], leaves + 1
        placed[way] = (rows[0] + rows[-1]) / 2, known[way]
        return placed[way][0]

    place((search.sizes[0],))
    return placed


def _shown(spread: Spread | None, figure: Figure) -> str:
    return figure.text(spread.mean).removesuffix(" %") if spread else NONE
