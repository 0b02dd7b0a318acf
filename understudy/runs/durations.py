"""Estimates of the time of trainings from finished ones."""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from understudy.plans import Node


class Durations:
    """The expected time of a training: that of the same network, or else of all networks.

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
    """The number of remaining trainings that fit into a budget of time.

    Args:
        budget: seconds, of all sessions together.
        spent: seconds that earlier sessions took.
        needed: the estimated seconds of the trainings, one after another; None without an estimate.
    """

    budget: float
    spent: float
    needed: float | None

    @property
    def left(self) -> float:
        return max(0.0, self.budget - self.spent)


def _kind(node: Node) -> str:
    return node.network.model_dump_json()
