"""The cost of each method's training relative to training the student alone, from ``scripts/measure_costs.py``."""

import json
from functools import cache
from pathlib import Path
from typing import TypedDict

FILE = Path(__file__).parent / "costs.json"


class Cost(TypedDict):
    """Times of one method: of its whole training, and of a step of each stage, as multiples of the student's alone."""

    config: float
    stages: list[float]


class Costs(TypedDict):
    """The content of the file."""

    pair: str
    date: str
    note: str
    not_measured: list[str]
    methods: dict[str, Cost]


@cache
def measured() -> Costs:
    """The figures, with the pair of networks, the machine and the versions that they were measured on."""
    costs: Costs = json.loads(FILE.read_text(encoding="utf-8"))
    return costs


def cost(method: str) -> Cost | None:
    """The cost of one method; None if it was not measured."""
    return measured()["methods"].get(method)
