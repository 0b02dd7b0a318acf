"""A sample of ``make fuzz`` with a fixed seed, and every case that failed once."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.__main__ import run
from tests.fuzz.cases import Fuzz, outcome
from understudy import UserError
from understudy.methods.notation import parse
from understudy.report.reading import read_result

SAMPLE = 250  # cases


@pytest.fixture(scope="module")
def fuzz(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzz]:
    before = Path.cwd()
    with pytest.MonkeyPatch.context() as patch:
        from understudy.runs import result

        measured = result.latencies
        patch.setattr(result, "latencies", lambda *args, seconds: measured(*args, seconds=0.0))
        yield Fuzz(tmp_path_factory.mktemp("fuzz"))
    os.chdir(before)


@pytest.mark.filterwarnings("ignore")
def test_no_case_of_the_sample_fails(fuzz, monkeypatch):
    monkeypatch.chdir(fuzz.folder)
    found = run(fuzz, SAMPLE, seed=7)
    assert sum(sum(counts.values()) for counts in found.values()) >= SAMPLE
    assert {name: counts["failed"] for name, counts in found.items()} == dict.fromkeys(fuzz.kinds, 0)
    assert sum(counts["accepted"] for counts in found.values()) > 10  # what is fuzzed is not all refused at once


def test_a_result_without_a_network_of_its_methods_is_damaged(fuzz, tmp_path):
    """A table looked it up, and ended in a KeyError."""
    result = json.loads(fuzz.result)
    del result["networks"]["student"], result["digest"]
    (tmp_path / "result.json").write_text(json.dumps(result))
    with pytest.raises(UserError, match="no network of method"):
        read_result(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "CE() + 0.9922337203685477 * KD()",
        "CE() + KD() * linear(0.123456789, 1, epochs=10)",
        "CE() + auto(0.1234567) * KD()",
    ],
)
def test_an_objective_is_read_as_it_is_printed(text):
    """Weights were printed in six digits."""
    assert parse(str(parse(text))) == parse(text)


def test_a_failure_is_one():
    def raises(error):
        def kind(draw):
            raise error

        return kind

    assert outcome(raises(UserError("a line")), "1") == "refused"
    for error in (ValueError("1"), RecursionError(), KeyError("x")):
        with pytest.raises(type(error)):
            outcome(raises(error), "1")
