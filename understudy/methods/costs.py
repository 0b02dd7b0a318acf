"""What a method's training costs against the student's alone, as ``scripts/measure_costs.py`` has measured it."""

import json
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "costs.json"


@cache
def measured() -> dict[str, Any]:
    """The figures, and on which pair, machine and versions they were taken."""
    content: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return content


def cost(method: str) -> dict[str, Any] | None:
    """``config``: the time of its config as a multiple of the plain one; ``stages``: of a step of each stage."""
    found: dict[str, Any] | None = measured()["methods"].get(method)
    return found
