"""Stages: what a training consists of. FitNets is two of them, most methods are one."""

from dataclasses import dataclass, replace
from itertools import compress

from understudy.bounds import Finite
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

    Args:
        name, terms, config: what is trained, and how.
        hands_over: what its terms own goes on into the next stage.
        answers: the student is measured by its answers, although no term may read them.
        momenta: for each term what is added to SGD's momentum for the term's gradient (see ``config.momenta``); None:
            one momentum for the sum.

    >>> from understudy import TrainConfig
    >>> from understudy.terms import CE, KD
    >>> stage = Stage("soft targets", CE() + 0.9 * KD(temperature=4), TrainConfig(epochs=30))
    >>> print(stage.terms)
    CE() + 0.9 * KD()
    """

    name: str
    terms: Expression
    config: TrainConfig
    hands_over: bool = False
    answers: bool = False
    momenta: tuple[Finite, ...] | None = None

    @property
    def objective(self) -> Sum:
        return as_sum(self.terms)

    def without_labels(self) -> "Stage | None":
        """The same without the loss of the labels; None where nothing is left."""
        kept = [not isinstance(part.term, Labels) for part in self.objective.parts]
        if not any(kept):
            return None
        momenta = tuple(compress(self.momenta, kept)) if self.momenta is not None and sum(kept) > 1 else None
        return replace(self, terms=Sum(tuple(compress(self.objective.parts, kept))), momenta=momenta)

    def balanced(self) -> "Stage":
        """The same, its terms weighted by their gradients instead of by their method's numbers."""
        return replace(self, terms=balanced(self.terms, published=True))
