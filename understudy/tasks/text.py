"""Text classification: one class of several for each text; the inputs are token ids and a mask.

The task holds the vocabulary, so that a student's description defines how a text becomes its input.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from understudy.bounds import Interval
from understudy.errors import UserError
from understudy.nested import Nested, Shape
from understudy.tasks.classification import Classification

PAD, UNKNOWN, START, END = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
SPECIAL = (PAD, UNKNOWN, START, END)
IDS, MASK = "input_ids", "attention_mask"
LONGEST = 100  # characters of a word; a longer one is unknown, as in BERT's tokenizer
_WORDS = re.compile(r"\w+|[^\w\s]", re.UNICODE)


@dataclass(frozen=True)
class Text(Classification):
    """One class of several for each text.

    Args:
        classes: their names in the order of their numbers.
        vocabulary: every token in the order of its id, with ``[PAD]`` first; pieces of words begin with ``##``.
        length: so many tokens of each text, with ``[CLS]`` before them; the rest is left out.
        tokens: ``"words"``, or ``"wordpiece"`` for the longest pieces of the vocabulary, as BERT's tokenizer.

    >>> task = Text(("bad", "good"), ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "fine", "film"), length=5)
    >>> task.encode(["A fine film"])["input_ids"].tolist()
    [[2, 1, 4, 5, 3]]
    """

    vocabulary: tuple[str, ...] = SPECIAL
    length: Annotated[int, Interval(ge=3, le=100_000)] = 64
    tokens: Literal["words", "wordpiece"] = "words"

    name: ClassVar[str] = "text"
    takes_words: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.length < 3:
            raise UserError(f"length = {self.length}: a text has {START}, {END} and one token at least")
        for token in SPECIAL:
            if token not in self.vocabulary:
                raise UserError(f"the vocabulary has no {token}: it needs {', '.join(SPECIAL)}")

    @classmethod
    def of(cls, targets: Nested, *, names: Sequence[str] | int | None = None, **settings: object) -> "Text":
        make: Callable[..., Text] = cls
        return make(Classification.of(targets, names=names).classes, **settings)

    @property
    def about(self) -> str:
        return f"{len(self.classes)} classes of text, {len(self.vocabulary):,} tokens"

    def sizes(self, shape: Shape) -> tuple[int, ...]:
        """The number of different tokens, and of positions."""
        return len(self.vocabulary), self.length

    def encode(self, texts: Iterable[str]) -> dict[str, Tensor]:
        """Texts as a batch of inputs: ``input_ids`` and ``attention_mask``, both (N, length)."""
        rows = [self._ids(text) for text in texts]
        pad = self._numbers[PAD]
        return {
            IDS: torch.tensor([row + [pad] * (self.length - len(row)) for row in rows], dtype=torch.int64),
            MASK: torch.tensor([[1] * len(row) + [0] * (self.length - len(row)) for row in rows], dtype=torch.int64),
        }

    def _ids(self, text: str) -> list[int]:
        numbers, unknown = self._numbers, self._numbers[UNKNOWN]
        ids: list[int] = []
        for word in words(text):
            ids += self._pieces(word) if self.tokens == "wordpiece" else [numbers.get(word, unknown)]
            if len(ids) >= self.length - 2:
                break
        return [numbers[START], *ids[: self.length - 2], numbers[END]]

    def _pieces(self, word: str) -> list[int]:
        """The longest pieces of the vocabulary from left to right; a word that cannot be made of them is unknown."""
        numbers, pieces, start = self._numbers, list[int](), 0
        while start < len(word) <= LONGEST:
            prefix = "##" if start else ""
            ends = (end for end in range(len(word), start, -1) if prefix + word[start:end] in numbers)
            end = next(ends, None)
            if end is None:
                break
            pieces.append(numbers[prefix + word[start:end]])
            start = end
        return pieces if pieces and start == len(word) else [numbers[UNKNOWN]]

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {token: number for number, token in enumerate(self.vocabulary)}


def words(text: str) -> list[str]:
    """The words and signs of a text, in lower case.

    >>> words("It's fine.")
    ['it', "'", 's', 'fine', '.']
    """
    return _WORDS.findall(text.lower())


def vocabulary_of(texts: Iterable[str], *, least: int = 2, most: int | None = None) -> tuple[str, ...]:
    """The special tokens, and every word that stands at least ``least`` times in the texts, the most common first.

    >>> vocabulary_of(["a film", "a fine film"])
    ('[PAD]', '[UNK]', '[CLS]', '[SEP]', 'a', 'film')
    """
    counts = Counter(word for text in texts for word in words(text))
    kept = sorted((word for word, count in counts.items() if count >= least), key=lambda word: (-counts[word], word))
    return (*SPECIAL, *kept[:most])
