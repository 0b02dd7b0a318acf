"""What ``understudy.distill(..., out=...)`` leaves."""

from pydantic import Field

from understudy.report.record._part import Part, Shares


class CallStage(Part):
    taught: bool | None = None
    kept: str | None = None
    validation: Shares | None = None


class Call(Part):
    """``result.json`` of ``understudy.distill(..., out=...)``."""

    accuracy: float
    agreement: float | None = None
    teacher_accuracy: float | None = None
    teacher_accuracies: list[float] = Field(default_factory=list)  # of each of several
    measured_on: str | None = None
    stages: list[CallStage] = Field(default_factory=list)


class CallObjective(Part):
    name: str
    objective: str


class CallRecipe(Part):
    """What ``recipe.toml`` says of such a call: networks by their class, ``none`` where there is none."""

    method: str = "student"
    seed: int = 0
    teacher: str = "none"
    teachers: list[str] = Field(default_factory=list)
    student: str = "none"
    stages: list[CallObjective] = Field(default_factory=list)
