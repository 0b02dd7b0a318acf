"""The losses around the students of a run."""

from pydantic import Field, model_validator

from understudy.report.record._part import Part


class Surface(Part):
    """The loss around one student."""

    training: str
    method: str
    seed: int
    axis: list[float] = Field(min_length=3)
    losses: list[list[float | None]]
    centre: float | None
    sharpness: float | None

    @model_validator(mode="after")
    def _square(self) -> "Surface":
        if [len(row) for row in self.losses] != [len(self.axis)] * len(self.axis):
            raise ValueError("its losses are not a square over its axis")
        return self


class Landscapes(Part):
    """``landscape.json``."""

    part: str
    samples: int
    sharpness_radius: float
    students: list[Surface] = Field(min_length=1)
