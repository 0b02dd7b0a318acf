"""The page of a search: what was best on validation, what that is worth on test, and every trial."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import ValidationError

from understudy.errors import UserError
from understudy.report.drawing import Drawn
from understudy.report.pieces import document, facts, figure, section, table, tile
from understudy.report.record import Search
from understudy.report.words import NONE, count, escape, plural, spread

STATES = {"complete": "complete", "stopped": "stopped: it fell behind", "failed": "failed", "running": "running"}


def read_search(path: Path) -> Search:
    try:
        return Search.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        reason = f"{'.'.join(map(str, first['loc'])) or 'the whole file'}: {first['msg']}"
    except (OSError, ValueError) as error:
        reason = str(error)
    raise UserError(
        f"{path} is damaged ({reason}): remove it and run the same tune command again; no trial is trained again"
    )


def search_page(search: Search, figures: Mapping[str, Drawn]) -> str:
    heading = search.title or f"Settings of {search.method}"
    states = [point.state for point in search.trials]
    told = ", ".join(f"{states.count(state)} {state}" for state in ("complete", "stopped", "failed") if state in states)
    lead = f"A search for the settings of {search.method} · {plural(len(states), 'trial')}: {told}"
    sections = [_outcome(search, figures.get("trials")), _settings(figures), _trials(search), _surroundings(search)]
    return document(heading, lead, sections, search.versions.get("understudy"))


def _outcome(search: Search, drawn: Drawn | None) -> str:
    tiles = "\n".join(tile(*told) for told in _tiles(search))
    chart = figure(drawn, "A dot for each complete trial, a line for the best so far.") if drawn else ""
    lines = f'<pre class="card" aria-label="The best settings">{escape(search.best.lines)}</pre>'
    return (
        f'<div class="outcome{"" if chart else " plain"}">\n<div class="brought">\n'
        f'<dl class="tiles">\n{tiles}\n</dl>\n{lines}\n</div>\n{chart}\n</div>'
    )


def _tiles(search: Search) -> Iterator[tuple[str, str, str]]:
    chosen = f"trial {search.best.trial}"
    yield spread(search.best.validation.spread), "best on validation", f"{chosen} · a little optimistic: chosen by it"
    for name, found in search.figures.items():
        yield spread(found.accuracy.spread), name, f"trial {found.trial} · {count(search.data.measured)} test samples"


def _settings(figures: Mapping[str, Drawn]) -> str:
    shown = [figure(drawn, "") for place, drawn in figures.items() if place.startswith("setting ")]
    return section("Each setting", '<div class="figures">\n' + "\n".join(shown) + "\n</div>") if shown else ""


def _trials(search: Search) -> str:
    keys = list(search.search)
    rows, marks = [], []
    for point in search.trials:
        values = [f"{point.settings[key]:g}" if key in point.settings else NONE for key in keys]
        validation = spread(point.validation.spread if point.validation else None)
        ended = point.reason or STATES.get(point.state, point.state)
        rows.append([f"trial {point.trial}", *values, validation, escape(ended)])
        marks.append("kept" if point.trial == search.best.trial else "")
    columns = ["", *map(escape, keys), "validation", "ended"]
    note = f"Compared on validation, {plural(len(search.seeds), 'seed')} each. The test part was not opened meanwhile."
    if len(search.test_read_after_trials) > 1:
        looks = ", ".join(map(str, search.test_read_after_trials))
        note += f" It was read more than once, after so many trials: {looks}."
    return section("Every trial", table("Every trial", columns, rows, marks), note)


def _surroundings(search: Search) -> str:
    data = {"name": search.data.name, "train": count(search.data.train), "validation": count(search.data.validation)}
    groups = [
        facts("Searched", search.search),
        facts("Data", data),
        facts("Machine and versions", {key: str(value) for key, value in (search.machine | search.versions).items()}),
    ]
    again = f'<pre class="card line">{escape(search.command)}</pre>' if search.command else ""
    return section("What was searched, and where", f'<div class="facts">\n{"".join(groups)}\n</div>\n{again}')
