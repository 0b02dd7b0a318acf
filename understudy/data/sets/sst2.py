"""SST-2, one of GLUE's tasks, under its own name: ``SST-2/train.tsv`` and ``dev.tsv``, which is the test part here."""

from dataclasses import asdict, dataclass
from typing import Annotated, Literal

from understudy.bounds import Count, Interval
from understudy.data.dataset import Access, Contents, DataSet
from understudy.data.sets.glue import GlueSettings
from understudy.data.sets.glue import read as read_glue


@dataclass(frozen=True)
class SST2Settings:
    """How sentences become token ids.

    Args:
        length: tokens of a sentence, its beginning and end included; the rest is left out.
        tokens: ``"words"`` of the training part, ``"wordpiece"`` with the pieces of ``vocabulary``, or
            ``"tokenizer"``, one of Hugging Face's, which the file ``vocabulary`` defines.
        vocabulary: a file with a token in each line (BERT's ``vocab.txt``), or a ``tokenizer.json``.
        least: the smallest count in the training part for a word to have its own id.
    """

    length: Annotated[int, Interval(ge=3, le=100_000)] = 40
    tokens: Literal["words", "wordpiece", "tokenizer"] = "words"
    vocabulary: str | None = None
    least: Count = 2


def read(settings: SST2Settings, access: Access) -> Contents:
    """Reads the training sentences; the development sentences are read on first use."""
    return read_glue(GlueSettings("sst2", **asdict(settings)), access)


SST2 = DataSet("sst2", "sentences of film reviews, 67,349 + 872, negative or positive", read, SST2Settings)
