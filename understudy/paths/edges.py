"""The parts of a search for a path: sizes, paths between them, and the trainings that paths share."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from understudy.errors import UserError
from understudy.measure import Spread
from understudy.models.sizes import Size as Size
from understudy.tasks import Figure

Path = tuple[Size, ...]  # from the teacher's size down, each taught by the previous one


@dataclass(frozen=True)
class Edge:
    """One training: the last size of ``path``, taught by the previous one, which was trained along the path.

    Paths with the same beginning share its trainings. A path of one size is trained alone, on the targets: so are the
    teacher, and the networks that the rule of thumb compares (``quick``, by a short config of their own).
    """

    path: Path
    quick: bool = False

    @property
    def size(self) -> Size:
        return self.path[-1]

    @property
    def teacher(self) -> "Edge | None":
        """The training that must be done before."""
        return Edge(self.path[:-1]) if len(self.path) > 1 else None

    def passes(self, failed: Collection["Edge"]) -> bool:
        """Whether a training on the way to it has failed."""
        return any(Edge(self.path[:end]) in failed for end in range(1, len(self.path)))

    def to(self, size: Size) -> "Edge":
        return Edge((*self.path, size))

    def __str__(self) -> str:
        if len(self.path) > 1:
            return arrows(self.path)
        return f"{self.size}, alone{', quickly' if self.quick else ''}"


# Of each training the quality of the task's first figure on validation, for every seed, never the test part's: of a
# figure that is better when it is lower, the quality is the negative value (`Figure.quality`), so that for a
# strategy more is always better.
Known = Mapping[Edge, Spread]
FAILED = Spread((-math.inf,))  # the quality of a failed training, worse than any other
SHARE = Figure("share", "share", unit="share")


def qualities(spread: Spread, figure: Figure) -> Spread:
    """Convert the values of a figure to qualities, or qualities to values.

    >>> qualities(qualities(Spread((0.25, 0.5)), Figure("nme", "error", "lower")), Figure("nme", "error", "lower"))
    Spread(values=(0.25, 0.5))
    """
    return Spread(tuple(figure.quality(value) for value in spread.values))


def quality(value: float | None, figure: Figure) -> float:
    """The quality of a value; None counts as NaN does, as a failure, which no order puts first.

    >>> quality(0.25, Figure("nme", "error", "lower")), quality(math.nan, SHARE), quality(None, SHARE)
    (-0.25, -inf, -inf)
    """
    return figure.quality(math.nan if value is None else value)


def arrows(path: Sequence[Size]) -> str:
    """``10 → 8 → 2``."""
    return " → ".join(map(str, path))


@dataclass(frozen=True)
class Sizes:
    """The teacher's size, those of the assistants, and the student's, from large to small."""

    all: tuple[Size, ...]

    @classmethod
    def of(cls, sizes: Sequence[Size]) -> "Sizes":
        if len(sizes) < 2:
            raise UserError("a path needs two sizes at least: the teacher's and the student's")
        if len(set(sizes)) != len(sizes):
            raise UserError(f"sizes {', '.join(map(str, sizes))}: each size once")
        return cls(tuple(sizes))

    @property
    def teacher(self) -> Edge:
        return Edge((self.all[0],))

    @property
    def student(self) -> Size:
        return self.all[-1]

    @property
    def assistants(self) -> tuple[Size, ...]:
        return self.all[1:-1]

    def above(self, size: Size) -> tuple[Size, ...]:
        return self.all[: self.all.index(size)]

    def below(self, size: Size) -> tuple[Size, ...]:
        return self.all[self.all.index(size) + 1 :]

    def paths(self, most_assistants: int | None = None) -> list[Path]:
        """Every path from teacher to student, those with fewer assistants first."""
        most = len(self.assistants) if most_assistants is None else min(most_assistants, len(self.assistants))
        return [
            (self.all[0], *between, self.student)
            for number in range(most + 1)
            for between in combinations(self.assistants, number)
        ]


def trainings_of(paths: Sequence[Path]) -> list[Edge]:
    """The trainings of these paths, the teacher included. Shared ones appear once."""
    return list(dict.fromkeys(Edge(path[:end]) for path in paths for end in range(1, len(path) + 1)))
