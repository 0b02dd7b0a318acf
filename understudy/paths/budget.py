"""The budget of a search: a number of trainings, or a time."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from understudy.errors import UserError
from understudy.measure import Spread
from understudy.paths.edges import Edge, Known
from understudy.paths.strategies import Strategy

_SECONDS = {"h": 3600.0, "m": 60.0, "min": 60.0, "s": 1.0}


@dataclass(frozen=True)
class Budget:
    """The budget after which a search starts no more trainings. Running ones are finished, and the best so far wins.

    Args:
        trainings: the number of networks, counted for every seed and with cached ones, so that the outcome does
            not depend on the content of the cache.
        seconds: the time over all sessions of the search together.
    """

    trainings: int | None = None
    seconds: float | None = None

    @classmethod
    def parse(cls, text: str) -> "Budget":
        """``"20"`` trainings, or ``"3h"``, ``"45m"``, ``"90s"``."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(h|m|min|s)?", text.strip())
        if match is None or float(match[1]) == 0 or (match[2] is None and "." in match[1]):
            raise UserError(f"--budget {text!r}: write a number of trainings, as in 20, or a time, as in 3h or 45m")
        if match[2] is None:
            return cls(trainings=int(match[1]))
        return cls(seconds=float(match[1]) * _SECONDS[match[2]])


def beside(
    also: Sequence[Edge], wanted: Sequence[Edge], *, done: bool, most: int | None, cost: Callable[[Edge], int]
) -> tuple[list[Edge], list[Edge]]:
    """What may be requested in addition to ``asked``, and what exceeds the budget.

    With a bound, only where the strategy is ``done`` and needs no more, so that nothing is taken from it.
    """
    if most is None:
        return list(also), []
    if not done:
        return [], []
    room = most - sum(map(cost, wanted))
    each = max(1, cost(also[0])) if also else 1
    return list(also[: room // each]), list(also[room // each :])


def allowed(
    strategy: Strategy, known: Known, most: int | None, cost: Callable[[Edge], int]
) -> tuple[list[Edge], list[Edge]]:
    """The requests within a number of trainings, done or not, and those beyond it.

    The bound is spent in rounds: all that can start, then all that can start after that. So the selection depends only
    on the figures, not on the number of workers or on interruptions.
    """
    if most is None:
        return [*known, *strategy.wanted(known)], []
    within: list[Edge] = []
    seen: dict[Edge, Spread] = {}
    room = most
    while wanted := strategy.wanted(seen):
        for place, edge in enumerate(wanted):
            room -= cost(edge)
            if room < 0:
                return within, wanted[place:]
            within.append(edge)
        if any(edge not in known for edge in wanted):
            break
        seen |= {edge: known[edge] for edge in wanted}
    return within, []
