"""What ``understudy tune`` leaves."""

from pydantic import Field

from understudy.report.record._part import Part, Values
from understudy.report.record.result import Data


class Trial(Part):
    """One trial."""

    trial: int
    state: str
    settings: dict[str, float]
    validation: Values | None = None
    epochs: int = 0
    reason: str = ""


class BestTrial(Part):
    trial: int
    settings: dict[str, float]
    validation: Values
    lines: str


class TestFigure(Part):
    """An accuracy on test, under the name that says how its trial was chosen."""

    trial: int
    accuracy: Values


class Search(Part):
    """``tune.json``."""

    title: str = ""
    command: str = ""
    versions: dict[str, str] = Field(default_factory=dict)
    machine: dict[str, str | int | float] = Field(default_factory=dict)
    method: str
    seeds: list[int]
    data: Data
    search: dict[str, str]
    best: BestTrial
    figures: dict[str, TestFigure]
    test_read_after_trials: list[int] = Field(default_factory=list)
    trials: list[Trial] = Field(min_length=1)
