"""SST-2, one of GLUE's tasks, under its own name: ``SST-2/train.tsv`` and ``dev.tsv``, which is the test part here."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Literal

from understudy.bounds import Count, Interval
from understudy.data.dataset import Access, Contents, DataSet
from understudy.data.sets.glue import GlueSettings
from understudy.data.sets.glue import read as read_glue
from understudy.data.token_tables import TokenTable


@dataclass(frozen=True)
class SST2Settings:
    """How sentences become token ids.

    Args:
        length, tokens, vocabulary, least, token_tables: as of the data set ``glue``.
    """

    length: Annotated[int, Interval(ge=3, le=100_000)] = 64
    tokens: Literal["words", "wordpiece", "tokenizer"] = "words"
    vocabulary: str | None = None
    least: Count = 2
    token_tables: Mapping[str, TokenTable] = field(default_factory=dict)


def read(settings: SST2Settings, access: Access) -> Contents:
    """Reads the training sentences; the development sentences are read on first use."""
    return read_glue(
        GlueSettings("sst2", **{each.name: getattr(settings, each.name) for each in fields(settings)}), access
    )


SST2 = DataSet("sst2", "sentences of film reviews, 67,349 + 872, negative or positive", read, SST2Settings)
