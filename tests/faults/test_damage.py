"""Damage to any file is told by whoever uses it, or changes nothing; and what is lost is made again."""

import pytest

from tests.faults.damage import DAMAGES, Table, kind_of, plain_format
from tests.faults.quick import nothing_measured_or_drawn
from understudy import export


@pytest.fixture(scope="module")
def table(_workplace, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(_workplace)
        patch.syspath_prepend(_workplace)
        patch.delenv("UNDERSTUDY_CACHE", raising=False)
        patch.setitem(export.FORMATS, "plain", plain_format())
        nothing_measured_or_drawn(patch.setattr)
        yield Table(tmp_path_factory.mktemp("damage"))


def test_no_use_of_a_damaged_file_is_silent(table):
    """Each kind of file in one of the ways; ``scripts/damage.py`` tries each file in all of them."""
    cases = {kind_of(case.file): case for case in table.cases()}
    ways = {(kind_of(case.file), case.damage): case for case in table.cases()}
    silent = []
    for number, kind in enumerate(cases):
        case = ways.get((kind, DAMAGES[number % len(DAMAGES)]), cases[kind])
        found = table.outcomes(case)
        silent += [f"{case.file} {case.damage}: {use}" for use, outcome in found.items() if outcome == "silent"]
    assert len(cases) > 20
    assert silent == []
