"""Damage to any file is told by whoever uses it, or changes nothing; and what is lost is made again."""

import os
import zlib

import pytest

from tests.faults.damage import Table, plain_format
from tests.faults.quick import nothing_measured_or_drawn
from understudy import export

WHOLE = bool(os.environ.get("UNDERSTUDY_DAMAGE"))  # every file in every way, as scripts/damage.py does


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
    silent = []
    for case in table.cases():
        if WHOLE or zlib.crc32(f"{case}".encode()) % 5 == 0:
            found = table.outcomes(case)
            silent += [f"{case.file} {case.damage}: {use}" for use, outcome in found.items() if outcome == "silent"]
    assert silent == []
