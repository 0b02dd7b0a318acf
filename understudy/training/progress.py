"""Where a training is: what the loop counts, finds and goes on from."""

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
    """Where a training is, and what it has found on the way."""

    stage: int = 0
    epoch: int = 0
    step: int = 0  # within the epoch
    steps: int = 0  # of the whole training
    best: Best | None = None
    seconds: float = 0.0
    logged: int = 0  # bytes of metrics.jsonl that belong to this state
    ends: list[StageEnd] = field(default_factory=list)  # how each finished stage ended

    @classmethod
    def of(cls, state: object) -> "Progress":
        """What a checkpoint holds."""
        return TypeAdapter(cls).validate_python(state)

    def state(self) -> dict[str, object]:
        """As a checkpoint holds it."""
        best, ends = asdict(self.best) if self.best else None, [end.content() for end in self.ends]
        return {**vars(self), "best": best, "ends": ends}
