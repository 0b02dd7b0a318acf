"""How long trainings take, as far as those that are done tell."""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from understudy.plans import Node


class Durations:
    """What to expect of a training: what those of the same network took, or else what all took.

    Args:
        took: trainings that are done, with their seconds.
    """

    def __init__(self, took: Iterable[tuple[Node, float]]):
        alike: dict[str, list[float]] = {}
        for node, seconds in took:
            alike.setdefault(_kind(node), []).append(seconds)
        every = [seconds for some in alike.values() for seconds in some]
        self.usual = statistics.fmean(every) if every else None
        self._alike = {kind: statistics.fmean(some) for kind, some in alike.items()}

    def of(self, node: Node) -> float | None:
        """Seconds; None where nothing is done yet."""
        return self._alike.get(_kind(node), self.usual)


@dataclass(frozen=True)
class Forecast:
    """What a budget of time means for trainings that are yet to be done.

    Args:
        budget: seconds, of all sessions together.
        spent: seconds that earlier sessions took.
        needed: about how many seconds the trainings take, one after another; None where nothing that is done tells.
    """

    budget: float
    spent: float
    needed: float | None

    @property
    def left(self) -> float:
        return max(0.0, self.budget - self.spent)


def _kind(node: Node) -> str:
    return node.network.model_dump_json()
