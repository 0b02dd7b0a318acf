"""The student to choose: the most accurate that a budget allows, and the reason in words."""

from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Candidate:
    """A network and what it costs; what is not known does not keep within any bound."""

    name: str
    accuracy: float  # a share
    latency_ms: float | None = None  # for one sample
    bytes: int | None = None


@dataclass(frozen=True)
class Budget:
    """The bounds; None where there is none. Each bound itself is allowed."""

    latency_ms: float | None = None
    bytes: int | None = None
    accuracy: float | None = None  # a share, at least

    def __str__(self) -> str:
        parts = [
            f"at most {self.latency_ms:g} ms" if self.latency_ms is not None else "",
            f"at most {_size(self.bytes)}" if self.bytes is not None else "",
            f"at least {100 * self.accuracy:g} %" if self.accuracy is not None else "",
        ]
        return ", ".join(part for part in parts if part) or "no bounds"


@dataclass(frozen=True)
class Choice:
    """``chosen`` is None where nothing fits; ``reason`` then says which bound fails, and by how much."""

    chosen: Candidate | None
    reason: str


def choose(candidates: Sequence[Candidate], budget: Budget | None = None, *, part: str = "") -> Choice:
    """The most accurate of those within the budget; of equals the faster, then the smaller one.

    Args:
        part: of the data, on which the accuracies were measured, for the reason: ``"validation"``.
    """
    budget = budget or Budget()
    if not candidates:
        return Choice(None, "There is nothing to choose from.")
    fitting = [candidate for candidate in candidates if not _misses(candidate, budget)]
    if not fitting:
        return Choice(None, _nothing(candidates, budget))
    best = min(fitting, key=_rank)
    return Choice(best, _reason(best, fitting, candidates, budget, f" on the {part} part" if part else ""))


def frontier(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Those of which no other is at least as accurate, as fast and as small, and better in one of them."""
    return [c for c in candidates if not any(_dominates(other, c) for other in candidates)]


def _rank(candidate: Candidate) -> tuple[float, float, float]:
    return -candidate.accuracy, _cost(candidate.latency_ms), _cost(candidate.bytes)


def _cost(value: float | None) -> float:
    return float("inf") if value is None else value


def _dominates(one: Candidate, other: Candidate) -> bool:
    ours, theirs = _rank(one), _rank(other)
    return ours != theirs and all(a <= b for a, b in zip(ours, theirs, strict=True))


def _misses(candidate: Candidate, budget: Budget) -> dict[str, float]:
    """By how much it misses each bound that it does not keep."""
    missed = {}
    if budget.latency_ms is not None and _cost(candidate.latency_ms) > budget.latency_ms:
        missed["latency"] = _cost(candidate.latency_ms) - budget.latency_ms
    if budget.bytes is not None and _cost(candidate.bytes) > budget.bytes:
        missed["size"] = _cost(candidate.bytes) - budget.bytes
    if budget.accuracy is not None and candidate.accuracy < budget.accuracy:
        missed["accuracy"] = budget.accuracy - candidate.accuracy
    return missed


def _reason(
    best: Candidate, fitting: Sequence[Candidate], all_of_them: Sequence[Candidate], budget: Budget, where: str
) -> str:
    if budget == Budget():
        return f"{best.name} is the most accurate of {len(all_of_them)}, with {_percent(best.accuracy)}{where}."
    told = f"{best.name} is the most accurate, with {_percent(best.accuracy)}{where}, "
    told += f"of the {len(fitting)} of {len(all_of_them)} that fit ({budget})."
    better = [c for c in all_of_them if c.accuracy > best.accuracy]
    if better:
        nearest = min(better, key=_rank)
        told += f" {nearest.name} reaches {_percent(nearest.accuracy)}, but {_beyond(nearest, budget)}."
    return told


def _nothing(candidates: Sequence[Candidate], budget: Budget) -> str:
    """The bounds that nobody keeps, each with who comes nearest; or who comes nearest to keeping all."""
    told = []
    for bound in ("latency_ms", "bytes", "accuracy"):
        alone = replace(Budget(), **{bound: getattr(budget, bound)})
        if all(_misses(candidate, alone) for candidate in candidates):
            nearest = min(candidates, key=lambda c: sum(_misses(c, alone).values()))
            told.append(f"nearest is {nearest.name}, which {_beyond(nearest, alone)}")
    if told:
        return f"Nothing fits ({budget}): {'; '.join(told)}."
    nearest = min(candidates, key=lambda c: (len(_misses(c, budget)), _rank(c)))
    return f"Nothing fits all at once ({budget}): nearest is {nearest.name}, which {_beyond(nearest, budget)}."


def _beyond(candidate: Candidate, budget: Budget) -> str:
    told = []
    for bound, missed in _misses(candidate, budget).items():
        if missed == float("inf"):
            told.append(f"its {bound} is not known")
        elif bound == "latency":
            told.append(f"takes {missed:.3g} ms too long ({candidate.latency_ms:.3g} ms)")
        elif bound == "size":
            told.append(f"is {_size(missed)} too large ({_size(_cost(candidate.bytes))})")
        else:
            told.append(f"lacks {100 * missed:.3g} points of accuracy ({_percent(candidate.accuracy)})")
    return " and ".join(told)


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _size(size: float) -> str:
    return f"{size / 1e6:.3g} MB" if size >= 1e6 else f"{size / 1e3:.3g} KB"
