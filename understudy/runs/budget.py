"""Whether the student alone, with which every method is compared, is trained on as many samples as theirs."""

from collections.abc import Iterator
from dataclasses import dataclass

from understudy import methods
from understudy.recipe import Recipe
from understudy.recipe.build import Builder
from understudy.runs.records import BASELINE

EQUAL = 0.9  # of the samples of another; with fewer it is said that a student is trained for less


@dataclass(frozen=True)
class Shorter:
    """A method whose student is trained for less than another, in words, and the epochs that would make them equal."""

    method: str
    text: str
    epochs: int


def shorter(recipe: Recipe, builder: Builder) -> Iterator[Shorter]:
    """The student alone, where it is trained for less than others, and others that are trained for less than it."""
    of_epoch = _samples_of_epoch(recipe, builder)
    seen = {name: recipe.methods[name].train.epochs * count for name, count in of_epoch.items()}
    if BASELINE not in seen:
        return

    def said(name: str, than: list[str]) -> Shorter:
        most = max(seen[other] for other in than)
        alike = all(seen[other] == most for other in than)
        others = "the student alone" if than == [BASELINE] else ", ".join(than)
        text = f"it is trained on {seen[name]:,} samples, and {others} on {'' if alike else 'up to '}{most:,}"
        return Shorter(name, text, -(-most // of_epoch[name]))

    if longer := [name for name, count in seen.items() if seen[BASELINE] < EQUAL * count]:
        yield said(BASELINE, longer)
    for name, count in seen.items():
        if count < EQUAL * seen[BASELINE]:
            yield said(name, [BASELINE])


def _samples_of_epoch(recipe: Recipe, builder: Builder) -> dict[str, int]:
    """How many samples the student of each method sees in an epoch: those without labels, too, if it has a teacher."""
    with_labels, every = builder.seen(recipe.data.with_labels).train, builder.seen(recipe.data).train
    counts = {}
    for name, table in recipe.methods.items():
        part = every if methods.find(table.method).is_taught(table.settings) else with_labels
        counts[name] = part.steps(table.train.batch) * min(table.train.batch, len(part))
    return counts
