"""The outcome of a search: the ranked paths, how certain the first rank is, and what was not tried."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from understudy.measure import Spread
from understudy.paths.edges import SHARE, Edge, Known, Path, Size, Sizes, arrows, qualities
from understudy.paths.strategies import Every, Strategy
from understudy.printable import some
from understudy.tasks import Figure


@dataclass(frozen=True)
class Upset:
    """A better teacher with a worse student: here the best path to a size is not part of the best path."""

    better: Edge
    worse: Edge
    student: Size

    def sentence(self, known: Known, figure: Figure = SHARE) -> str:
        edges = [self.better, self.worse, self.better.to(self.student), self.worse.to(self.student)]
        better, worse, by_better, by_worse = (qualities(known[edge], figure).mean for edge in edges)
        return (
            f"{arrows(self.better.path)} is better than {arrows(self.worse.path)} ({_both(better, worse, figure)}), "
            f"and teaches a worse {self.student} ({_both(by_better, by_worse, figure)})"
        )


@dataclass(frozen=True)
class Answer:
    """The outcome of a search, from the task's first figure on validation."""

    ranked: tuple[Path, ...]  # complete paths, the best first
    sure: Literal["yes", "no", "unknown"]
    sentences: tuple[str, ...]
    searched: int  # of all paths
    paths: int
    left: tuple[Edge, ...]  # requests beyond the budget
    upsets: tuple[Upset, ...]

    @property
    def best(self) -> Path | None:
        return self.ranked[0] if self.ranked else None


def answer(
    strategy: Strategy,
    known: Known,
    left: Sequence[Edge] = (),
    failed: Mapping[Edge, str] | None = None,
    *,
    figure: Figure = SHARE,
) -> Answer:
    """The outcome from the known figures.

    Args:
        left: trainings that were requested and not done.
        failed: trainings that failed, and why.
        figure: the figure by which trainings are compared.
    """
    sizes = strategy.sizes
    whole = [path for path in sizes.paths() if Edge(path) in known]
    ranked = tuple(sorted(whole, key=lambda path: -known[Edge(path)].mean))
    sure, lead = _lead(ranked, known, figure)
    upsets = tuple(_upsets(sizes, known))
    paths = len(sizes.paths())
    sentences = [*lead, _searched(strategy, len(whole), paths, left), *_failures(failed or {})]
    if upsets:
        sentences.append(
            "The best way to a size is not always part of the best way through it: "
            + upsets[0].sentence(known, figure)
            + (f" ({len(upsets)} such cases)." if len(upsets) > 1 else ".")
        )
    elif not isinstance(strategy, Every) and len(whole) < paths:
        sentences.append("A path that was not looked at may be better: the best way to a size need not be part of it.")
    return Answer(ranked, sure, tuple(sentences), len(whole), paths, tuple(left), upsets)


def _lead(ranked: Sequence[Path], known: Known, figure: Figure) -> tuple[Literal["yes", "no", "unknown"], list[str]]:
    """Compare the best path with the next one, and with the student of the teacher itself."""
    if not ranked:
        return "unknown", ["No path has reached the student yet."]
    first = known[Edge(ranked[0])]
    sentences = [f"Best path: {arrows(ranked[0])}, {qualities(first, figure).text(figure.unit)} on validation."]
    if len(ranked) == 1:
        return "unknown", [*sentences, "There is no second path to compare it with."]
    second = known[Edge(ranked[1])]
    sure, text = _compared(first, second, f"the next, {arrows(ranked[1])}", figure)
    sentences.append(text)
    direct = Edge((ranked[0][0], ranked[0][-1]))
    if direct in known and direct.path not in ranked[:2]:
        sentences.append(_compared(first, known[direct], "distilling in one step", figure)[1])
    return sure, sentences


def _compared(first: Spread, second: Spread, other: str, figure: Figure) -> tuple[Literal["yes", "no", "unknown"], str]:
    lead = first.mean - second.mean
    by = figure.difference(lead).lstrip("+")
    if first.sd is None or second.sd is None:
        return "unknown", f"It leads {other}, by {by}; one seed cannot tell that from luck."
    spread = first.sd + second.sd
    width = figure.difference(spread).lstrip("+").removesuffix(" points")
    seeds = f"over {len(first.values)} seeds"
    if lead > spread:
        return "yes", f"It leads {other}, by {by}, more than the spread of {width} {seeds}."
    return "no", f"It leads {other}, by {by} only, within the spread of {width} {seeds}: a tie."


def _searched(strategy: Strategy, whole: int, paths: int, left: Sequence[Edge]) -> str:
    text = f"Searched: {whole} of {paths} paths"
    if left:
        text += f"; the budget ended before {some([str(edge) for edge in left], 6)}"
    return f"{text}."


def _failures(failed: Mapping[Edge, str]) -> list[str]:
    if not failed:
        return []
    reasons = "; ".join(f"{edge} ({reason})" for edge, reason in list(failed.items())[:3])
    more = f"; and {len(failed) - 3} more" if len(failed) > 3 else ""
    return [f"Failed, and out of the ranking with every path through it: {reasons}{more}."]


def _upsets(sizes: Sizes, known: Known) -> list[Upset]:
    upsets = []
    for size in sizes.assistants:
        ways = sorted((e for e in known if e.size == size and len(e.path) > 1), key=lambda e: -known[e].mean)
        for better, worse in combinations(ways, 2):
            for student in sizes.below(size):
                of_better, of_worse = known.get(better.to(student)), known.get(worse.to(student))
                if of_better and of_worse and known[better].mean > known[worse].mean and of_better.mean < of_worse.mean:
                    upsets.append(Upset(better, worse, student))
    return upsets


def _both(one: float, other: float, figure: Figure) -> str:
    """Two values with one unit."""
    return f"{figure.text(one).removesuffix(' %')} and {figure.text(other)}"
