"""Texts as token ids and a mask: words, WordPiece, and tokenizers of Hugging Face; shared by the tasks of texts."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, TypeVar

import torch
from torch import Tensor

from understudy.errors import OptionalPackageError, UserError, did_you_mean
from understudy.nested import Nested, Shape

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from understudy.tasks.text import Text
    from understudy.tasks.text_scores import TextScores

PAD, UNKNOWN, START, END = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
SPECIAL = (PAD, UNKNOWN, START, END)
IDS, MASK = "input_ids", "attention_mask"
OF = ":"  # between the name of a token table and that of a tensor that was made by it
PADDING = (PAD, "<pad>", "<|endoftext|>")  # tokens that tokenizers pad with
MASKS = ("[MASK]", "<mask>")  # tokens that stand for others
UNKNOWNS = (UNKNOWN, "<unk>")
LONGEST = 100  # characters of a word; a longer one is unknown, as in BERT's tokenizer
_WORDS = re.compile(r"\w+|[^\w\s]", re.UNICODE)


class Words:
    """The encoding that tasks of texts share: by their fields ``vocabulary``, ``length``, ``tokens``, ``pairs`` and
    ``tokenizer``.

    >>> issubclass(understudy.tasks.Text, Words)
    True
    """

    vocabulary: tuple[str, ...]
    length: int
    tokens: str
    pairs: bool
    tokenizer: str
    whole_words: ClassVar[bool] = False  # whether a text is words with blanks between, each with tokens of its own

    def check_words(self) -> None:
        """A ``UserError`` if no text can be encoded."""
        least = 5 if self.pairs else 3
        if self.length < least:
            one = "one token of each of both" if self.pairs else "one token at least"
            raise UserError(f"length = {self.length}: a text has {START}, {END} and {one}")
        if (self.tokens == "tokenizer") != bool(self.tokenizer):
            raise UserError("tokens = 'tokenizer' and tokenizer = the text of a tokenizer.json belong together")
        for token in () if self.tokenizer else SPECIAL:
            if token not in self.vocabulary:
                raise UserError(f"the vocabulary has no {token}: it needs {', '.join(SPECIAL)}")

    def check_vocabulary(self) -> None:
        """A ``UserError`` if every word is unknown, as to the task of samples that were given as token ids alone."""
        if not self.tokenizer and not set(self.vocabulary) - {*SPECIAL, *MASKS}:
            raise UserError(
                "the task has no vocabulary, and every word of a text would be unknown: give the task of the data the "
                "vocabulary or the tokenizer that made their tokens"
            )

    def sizes(self, shape: Shape) -> tuple[int, ...]:
        """The number of different tokens, and of positions; a ``UserError`` where samples have more or fewer."""
        given = shape.get(IDS) if isinstance(shape, dict) else None
        if isinstance(given, tuple) and len(given) == 1 and given != (self.length,):
            raise UserError(
                f"each sample has {given[0]} tokens ({IDS}), and the task makes {self.length} of a text, for predict "
                f"and exported files, too: give the task length = {given[0]}"
            )
        return self.token_count, self.length

    @cached_property
    def token_count(self) -> int:
        """The number of different tokens; of a tokenizer whose numbers have gaps the largest number and one."""
        return max(self._tokenizer.get_vocab().values()) + 1 if self.tokenizer else len(self.vocabulary)

    @property
    def padding_id(self) -> int:
        """The number of the token at the places behind a text."""
        return self._padding if self.tokenizer else self._token_ids[PAD]

    @cached_property
    def special_ids(self) -> list[int]:
        """The numbers of the tokens that are no part of a text, such as its beginning and end."""
        if not self.tokenizer:
            return [self._token_ids[token] for token in (PAD, START, END)]
        added, ordinary = self._tokenizer.get_added_tokens_decoder(), (*MASKS, *UNKNOWNS)
        marked = {number for number, token in added.items() if token.special and token.content not in ordinary}
        empty = self._tokenizer.encode("", "") if self.pairs else self._tokenizer.encode("")
        around = {number for number, special in zip(empty.ids, empty.special_tokens_mask, strict=True) if special}
        return sorted(marked | around)  # a tokenizer puts tokens around a text that it need not mark as special

    @cached_property
    def mask_id(self) -> int:
        """The number of the token that stands for masked ones; a ``UserError`` if there is none."""
        if not self.tokenizer:
            return self._token_ids.get(MASKS[0], self._token_ids[UNKNOWN])
        known = (self._tokenizer.token_to_id(token) for token in MASKS)
        found = next((number for number in known if number is not None), None)
        if found is None:
            raise UserError(f"tokens: the tokenizer has no {' and no '.join(MASKS)}: set mask = 0, and drop or span")
        return found

    def reordered(self, targets: Nested, order: Tensor, filled: Tensor) -> Nested:
        """Targets of texts whose tokens moved: ``order`` are their former places, ``filled`` those that hold one."""
        return targets

    def encode(self, texts: Iterable[str]) -> dict[str, Tensor]:
        """Texts as a batch of inputs: ``input_ids`` and ``attention_mask``, both (N, length).

        The two texts of a pair are separated by a tab.
        """
        if self.whole_words:
            return self.aligned([text.split() for text in texts])[0]
        if self.tokenizer:
            return self._padded(self._by_tokenizer(list(texts)), self._padding)
        return self._padded([self._ids(text) for text in texts], self._token_ids[PAD])

    def aligned(self, sentences: Sequence[Sequence[str]]) -> tuple[dict[str, Tensor], list[list[int]]]:
        """Sentences of words as a batch of inputs, and the place of each word's first token, -1 where it is cut off."""
        rows, places = list[list[int]](), list[list[int]]()
        if self.tokenizer:
            pad = self._padding
            given = [list(sentence) for sentence in sentences]
            for sentence, encoding in zip(
                given, self._tokenizer.encode_batch(given, is_pretokenized=True), strict=True
            ):
                firsts: dict[int | None, int] = {}
                for place, number in enumerate(encoding.word_ids):
                    firsts.setdefault(number, place)
                rows.append(encoding.ids)
                places.append([firsts.get(number, -1) for number in range(len(sentence))])
        else:
            numbers, pad = self._token_ids, self._token_ids[PAD]
            for given_words in sentences:
                ids, found = [numbers[START]], list[int]()
                for word in given_words:
                    pieces = self._of_word(word)
                    fits = len(ids) + len(pieces) < self.length and -1 not in found
                    found.append(len(ids) if fits else -1)
                    ids += pieces if fits else []
                rows.append([*ids, numbers[END]])
                places.append(found)
        return self._padded(rows, pad), places

    def _of_word(self, word: str) -> list[int]:
        """The tokens of one word: one, or its pieces."""
        if self.tokens == "words":
            return [self._token_ids.get(word.lower(), self._token_ids[UNKNOWN])]
        return [piece for part in words(word) for piece in self._pieces(part)] or [self._token_ids[UNKNOWN]]

    def _padded(self, rows: Sequence[list[int]], pad: int) -> dict[str, Tensor]:
        return {
            IDS: torch.tensor([row + [pad] * (self.length - len(row)) for row in rows], dtype=torch.int64),
            MASK: torch.tensor([[1] * len(row) + [0] * (self.length - len(row)) for row in rows], dtype=torch.int64),
        }

    def _by_tokenizer(self, texts: list[str]) -> list[list[int]]:
        """The token ids of each text by the tokenizer's own rules, special tokens included."""
        given = [_both(text) for text in texts] if self.pairs else texts
        return [encoding.ids for encoding in self._tokenizer.encode_batch(given)]

    @cached_property
    def _padding(self) -> int:
        """The id of padding among a tokenizer's own."""
        known = (self._tokenizer.token_to_id(token) for token in PADDING)
        return next((number for number in known if number is not None), 0)

    def _ids(self, text: str) -> list[int]:
        numbers = self._token_ids
        if not self.pairs:
            return [numbers[START], *self._numbers_of(text, self.length - 2), numbers[END]]
        first, second = _both(text)
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
    def _tokenizer(self) -> "Tokenizer":
        try:
            from tokenizers import Tokenizer
        except ModuleNotFoundError as error:
            raise OptionalPackageError("tokenizers", "transformers", "tokens = 'tokenizer'") from error
        try:
            tokenizer = Tokenizer.from_str(_blank_before_words(self.tokenizer) if self.whole_words else self.tokenizer)
        except Exception as error:  # the library raises nothing more special
            raise UserError(f"this is no tokenizer.json of Hugging Face's tokenizers: {error}") from error
        tokenizer.no_padding()
        tokenizer.enable_truncation(self.length)  # the longest text first
        return tokenizer

    @cached_property
    def _token_ids(self) -> dict[str, int]:
        return {token: number for number, token in enumerate(self.vocabulary)}


