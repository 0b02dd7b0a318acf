"""How much a search may cost: so many trainings, or so long."""

import re
from dataclasses import dataclass

from understudy.errors import UserError

_SECONDS = {"h": 3600.0, "m": 60.0, "min": 60.0, "s": 1.0}


@dataclass(frozen=True)
class Budget:
    """When a search stops asking. What it has begun is ended, and it answers with the best so far.

    Args:
        trainings: so many networks, every seed counted, those from the store included: so the answer does not depend
            on what happened to be there.
        seconds: so long, over all sessions of the search together.
    """

    trainings: int | None = None
    seconds: float | None = None

    @classmethod
    def parse(cls, text: str) -> "Budget":
        """``"20"`` trainings, or ``"3h"``, ``"45m"``, ``"90s"``."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(h|m|min|s)?", text.strip())
        if found is None or float(found[1]) == 0 or (found[2] is None and "." in found[1]):
            raise UserError(f"--budget {text!r}: write a number of trainings, as in 20, or a time, as in 3h or 45m")
        if found[2] is None:
            return cls(trainings=int(found[1]))
        return cls(seconds=float(found[1]) * _SECONDS[found[2]])

    def allows(self, trainings: int, seconds: float) -> bool:
        """Whether so many trainings in all fit, when so much time is gone."""
        return (self.trainings is None or trainings <= self.trainings) and (
            self.seconds is None or seconds < self.seconds
        )
