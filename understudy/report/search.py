"""The page of a search for settings: the best on validation, its figures on test, and every trial."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from understudy.report import tables
from understudy.report.figures.drawing import Drawn
from understudy.report.format import count, facts, plural
from understudy.report.page import Tile
from understudy.report.templates import rendered
from understudy.runs.records import SearchRecord


def read_search(path: Path) -> SearchRecord:
    return SearchRecord.read(path, way_out="remove it and run the same tune command again; no trial is trained again")


def search_page(search: SearchRecord, figures: Mapping[str, Drawn]) -> str:
    states = [trial.state for trial in search.trials]
    counts = ", ".join(
        f"{states.count(state)} {state}" for state in ("complete", "stopped", "failed") if state in states
    )
    return rendered(
        "search.html",
        heading=search.title or f"Settings of {search.method}",
        lead=f"A search for the settings of {search.method} · {plural(len(states), 'trial')}: {counts}",
        version=search.versions.get("understudy"),
        search=search,
        figures={"trials": figures.get("trials")},
        settings=[drawn for place, drawn in figures.items() if place.startswith("setting ")],
        tiles=list(_tiles(search)),
        table=tables.trials(search),
        data=facts(
            {
                "name": search.data.name,
                "task": search.task.name,
                "train": count(search.data.train),
                "validation": count(search.data.validation),
            }
        ),
        machine=facts({**search.machine, **search.versions}),
    )


def _tiles(search: SearchRecord) -> Iterator[Tile]:
    first = search.task.first
    chosen = " · ".join(filter(None, (f"trial {search.best.trial}", search.tie, "a little optimistic: chosen by it")))
    yield Tile(search.best.validation.spread.text(first.unit), f"best {first.title} on validation", chosen)
    for name, measured in search.figures.items():
        note = f"trial {measured.trial} · {count(search.data.measured)} test samples"
        yield Tile(measured.values.spread.text(first.unit), name, note)
