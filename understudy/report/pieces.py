"""Pieces that the sections of the page are made of. Texts come as HTML already, unless it says otherwise."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from string import Template

from understudy.report.drawing import Drawn
from understudy.report.words import escape

VERDICTS = {"beats": "▲ beats", "ties": "● ties", "loses": "▼ loses", "unknown": "? unknown"}
VERDICTS |= {"choose": "★ choose", "nothing": "✕ none fits"}  # of a choice


def section(title: str, body: str, note: str = "") -> str:
    told = f'\n<p class="note">{note}</p>' if note else ""
    return f"<section>\n<h2>{title}</h2>{told}\n{body}\n</section>"


def figure(drawn: Drawn, caption: str) -> str:
    told = f"<small>{escape(caption)}</small>" if caption else ""
    return f'<figure class="card">\n<figcaption>{escape(drawn.title)}{told}</figcaption>\n{drawn.inline}\n</figure>'


def tile(big: str, label: str, small: str) -> str:
    """A big figure, of plain texts."""
    told = f'<dd class="small">{escape(small)}</dd>' if small else ""
    return f'<div class="tile"><dt>{escape(label)}</dt><dd class="big">{escape(big)}</dd>{told}</div>'


def badge(verdict: str) -> str:
    return f'<span class="word">{VERDICTS[verdict]}</span>'


def named(name: str, colour: str) -> str:
    """A plain name after a dot in its colour."""
    return f'<span class="key" style="background: var(--{colour})"></span>{escape(name)}'


def facts(title: str, told: Mapping[str, str]) -> str:
    """Plain keys and values; those that are empty are left out."""
    entries = "".join(f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in told.items() if value)
    return f"<div><h3>{title}</h3><dl>{entries}</dl></div>" if entries else ""


def table(label: str, columns: Sequence[str], rows: Sequence[Sequence[str]], marks: Sequence[str] = ()) -> str:
    """The first cell of each row is its heading; ``marks`` are classes of the rows."""
    head = "".join(f'<th scope="col">{column}</th>' if column else "<td></td>" for column in columns)
    body = []
    for number, (first, *cells) in enumerate(rows):
        mark = f' class="{marks[number]}"' if number < len(marks) and marks[number] else ""
        body.append(f'<tr{mark}><th scope="row">{first}</th>' + "".join(f"<td>{c}</td>" for c in cells) + "</tr>")
    return (
        f'<div class="scroll card" role="region" tabindex="0" aria-label="{label}">\n<table>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n" + "\n".join(body) + "\n</tbody>\n</table>\n</div>"
    )


def document(heading: str, lead: str, sections: Iterable[str], version: str | None) -> str:
    """The page around its sections, of which empty ones are left out; heading and lead are plain texts."""
    return Template(_asset("page.html")).substitute(
        title=escape(f"{heading} · understudy"),
        heading=escape(heading),
        lead=escape(lead),
        style=_asset("style.css"),
        sections="\n".join(section for section in sections if section),
        version=escape(f" {version}") if version else "",
    )


def _asset(name: str) -> str:
    """A file that every page is made with."""
    return (Path(__file__).parent / name).read_text(encoding="utf-8")
