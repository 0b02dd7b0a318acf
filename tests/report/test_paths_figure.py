"""The tree of a search on the page: TAKD's Figure 5 from its own figures."""

import re

import pytest

from tests.paths.test_strategies import ALONE, FIGURE_5, SIZES
from understudy.errors import UserError
from understudy.report import write_report
from understudy.report.text import as_markdown


def searched(*, test: bool = True) -> dict[str, object]:
    def hop(path: tuple[int, ...], percent: float) -> dict[str, object]:
        found = {"validation": {"values": [percent / 100 - 0.01]}}
        return {"path": list(path), "quick": False, **found, **({"test": {"values": [percent / 100]}} if test else {})}

    whole = sorted((way for way in FIGURE_5 if way[-1] == 2), key=lambda way: -FIGURE_5[way])
    edges = [hop(way, percent) for way, percent in FIGURE_5.items()]
    edges += [hop(way, percent) for way, percent in ALONE.items() if way != (10,)]
    return {
        "sizes": list(SIZES),
        "strategy": "every",
        "edges": edges,
        "ranked": [list(way) for way in whole],
        "sentences": ["Best path: 10 → 8 → 6 → 4 → 2, a <lead>."],
        "trainings": 16,
    }


@pytest.mark.parametrize(("test", "shift"), [(True, 0.0), (False, -1.0)])
def test_every_training_of_the_figure_is_drawn_once_with_its_figure(finished, content, test, shift):
    run = finished(content | {"path": searched(test=test)})
    page = write_report(run).read_text(encoding="utf-8")
    drawn = (run / "figures" / "paths.svg").read_text(encoding="utf-8")
    written = re.findall(r">(\d\d\.\d\d)</text>", drawn)
    expected = [*FIGURE_5.values(), *(ALONE[size,] for size in SIZES[1:])]
    assert sorted(written) == sorted(f"{percent + shift:.2f}" for percent in expected)
    assert "a &lt;lead&gt;." in page
    assert "16 trainings in all, each once" in page
    assert ("accuracy on test in %" if test else "accuracy on validation in %") in page
    rows = re.findall(r"10 → [^<]*2(?=[<&]| <)", page[page.index('aria-label="Paths"') :])
    assert rows[0].startswith("10 → 8 → 6 → 4 → 2")
    assert len(rows) == 8


def test_the_markdown_lists_every_path(finished, content):
    text = as_markdown(finished(content | {"path": searched()}))
    assert "| 10 → 8 → 6 → 4 → 2 | 44.14 % | 45.14 % |" in text
    assert len(re.findall(r"^\| 10 → .*2 \|", text, re.MULTILINE)) == 8
    assert "16 trainings in all" in text


def test_a_run_without_a_search_has_no_such_section(finished):
    assert "Searched by" not in write_report(finished()).read_text(encoding="utf-8")


def test_a_search_that_is_damaged_is_a_clear_error(finished, content):
    run = finished(content | {"path": {"sizes": "ten"}})
    with pytest.raises(UserError, match=r"path\.strategy"):
        write_report(run)
