"""The student to choose: the best that a budget allows, and the reason in words."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from understudy.tasks import Figure


@dataclass(frozen=True)
class Candidate:
    """A network and its costs; an unknown cost is within no bound."""

    name: str
    value: float  # of the figure that decides
    latency_ms: float | None = None  # for one sample
    bytes: int | None = None


@dataclass(frozen=True)
class Budget:
    """The bounds; None for no bound. A value equal to its bound is allowed.

    Example:
        >>> str(Budget(latency_ms=3.0, bytes=2_000_000))
        'at most 3 ms, at most 2 MB'
    """

    latency_ms: float | None = None
    bytes: int | None = None
    value: float | None = None  # of the figure that decides: at least, or at most where less is better

    def __str__(self) -> str:
        return self.text(None)

    def text(self, figure: Figure | None) -> str:
        """The bounds in words; without a figure its bound is written as a number."""
        parts = [
            f"at most {self.latency_ms:g} ms" if self.latency_ms is not None else "",
            f"at most {_size(self.bytes)}" if self.bytes is not None else "",
            _bound(self.value, figure) if self.value is not None else "",
        ]
        return ", ".join(part for part in parts if part) or "no bounds"


@dataclass(frozen=True)
class Choice:
    """``chosen`` is None if nothing fits; ``reason`` is then the bound that fails, and by how much."""

    chosen: Candidate | None
    reason: str


@dataclass(frozen=True)
class _Question:
    """The figure that decides, the bounds, and the part of the data that was measured."""

    figure: Figure
    budget: Budget
    where: str

    @property
    def best(self) -> str:
        """``"has the highest accuracy"``."""
        return f"has the {'highest' if self.figure.better == 'higher' else 'lowest'} {self.figure.title}"


def choose(candidates: Sequence[Candidate], figure: Figure, budget: Budget | None = None, *, part: str = "") -> Choice:
    """The best of those within the budget; of equals the faster, then the smaller one. NaN is never chosen.

    Args:
        figure: the figure that decides.
        part: of the data, on which the values were measured, for the reason: ``"validation"``.

    Example:
        >>> small, large = Candidate("small", 0.8, 1.0), Candidate("large", 0.9, 4.0)
        >>> choose([small, large], Figure("accuracy", "accuracy", unit="share"), Budget(latency_ms=2.0)).chosen.name
        'small'
    """
    question = _Question(figure, budget or Budget(), f" on {part}" if part else "")
    if not candidates:
        return Choice(None, "There is nothing to choose from.")
    known = [candidate for candidate in candidates if not math.isnan(candidate.value)]
    if not known:
        return Choice(None, f"Nothing to choose: no {figure.title}{question.where} is a number.")
    fitting = [candidate for candidate in known if not _misses(candidate, question)]
    if not fitting:
        return Choice(None, _nothing(known, question))
    best = min(fitting, key=lambda candidate: _rank(candidate, figure))
    return Choice(best, _reason(best, fitting, candidates, question))


def frontier(candidates: Sequence[Candidate], figure: Figure) -> list[Candidate]:
    """Those to which no other is equal or better in value, speed and size, and better in one of them."""
    return [c for c in candidates if not any(_dominates(other, c, figure) for other in candidates)]


def _rank(candidate: Candidate, figure: Figure) -> tuple[float, float, float]:
    return -figure.quality(candidate.value), _cost(candidate.latency_ms), _cost(candidate.bytes)


def _cost(value: float | None) -> float:
    return float("inf") if value is None else value


def _dominates(one: Candidate, other: Candidate, figure: Figure) -> bool:
    ours, theirs = _rank(one, figure), _rank(other, figure)
    return ours != theirs and all(a <= b for a, b in zip(ours, theirs, strict=True))


def _misses(candidate: Candidate, question: _Question) -> dict[Literal["latency", "size", "value"], float]:
    """By how much it misses each bound that it does not keep."""
    missed: dict[Literal["latency", "size", "value"], float] = {}
    budget = question.budget
    if budget.latency_ms is not None and _cost(candidate.latency_ms) > budget.latency_ms:
        missed["latency"] = _cost(candidate.latency_ms) - budget.latency_ms
    if budget.bytes is not None and _cost(candidate.bytes) > budget.bytes:
        missed["size"] = _cost(candidate.bytes) - budget.bytes
    if budget.value is not None and not question.figure.gain(candidate.value, budget.value) >= 0:
        missed["value"] = abs(budget.value - candidate.value)
    return missed


def _reason(
    best: Candidate, fitting: Sequence[Candidate], all_of_them: Sequence[Candidate], question: _Question
) -> str:
    figure, budget, shown = question.figure, question.budget, question.figure.text(best.value)
    if budget == Budget():
        return f"{best.name} {question.best}, {shown}{question.where}, of {len(all_of_them)}."
    sentence = f"{best.name} {question.best}, {shown}{question.where}, "
    sentence += f"of the {len(fitting)} of {len(all_of_them)} that fit ({budget.text(figure)})."
    better = [candidate for candidate in all_of_them if figure.gain(candidate.value, best.value) > 0]
    if better:
        nearest = min(better, key=lambda candidate: _rank(candidate, figure))
        sentence += f" {nearest.name} reaches {figure.text(nearest.value)}, but {_beyond(nearest, question)}."
    return sentence


def _nothing(candidates: Sequence[Candidate], question: _Question) -> str:
    """The bounds that no candidate keeps, each with the nearest one; or the one that is nearest to keeping all."""
    reasons, figure = [], question.figure
    for bound in ("latency_ms", "bytes", "value"):
        alone = replace(question, budget=replace(Budget(), **{bound: getattr(question.budget, bound)}))
        if all(_misses(candidate, alone) for candidate in candidates):
            nearest = min(candidates, key=lambda candidate: sum(_misses(candidate, alone).values()))
            reasons.append(f"nearest is {nearest.name}, which {_beyond(nearest, alone)}")
    bounds = question.budget.text(figure)
    if reasons:
        return f"Nothing fits ({bounds}): {'; '.join(reasons)}."
    nearest = min(candidates, key=lambda c: (len(_misses(c, question)), _rank(c, figure)))
    return f"Nothing fits all at once ({bounds}): nearest is {nearest.name}, which {_beyond(nearest, question)}."


def _beyond(candidate: Candidate, question: _Question) -> str:
    reasons, figure = [], question.figure
    for bound, missed in _misses(candidate, question).items():
        if missed == float("inf"):
            reasons.append(f"its {bound} is not known")
        elif bound == "latency":
            reasons.append(f"takes {missed:.3g} ms too long ({candidate.latency_ms:.3g} ms)")
        elif bound == "size":
            reasons.append(f"is {_size(missed)} too large ({_size(_cost(candidate.bytes))})")
        else:
            points = f"{100 * missed:.3g} points" if figure.unit == "share" else f"{missed:.3g}"
            side = "low" if figure.better == "higher" else "high"
            reasons.append(f"reaches {figure.title} {figure.text(candidate.value)}, {points} too {side}")
    return " and ".join(reasons)


def _bound(value: float, figure: Figure | None) -> str:
    if figure is None:
        return f"a figure of {value:g}"
    shown = f"{100 * value:g} %" if figure.unit == "share" else f"{value:g}"
    return f"{figure.title} {'at least' if figure.better == 'higher' else 'at most'} {shown}"


def _size(size: float) -> str:
    """
    >>> _size(21_320), _size(999_999), _size(1_340_000_000)
    ('21.3 KB', '1 MB', '1340 MB')
    """
    kilobytes = size / 1e3
    number, unit = (size / 1e6, "MB") if kilobytes >= 999.5 else (kilobytes, "KB")
    return f"{number:.0f} {unit}" if number >= 1000 else f"{number:.3g} {unit}"
