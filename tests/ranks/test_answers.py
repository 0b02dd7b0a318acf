"""A store that four processes fill is the one that one process fills, and a training that reads it never asks."""

from pathlib import Path

from tests.ranks import cases
from tests.ranks.group import Group
from understudy import StoredAnswers
from understudy.answers.source import PROBED


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_store_filled_by_four_processes_serves_one(tmp_path: Path, asked: list[int]):
    four = Group(4)
    try:
        lines = four("filled", str(tmp_path / "four"))
    finally:
        four.close()
    one = cases.filled(0, str(tmp_path / "one"))
    assert contents(tmp_path / "four") == contents(tmp_path / "one")
    assert all([filled.added for filled in each] == [2 * 38 + 12, 2 * 38] for each in (one, *lines))
    asked.clear()
    assert [filled.added for filled in cases.filled(0, str(tmp_path / "four"))] == [0, 0]
    before = list(asked)  # samples on which a stage tries whether an answer depends on its batch
    asked.clear()
    stored = StoredAnswers(views=2, taps="exact", folder=str(tmp_path / "four"), fill=False)
    training = cases.answers_training(stored)
    training.run()
    compared = [PROBED] * 3  # with the teacher: views of each stage, and the validation part of the hints
    assert sorted(asked) == sorted(before + compared)
