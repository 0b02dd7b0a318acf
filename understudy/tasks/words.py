"""Texts as token ids and a mask: vocabularies, words and WordPiece; shared by the tasks of texts."""

import re
from collections import Counter
from collections.abc import Iterable
from functools import cached_property

import torch
from torch import Tensor

from understudy.errors import UserError
from understudy.nested import Shape

PAD, UNKNOWN, START, END = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
SPECIAL = (PAD, UNKNOWN, START, END)
IDS, MASK = "input_ids", "attention_mask"
LONGEST = 100  # characters of a word; a longer one is unknown, as in BERT's tokenizer
_WORDS = re.compile(r"\w+|[^\w\s]", re.UNICODE)


class Words:
    """What tasks of texts share: the encoding by their fields ``vocabulary``, ``length``, ``tokens`` and ``pairs``.

    >>> issubclass(understudy.tasks.Text, Words)
    True
    """

    vocabulary: tuple[str, ...]
    length: int
    tokens: str
    pairs: bool

    def check_words(self) -> None:
        """A ``UserError`` if no text can be encoded."""
        least = 5 if self.pairs else 3
        if self.length < least:
            one = "one token of each of both" if self.pairs else "one token at least"
            raise UserError(f"length = {self.length}: a text has {START}, {END} and {one}")
        for token in SPECIAL:
            if token not in self.vocabulary:
                raise UserError(f"the vocabulary has no {token}: it needs {', '.join(SPECIAL)}")

    def sizes(self, shape: Shape) -> tuple[int, ...]:
        """The number of different tokens, and of positions."""
        return len(self.vocabulary), self.length

    def encode(self, texts: Iterable[str]) -> dict[str, Tensor]:
        """Texts as a batch of inputs: ``input_ids`` and ``attention_mask``, both (N, length).

        The two texts of a pair are separated by a tab.
        """
        rows = [self._ids(text) for text in texts]
        pad = self._token_ids[PAD]
        return {
            IDS: torch.tensor([row + [pad] * (self.length - len(row)) for row in rows], dtype=torch.int64),
            MASK: torch.tensor([[1] * len(row) + [0] * (self.length - len(row)) for row in rows], dtype=torch.int64),
        }

    def _ids(self, text: str) -> list[int]:
        numbers = self._token_ids
        if not self.pairs:
            return [numbers[START], *self._numbers_of(text, self.length - 2), numbers[END]]
        first, tab, second = text.partition("\t")
        if not tab:
            raise UserError(f"{text[:40]!r} is one text: the two texts of a pair are separated by a tab")
        room = self.length - 3
        ours, others = self._numbers_of(first, room), self._numbers_of(second, room)
        while len(ours) + len(others) > room:  # from the end of the longer one, as BERT's example code does
            (ours if len(ours) > len(others) else others).pop()
        return [numbers[START], *ours, numbers[END], *others, numbers[END]]

    def _numbers_of(self, text: str, most: int) -> list[int]:
        """The numbers of the first tokens of a text."""
        numbers, unknown = self._token_ids, self._token_ids[UNKNOWN]
        ids: list[int] = []
        for word in words(text):
            ids += self._pieces(word) if self.tokens == "wordpiece" else [numbers.get(word, unknown)]
            if len(ids) >= most:
                break
        return ids[:most]

    def _pieces(self, word: str) -> list[int]:
        """The longest pieces of the vocabulary from left to right; a word that cannot be made of them is unknown."""
        numbers, pieces, start = self._token_ids, list[int](), 0
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
    def _token_ids(self) -> dict[str, int]:
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
