"""What the tests of faults leave out: figures are not drawn, latencies not measured."""

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from markupsafe import Markup

from understudy.export import proof
from understudy.report import figures
from understudy.report.figures.drawing import Drawn
from understudy.runs import result

Replace = Callable[[ModuleType, str, Any], None]


def nothing_measured_or_drawn(replace: Replace = setattr) -> None:
    """What is drawn and how long an answer takes is not what is tested; that it is written is."""
    for module in _drawing():
        replace(module, "draw", _drawn)
    for module in (result, proof):
        replace(module, "latencies", _at_once(module.latencies))


def _at_once(measured: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, seconds: measured(*args, seconds=0.0)


def _drawing() -> Iterator[ModuleType]:
    for found in pkgutil.iter_modules(figures.__path__):
        module = importlib.import_module(f"{figures.__name__}.{found.name}")
        if hasattr(module, "draw"):
            yield module


def _drawn(name: str, title: str, words: str, height: float, paint: object) -> Drawn:
    return Drawn(name, title, words, Markup("<svg></svg>"), "<svg></svg>", lambda: b"")
