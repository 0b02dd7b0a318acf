"""How data sets of texts make token ids: a table of their settings, and the vocabulary or tokenizer that it names."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypedDict

from understudy.bounds import Count, Interval
from understudy.errors import UserError
from understudy.tasks.words import vocabulary_of, words


@dataclass(frozen=True)
class TokenTable:
    """How sentences become token ids.

    Args:
        tokens: ``"words"`` of the training part, ``"wordpiece"`` with the pieces of ``vocabulary``, or
            ``"tokenizer"``, one of Hugging Face's, which the file ``vocabulary`` defines.
        vocabulary: a file with a token in each line (BERT's ``vocab.txt``), or a ``tokenizer.json``.
        length: tokens of a sample, its beginning and end included; the rest is left out. None: as of the data set.
        least: the smallest count in the training part for a word to have its own id.
    """

    tokens: Literal["words", "wordpiece", "tokenizer"] = "words"
    vocabulary: str | None = None
    length: Annotated[int, Interval(ge=3, le=100_000)] | None = None
    least: Count = 2


class Tokens(TypedDict, total=False):
    """The fields of a task that say how a text becomes tokens."""

    vocabulary: tuple[str, ...]
    tokenizer: str


def tokens_of(
    table: TokenTable, called: str, texts: Sequence[str], *, split: Callable[[str], list[str]] = words
) -> Tokens:
    """The vocabulary or the tokenizer: those of a file, or the words of the texts.

    >>> tokens_of(TokenTable(least=1), "mine", ["a film"])["vocabulary"][-2:]
    ('a', 'film')
    """
    if (table.tokens == "words") != (table.vocabulary is None):
        raise UserError(
            f"{called}: tokens = 'wordpiece' and vocabulary = FILE (a token in each line) belong together, as "
            "do tokens = 'tokenizer' and vocabulary = FILE (a tokenizer.json)"
        )
    if table.vocabulary is None:
        return {"vocabulary": vocabulary_of(texts, least=table.least, split=split)}
    path = Path(table.vocabulary).expanduser()
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"vocabulary {path} cannot be read: {error}") from error
    if table.tokens == "tokenizer":
        return {"tokenizer": content}
    return {"vocabulary": tuple(content.removesuffix("\n").split("\n"))}  # a token may be a line separator of Unicode
