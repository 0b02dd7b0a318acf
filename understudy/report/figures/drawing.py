"""Figures as SVG that follows the page: text stays text, colours become the page's own."""

import io
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from markupsafe import Markup

from understudy.printable import printable
from understudy.tasks import Figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

INK, MUTED, GRID, PAPER, ALONE = "#1c2128", "#5d656f", "#e4e7eb", "#fefefe", "#7b838d"
SERIES = ("#0b6bb5", "#c8590a", "#0a8a6b", "#a3488c", "#8a6d00", "#2f9ed6")  # distinguishable for colour-blind readers
Dash = Literal["-"] | tuple[float, tuple[float, ...]]
MARKERS = ("o", "s", "D", "^", "v", "P")
DASHES: tuple[Dash, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.5)), (0, (6, 1.5, 1.5, 1.5)))
OTHERS, FAINT = "other methods", 0.3  # the label of lines that are not in the foreground, and how strong they are
WIDTH = 5.4  # inches of 72 units, so that text keeps its size on a phone
FONT = 11.5
PNG_DPI = 220

_NAMES = {INK: "ink", MUTED: "muted", GRID: "grid", PAPER: "card", ALONE: "alone"}
_NAMES |= {colour: f"s{number}" for number, colour in enumerate(SERIES, 1)}
_SANS = "system-ui, -apple-system, Segoe UI, Roboto, Helvetica, Arial, sans-serif"
_STYLE: dict[str, object] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": FONT,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 1,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": FONT,
    "lines.linewidth": 1.8,
    "figure.constrained_layout.use": True,
}


@dataclass(frozen=True)
class Drawn:
    """A figure: ``inline`` for the page, ``standalone`` as a file for papers and slides."""

    name: str
    title: str
    words: str  # the alternative text
    inline: Markup
    standalone: str
    png: Callable[[], bytes]  # drawn on request


def draw(name: str, title: str, words: str, height: float, paint: Callable[["Canvas"], None]) -> Drawn:
    """Paint on an empty figure of ``height`` inches and take it as SVG."""
    title, words = printable(title), printable(words)
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with _painted(name, height, paint) as figure:
        figure.savefig(buffer, format="svg", metadata=nothing)
    svg = re.sub(r"font: ([^;\"']*?[\d.]+px) [^;\"]*", rf"font: \1 {_SANS}", buffer.getvalue())
    return Drawn(name, title, words, _inlined(svg, words), svg, partial(_png, name, height, paint))


def _png(name: str, height: float, paint: Callable[["Canvas"], None]) -> bytes:
    """The figure on white, where SVG is not accepted."""
    buffer = io.BytesIO()
    with _painted(name, height, paint) as figure:
        figure.savefig(buffer, format="png", dpi=PNG_DPI, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


@contextmanager
def _painted(name: str, height: float, paint: Callable[["Canvas"], None]) -> Iterator["Canvas"]:
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # text is drawn in the reader's font
        matplotlib.rcdefaults()  # independent of a user's matplotlibrc
        style: Any = _STYLE | {"svg.hashsalt": name}  # matplotlib lists the names of all its settings
        matplotlib.rcParams.update(style)
        figure = Figure(figsize=(WIDTH, height))
        paint(figure)
        yield figure


def variable(colour: str) -> str:
    """The page's name of a colour."""
    return _NAMES[colour]


def axis_label(figure: Figure, part: str) -> str:
    """The label of an axis of a figure's values."""
    return f"{figure.title} on {part}" + (", %" if figure.unit == "share" else "")


def clipped(name: str, most: int = 18) -> str:
    """A name that fits beside an axis, without control characters."""
    name = printable(name)
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _inlined(svg: str, words: str) -> Markup:
    """Without what belongs to a file of its own, and in the page's colours."""
    svg = svg[svg.index("<svg") :]
    svg = svg.replace("xlink:href", "href")
    referred = set(re.findall(r'(?:href="|url\()#([^")]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda match: match[0] if match[1] in referred else "", svg)  # unique on the page
    svg = re.sub(r"<defs>\s*<style[^>]*>.*?</style>\s*</defs>", "", svg, count=1, flags=re.S)
    for colour, variable in _NAMES.items():
        svg = svg.replace(colour, f"var(--{variable})")
    box = re.search(r'viewBox="[^"]*"', svg)
    assert box is not None
    body = svg[svg.index(">") + 1 :].strip()
    begin = Markup('<svg {} role="img" aria-label="{}">\n').format(Markup(box.group()), words)
    return begin + Markup(body)  # matplotlib escapes the texts that it draws