def _blank_before_words(tokenizer: str) -> str:
    """The text of a tokenizer that takes words by themselves as it takes them within a text, after a blank.

    Byte-level tokenizers (GPT-2's, RoBERTa's) have other tokens for a word without a blank before it.
    """
    described = json.loads(tokenizer)
    step = described.get("pre_tokenizer") or {}
    for each in step.get("pretokenizers", [step]):
        if each.get("type") == "ByteLevel":
            each["add_prefix_space"] = True
    return json.dumps(described)


def _both(text: str) -> tuple[str, str]:
    """The two texts of a pair."""
    first, tab, second = text.partition("\t")
    if not tab:
        raise UserError(f"{text[:40]!r} is one text: the two texts of a pair are separated by a tab")
    return first, second


V = TypeVar("V")


def by_tables(task: Words, tables: Mapping[str, Words], texts: Iterable[str]) -> dict[str, Tensor]:
    """Texts as a batch of inputs: those of the task, and by each further token table those of its name.

    >>> task = understudy.tasks.Text(("bad", "good"), length=4)
    >>> sorted(by_tables(task, {"large": task}, ["fine"]))
    ['attention_mask', 'input_ids', 'large:attention_mask', 'large:input_ids']
    """
    texts = list(texts)
    further = {
        f"{name}{OF}{key}": value for name, table in tables.items() for key, value in table.encode(texts).items()
    }
    return task.encode(texts) | further


