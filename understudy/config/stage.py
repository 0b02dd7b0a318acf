"""Stages: what a training consists of. FitNets is two of them, most methods are one."""

from dataclasses import dataclass, replace

from understudy.config.train import TrainConfig
from understudy.objective.balance import balanced
from understudy.objective.labels import Labels
from understudy.objective.term import Expression, Sum, as_sum

STAGE_STRIDE = 1_000_000  # epochs are numbered from a new million in each stage, so that no two share their views


@dataclass(frozen=True)
class Stage:
    """An objective and the config on which it is pursued.

    Which parameters train follows from the objective: a stage whose terms read only taps runs both networks no
    deeper than those taps, and what lies deeper gets no gradient and stays as it is.

    >>> from understudy import TrainConfig
    >>> from understudy.terms import CE, KD
    >>> stage = Stage("soft targets", CE() + 0.9 * KD(temperature=4), TrainConfig(epochs=30))
    >>> print(stage.terms)
    CE() + 0.9 * KD()
    """

    name: str
    terms: Expression
    config: TrainConfig
    hands_over: bool = False  # what its terms own goes on into the next stage
    answers: bool = False  # the student is measured by its answers, although no term may read them

    @property
    def objective(self) -> Sum:
        return as_sum(self.terms)

    def without_labels(self) -> "Stage | None":
        """The same without the loss of the labels; None where nothing is left."""
        parts = tuple(part for part in self.objective.parts if not isinstance(part.term, Labels))
        return replace(self, terms=Sum(parts)) if parts else None

    def balanced(self) -> "Stage":
        """The same, its terms weighted by their gradients instead of by their method's numbers."""
        return replace(self, terms=balanced(self.terms, published=True))
