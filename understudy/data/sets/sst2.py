"""SST-2 in GLUE's form: ``SST-2/train.tsv``, ``dev.tsv`` (the test part here, since GLUE's own has no labels)."""

import zlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import torch

from understudy.bounds import Count, Interval
from understudy.data.dataset import Access, Contents, DataSet, unpacked
from understudy.data.sources import InMemory
from understudy.errors import UserError
from understudy.tasks.text import Text, vocabulary_of

CLASSES = ("negative", "positive")
FOLDERS = ("SST-2", "sst2", ".")


@dataclass(frozen=True)
class SST2Settings:
    """How sentences become token ids.

    Args:
        length: tokens of a sentence, its beginning and end included; the rest is left out.
        tokens: ``"words"`` of the training part, or ``"wordpiece"`` with the pieces of ``vocabulary``.
        vocabulary: a file with a token in each line (BERT's ``vocab.txt``).
        least: the smallest count in the training part for a word to have its own id.
    """

    length: Annotated[int, Interval(ge=3, le=100_000)] = 40
    tokens: Literal["words", "wordpiece"] = "words"
    vocabulary: str | None = None
    least: Count = 2


def read(settings: SST2Settings, access: Access) -> Contents:
    """Reads the training sentences; the development sentences are read on first use."""
    folder = _folder(access.folder)
    sentences, labels = _lines(folder, "train")
    if (settings.tokens == "wordpiece") != (settings.vocabulary is not None):
        raise UserError("sst2: tokens = 'wordpiece' and vocabulary = FILE (a token in each line) belong together")
    if settings.vocabulary is not None:
        tokens = tuple(Path(settings.vocabulary).expanduser().read_text(encoding="utf-8").splitlines())
    else:
        tokens = vocabulary_of(sentences, least=settings.least)
    task = Text(CLASSES, tokens, settings.length, settings.tokens)
    train = InMemory(task.encode(sentences), torch.tensor(labels))
    return Contents(train, partial(_source, folder, "dev", task), task=task, facts={"folder": str(folder)})


def _source(folder: Path, part: str, task: Text) -> InMemory:
    sentences, labels = _lines(folder, part)
    return InMemory(task.encode(sentences), torch.tensor(labels))


def _folder(root: Path) -> Path:
    for name in FOLDERS:
        if _file(root / name, "train") is not None:
            return root / name
    raise UserError(
        f"{root} holds no SST-2 (a folder SST-2 with train.tsv and dev.tsv, or both as .tsv.gz): get it from "
        "https://dl.fbaipublicfiles.com/glue/data/SST-2.zip and unpack it there"
    )


def _file(folder: Path, part: str) -> Path | None:
    return next((path for suffix in ("tsv", "tsv.gz") if (path := folder / f"{part}.{suffix}").is_file()), None)


def _lines(folder: Path, part: str) -> tuple[list[str], list[int]]:
    path = _file(folder, part)
    if path is None:
        raise UserError(f"{folder} holds no {part}.tsv")
    try:
        content = unpacked(path) if path.suffix == ".gz" else path.read_bytes()
        lines = content.decode("utf-8").rstrip("\n").split("\n")[1:]  # without the names of the columns
    except (UnicodeDecodeError, zlib.error) as error:
        raise UserError(f"{path} is damaged ({error}): delete it and get it again") from error
    sentences, labels = list[str](), list[int]()
    for number, line in enumerate(lines, 2):
        sentence, _, label = line.rstrip("\r").rpartition("\t")
        if label not in ("0", "1") or not sentence.strip():
            raise UserError(f"{path}, line {number}: a sentence, a tab and 0 or 1 are expected")
        sentences.append(sentence.strip())
        labels.append(int(label))
    return sentences, labels


SST2 = DataSet("sst2", "sentences of film reviews, 67,349 + 872, negative or positive", read, SST2Settings)