def cut_off(task: "Text | TextScores", texts: Sequence[str], inputs: Mapping[str, Tensor]) -> int:
    """How many texts have more tokens than the task's ``length``, so that their ends are not among their inputs.

    >>> task = understudy.tasks.Text(("bad", "good"), length=4)
    >>> texts = ["fine", "a fine film", "so fine"]
    >>> cut_off(task, texts, task.encode(texts))
    1
    """
    full = inputs[MASK].all(1).nonzero().flatten().tolist()
    if not full:
        return 0
    longer = replace(task, length=task.length + 1)
    return int(longer.encode([texts[index] for index in full])[MASK].all(1).sum())


def of_table(inputs: Mapping[str, V], table: str = "") -> dict[str, V]:
    """The inputs of one token table under their plain names; by default those of the task.

    Where there are none of a table, the inputs are those of a network alone, whose names are plain already.

    >>> both = {"input_ids": 1, "large:input_ids": 2}
    >>> of_table(both), of_table(both, "large"), of_table({"input_ids": 3}, "large")
    ({'input_ids': 1}, {'input_ids': 2}, {'input_ids': 3})
    """
    begins = f"{table}{OF}"
    own = {name.removeprefix(begins): value for name, value in inputs.items() if table and name.startswith(begins)}
    if table and not own and (known := tables_of(inputs)):
        raise UserError(f"the inputs have no tokens of the table {table!r}{did_you_mean(table, known)}")
    return own or {name: value for name, value in inputs.items() if OF not in name}


def tables_of(inputs: object) -> set[str]:
    """The names of the further token tables by which inputs were made."""
    return {name.partition(OF)[0] for name in inputs if OF in name} if isinstance(inputs, Mapping) else set()


def words(text: str) -> list[str]:
    """The words and signs of a text, in lower case.

    >>> words("It's fine.")
    ['it', "'", 's', 'fine', '.']
    """
    return _WORDS.findall(text.lower())


def vocabulary_of(
    texts: Iterable[str],
    *,
    least: int = 2,
    most: int | None = None,
    split: Callable[[str], list[str]] = words,
) -> tuple[str, ...]:
    """The special tokens, and every word that stands at least ``least`` times in the texts, the most common first.

    ``split`` makes words of a text: by default words and signs, in lower case.

    >>> vocabulary_of(["a film", "a fine film"])
    ('[PAD]', '[UNK]', '[CLS]', '[SEP]', 'a', 'film')
    """
    counts = Counter(word for text in texts for word in split(text))
    kept = sorted((word for word, count in counts.items() if count >= least), key=lambda word: (-counts[word], word))
    return (*SPECIAL, *kept[:most])
