"""Text classification: one class of several for each text; the inputs are token ids and a mask.

The task holds the vocabulary, so that a student's description defines how a text becomes its input.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor

from understudy.bounds import Interval
from understudy.errors import UserError
from understudy.nested import Nested
from understudy.precision import exact_dtype
from understudy.tasks.classification import LOGITS, Classification, ClassMeter
from understudy.tasks.task import Figure, Meter, Values
from understudy.tasks.words import IDS, MASK, SPECIAL, Words, vocabulary_of, words

__all__ = ["IDS", "MASK", "SPECIAL", "Text", "vocabulary_of", "words"]

Metric = Literal["accuracy", "f1", "matthews"]
F1 = Figure("f1", "F1", unit="share")
MATTHEWS = Figure("matthews", "Matthews correlation", chance=0.0)


@dataclass(frozen=True)
class Text(Words, Classification):
    """One class of several for each text, or each pair of texts.

    Args:
        classes: their names in the order of their numbers.
        vocabulary: every token in the order of its id, with ``[PAD]`` first; pieces of words begin with ``##``.
        length: so many tokens of each text, with ``[CLS]`` before them; the rest is left out.
        tokens: ``"words"``, ``"wordpiece"`` for the longest pieces of the vocabulary, as BERT's tokenizer, or
            ``"tokenizer"`` for one of Hugging Face's tokenizers.
        pairs: whether a sample is two texts, with a tab between them; ``[SEP]`` stands between their tokens, and token
            types (segments) are not told apart.
        metrics: the first one selects. ``"f1"`` is that of class 1, ``"matthews"`` the correlation of two classes.
        tokenizer: the text of a ``tokenizer.json``, which then has the vocabulary and the special tokens.

    >>> task = Text(("bad", "good"), ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "fine", "film"), length=5)
    >>> task.encode(["A fine film"])["input_ids"].tolist()
    [[2, 1, 4, 5, 3]]
    """

    vocabulary: tuple[str, ...] = SPECIAL
    length: Annotated[int, Interval(ge=3, le=100_000)] = 64
    tokens: Literal["words", "wordpiece", "tokenizer"] = "words"
    pairs: bool = False
    metrics: tuple[Metric, ...] = ("accuracy",)
    tokenizer: str = ""

    name: ClassVar[str] = "text"
    takes_words: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self.check_words()
        if not self.metrics or (len(self.classes) != 2 and set(self.metrics) != {"accuracy"}):
            raise UserError(
                f"metrics = {list(self.metrics)}: name one at least; f1 and matthews are of two classes, and there are "
                f"{len(self.classes)}"
            )

    @classmethod
    def of(cls, targets: Nested, *, names: Sequence[str] | int | None = None, **settings: object) -> "Text":
        make: Callable[..., Text] = cls
        return make(Classification.of(targets, names=names).classes, **settings)

    @property
    def figures(self) -> tuple[Figure, ...]:
        known = {figure.name: figure for figure in (*super().figures, F1, MATTHEWS)}
        others = [figure for figure in super().figures if figure.name not in self.metrics]
        return (*(known[name] for name in self.metrics), *others)

    @property
    def about(self) -> str:
        what = "pairs of texts" if self.pairs else "text"
        return f"{len(self.classes)} classes of {what}, {self.token_count:,} tokens"

    def luck(self, figure: Figure, samples: int) -> float:
        return 3 / samples**0.5 if figure.name == MATTHEWS.name else super().luck(figure, samples)

    def meter(self) -> Meter:
        return super().meter() if set(self.metrics) == {"accuracy"} else TwoClassMeter()


class TwoClassMeter(ClassMeter):
    """F1 and Matthews correlation beside the figures of every classification, from sums.

    >>> meter = TwoClassMeter()
    >>> meter.update({"logits": torch.tensor([[2.0, 0.0], [0.0, 2.0]])}, torch.tensor([0, 1]))
    >>> meter.compute()["matthews"]
    1.0
    """

    def __init__(self) -> None:
        super().__init__()
        self.counts: Tensor | None = None  # (label, choice)

    def update(self, answer: Values, targets: Nested) -> None:
        super().update(answer, targets)
        assert isinstance(targets, Tensor)
        dtype = exact_dtype(targets.device)
        chosen, right = (F.one_hot(number, 2).to(dtype) for number in (answer[LOGITS].argmax(1), targets))
        counts = right.T @ chosen
        self.counts = counts if self.counts is None else self.counts + counts

    def compute(self) -> dict[str, float]:
        figures = super().compute()
        assert self.counts is not None
        (true_no, false_yes), (false_no, true_yes) = self.counts.tolist()
        positive = 2 * true_yes + false_yes + false_no
        product = (true_yes + false_yes) * (true_yes + false_no) * (true_no + false_yes) * (true_no + false_no)
        matthews = (true_yes * true_no - false_yes * false_no) / product**0.5 if product else 0.0
        return {**figures, "f1": 2 * true_yes / positive if positive else 0.0, "matthews": matthews}
