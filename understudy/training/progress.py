"""The progress of a training: its counters and best values."""

from dataclasses import asdict, dataclass, field

from pydantic import TypeAdapter

from understudy.training.records import StageEnd


@dataclass
class Best:
    """The best epoch of a stage so far, by validation."""

    epoch: int
    value: float
    scores: dict[str, float]


@dataclass
class Progress:
    """The progress of a training."""

    stage: int = 0
    epoch: int = 0
    step: int = 0  # within the epoch
    steps: int = 0  # of the whole training
    best: Best | None = None
    seconds: float = 0.0
    logged: int = 0  # bytes of metrics.jsonl that belong to this state
    ends: list[StageEnd] = field(default_factory=list)  # the outcomes of finished stages

    @classmethod
    def of(cls, state: object) -> "Progress":
        """What a checkpoint holds."""
        return TypeAdapter(cls).validate_python(state)

    def state(self) -> dict[str, object]:
        """As a checkpoint holds it."""
        best, ends = asdict(self.best) if self.best else None, [end.content() for end in self.ends]
        return {**vars(self), "best": best, "ends": ends}
