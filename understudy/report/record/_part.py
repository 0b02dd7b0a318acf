"""What all records have in common: unknown keys are no mistake, and numbers that are missing are left out."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

from understudy.measure import Spread


def _numbers(values: Any) -> Any:
    return [value for value in values if value is not None] if isinstance(values, list) else values


def _known(entries: Any) -> Any:
    return {k: v for k, v in entries.items() if v is not None} if isinstance(entries, dict) else entries


Shares = Annotated[dict[str, float], BeforeValidator(_known)]


class Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class Values(Part):
    """One figure of every seed."""

    values: Annotated[list[float], BeforeValidator(_numbers)]

    @property
    def spread(self) -> Spread | None:
        return Spread(tuple(self.values)) if self.values else None
