"""What each training of a run leaves."""

from pydantic import Field

from understudy.report.record._part import Part, Shares


class Epoch(Part):
    """A line of ``metrics.jsonl``."""

    training: str
    stage: str = ""
    epoch: int
    loss: float | None = None
    terms: Shares = Field(default_factory=dict)
    gradient_shares: Shares = Field(default_factory=dict)
    seconds: float | None = None  # of the training so far
    validation: Shares | None = None

    @property
    def accuracy(self) -> float | None:
        return (self.validation or {}).get("accuracy")


class Ended(Part):
    stage: str = ""
    epochs: int | None = None
    kept: str | None = None
    best_epoch: int | None = None


class Trained(Part):
    """``result.json`` of one training."""

    stages: list[Ended] = Field(default_factory=list)
    objectives: dict[str, str] = Field(default_factory=dict)
