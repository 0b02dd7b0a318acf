"""Text regression: a number for each text or pair of texts, such as how alike two sentences are (STS-B)."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from understudy.bounds import Interval
from understudy.errors import UserError
from understudy.nested import Nested
from understudy.precision import exact
from understudy.tasks.regression import VALUES, NumberMeter, Regression
from understudy.tasks.task import Figure, Meter, Values
from understudy.tasks.words import SPECIAL, Words


@dataclass(frozen=True)
class TextScores(Words, Regression):
    """A number for each text or pair of texts; see ``Text`` for the vocabulary and ``Regression`` for the loss.

    Args:
        names, scales, form, delta: as of ``Regression``; one number.
        vocabulary, length, tokens, pairs, tokenizer: as of ``Text``.

    >>> TextScores(("likeness",), pairs=True).figures[0].name
    'pearson'
    """

    vocabulary: tuple[str, ...] = SPECIAL
    length: Annotated[int, Interval(ge=3, le=100_000)] = 64
    tokens: Literal["words", "wordpiece", "tokenizer"] = "words"
    pairs: bool = False
    tokenizer: str = ""

    name: ClassVar[str] = "text-scores"
    takes_words: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_words()
        if len(self.names) > 1:
            raise UserError(f"task {self.name!r} has one number for each text, not {len(self.names)}")

    @property
    def figures(self) -> tuple[Figure, ...]:
        correlations = Figure("pearson", "Pearson correlation", chance=0.0), Figure("spearman", "Spearman correlation")
        return (*correlations, *super().figures)

    @property
    def about(self) -> str:
        return f"a number for each {'pair of texts' if self.pairs else 'text'}, {self.token_count:,} tokens"

    def luck(self, figure: Figure, samples: int) -> float:
        return 3 / samples**0.5 if figure.name == "pearson" else super().luck(figure, samples)

    def meter(self) -> Meter:
        return CorrelationMeter(self)


class CorrelationMeter(NumberMeter):
    """Pearson's and Spearman's correlation beside the figures of every regression; it keeps a number of each sample.

    >>> meter = CorrelationMeter(TextScores(("likeness",)))
    >>> meter.update({"values": torch.tensor([[1.0], [2.0], [9.0]])}, torch.tensor([[1.0], [2.0], [3.0]]))
    >>> round(meter.compute()["spearman"], 6)
    1.0
    """

    def __init__(self, task: Regression):
        super().__init__(task)
        self.answers, self.wanted = list[Tensor](), list[Tensor]()

    def update(self, answer: Values, targets: Nested) -> None:
        super().update(answer, targets)
        assert isinstance(targets, Tensor)
        self.answers.append(exact(answer[VALUES].flatten()).cpu())
        self.wanted.append(exact(targets.flatten()).cpu())

    def compute(self) -> dict[str, float]:
        figures = super().compute()
        answers, wanted = torch.cat(self.answers), torch.cat(self.wanted)
        correlations = {
            "pearson": _correlation(answers, wanted),
            "spearman": _correlation(_ranks(answers), _ranks(wanted)),
        }
        return correlations | figures


def _correlation(first: Tensor, second: Tensor) -> float:
    """Pearson's; 0 if all values of one are equal, NaN if any value is."""
    first, second = first - first.mean(), second - second.mean()
    lengths = (first.norm() * second.norm()).item()
    return (first @ second).item() / lengths if lengths else 0.0


def _ranks(values: Tensor) -> Tensor:
    """The rank of each value; equal values share the mean of their ranks, and NaN has none."""
    _, place, counts = values.unique(return_inverse=True, return_counts=True)
    ends = counts.cumsum(0).to(values.dtype)
    ranks: Tensor = (ends - (counts.to(values.dtype) - 1) / 2)[place]
    return ranks.where(~values.isnan(), torch.nan)
