"""What sharing saves: the trainings of a search, compared with those of its paths one by one."""

from collections.abc import Collection

from understudy.paths.edges import Edge
from understudy.paths.strategies import Strategy


def shared(strategy: Strategy, asked: Collection[Edge], *, seeds: int, teachers: int) -> list[str]:
    """The savings in sentences; none where there is one path.

    Args:
        asked: all trainings of the search, trained or reused.
        seeds: of each student; the figures are those of one.
        teachers: trainings of the teacher: one for each seed, one for all seeds, or none, where it is given.
    """
    paths = len(strategy.paths)
    if paths == 1:
        return []
    students = _several(sum(len(edge.path) > 1 for edge in asked), "student training")
    apart = sum(len(path) - 1 for path in strategy.paths)
    each = "Each seed: " if seeds > 1 else ""
    if teachers == 0:
        sentence = f"{each}{students}; {paths} separate paths would need {apart}."
    elif teachers == seeds:
        sentence = f"{each}{students} and the teacher; {paths} separate paths would need {apart} and {paths}."
    else:
        sentence = f"{each}{students}, and one teacher for all; {paths} separate paths would need {apart} and {paths}."
    return [sentence, *_beside(strategy, asked)]


def _beside(strategy: Strategy, asked: Collection[Edge]) -> list[str]:
    """The trainings that are on no path."""
    alone = sum(len(edge.path) == 1 and not edge.quick and edge != strategy.sizes.teacher for edge in asked)
    quick = sum(edge.quick for edge in asked)
    parts = [_several(alone, "training") + " alone"] if alone else []
    parts += [_several(quick, "quick training")] if quick else []
    return [f"Beside them: {' and '.join(parts)}."] if parts else []


def _several(number: int, kind: str) -> str:
    return f"{number} {kind}{'s' if number != 1 else ''}"
