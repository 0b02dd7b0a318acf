"""Tables as Markdown, as LaTeX, and for a terminal; HTML is made by ``templates/macros.html``."""

import re

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text

from understudy.printable import printable
from understudy.report.format import NONE
from understudy.report.tables import Cell, Table, TableRow

STYLES = {"beats": "green", "ties": "yellow", "loses": "red", "unknown": "yellow"}
_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "×": r"$\times$",  # noqa: RUF001
    "→": r"$\to$",
    "·": r"$\cdot$",
    "–": "--",  # noqa: RUF001
}


def markdown(table: Table) -> str:
    """A table in Markdown; the text of cells is escaped.

    Example:
        >>> from understudy.report.tables import Column
        >>> print(markdown(Table("", (Column("a", ""), Column("b", "size")), (TableRow("x|y", (Cell(1, "count"),)),))))
        | | size |
        |---|---:|
        | x\\|y | 1 |
    """
    heads = [
        " ".join(filter(None, (column.title, f"({column.small})" if column.small else ""))) for column in table.columns
    ]
    lines = [_line([markdown_text(head) for head in heads]), "|---|" + "---:|" * (len(heads) - 1)]
    for row in table.rows:
        name = f"`{code(row.name)}`" if row.code else markdown_text(_name(row))
        lines.append(_line([name, *(markdown_text(cell.text) for cell in row.cells)]))
    return "\n".join(lines)


def markdown_text(text: str) -> str:
    """A text on one line with all markup escaped."""
    plain = re.sub(r"\s+", " ", printable(text)).strip()
    return re.sub(r"([\\`*_\[\]<>|#~])", r"\\\1", plain)


def latex(table: Table) -> str:
    """A ``tabular`` for the package booktabs.

    Example:
        >>> from understudy.report.tables import Column
        >>> print(latex(Table("", (Column("a", ""), Column("b", "share")), (TableRow("x_1", (Cell(0.5, "figure"),)),))))
        \\begin{tabular}{lr}
        \\toprule
         & share \\\\
        \\midrule
        x\\_1 & 50.00 \\% \\\\
        \\bottomrule
        \\end{tabular}
    """
    rows = [
        " & ".join(latex_text(text) for text in (_name(row), *(cell.text for cell in row.cells))) for row in table.rows
    ]
    heads = " & ".join(latex_text(column.title) for column in table.columns)
    lines = [rf"\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}", r"\toprule", rf"{heads} \\", r"\midrule"]
    return "\n".join([*lines, *(rf"{row} \\" for row in rows), r"\bottomrule", r"\end{tabular}"])


def latex_text(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in re.sub(r"\s+", " ", printable(text)))


def show(table: Table, console: Console, *, title: str = "") -> None:
    """Print a table; where it is too wide, optional columns are left out."""
    drawn = _rich(table, title)
    while Measurement.get(console, console.options.update(max_width=10_000), drawn).maximum > console.width:
        narrower = table.narrower()
        if narrower is None:
            break
        table = narrower
        drawn = _rich(table, title)
    console.print(drawn)


def say(console: Console, text: str, style: str | None = None) -> None:
    """A line of text without markup."""
    console.print(Text(printable(text), style=style or ""), highlight=False, soft_wrap=True)


def _rich(table: Table, title: str) -> RichTable:
    drawn = RichTable(title=Text(printable(title)) if title else None, title_justify="left")
    for place, column in enumerate(table.columns):
        drawn.add_column(Text(printable(column.title)), justify="right" if place else "left", no_wrap=True)
    for row in table.rows:
        drawn.add_row(Text(printable(_name(row)), style="red" if row.broken else ""), *map(_text, row.cells))
    return drawn


def _text(cell: Cell) -> Text:
    text = "" if cell.value is None else printable(cell.text)
    return Text(text, style=STYLES.get(cell.verdict, ""))


def _name(row: TableRow) -> str:
    return f"{row.name} ({row.mark})" if row.mark else row.name


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cell or (NONE if place else "") for place, cell in enumerate(cells)).lstrip() + " |"


def code(text: str) -> str:
    """A text between backquotes, on one line."""
    return re.sub(r"[\s`|]+", " ", printable(text)).strip()
