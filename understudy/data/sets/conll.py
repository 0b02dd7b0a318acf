"""Tags of words in CoNLL's columns: CoNLL-2003 in its upstream form, and any folder with files of this form.

A line is a word and its columns with blanks or tabs between, the tag in one of them; a blank line ends a sentence. All
lines of a file have as many columns.
"""

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import torch

from understudy.bounds import Count, Interval
from understudy.data.dataset import Access, Contents, DataSet, problems_of
from understudy.data.sources import InMemory
from understudy.data.token_tables import TokenTable, tokens_of
from understudy.errors import UserError, did_you_mean, nearest
from understudy.tasks.tags import NO_WORD, OUTSIDE, Tags, entities

FILES = {
    "train": ("eng.train", "train.txt", "train.conll", "train.bio"),
    "validation": ("eng.testa", "valid.txt", "dev.txt", "testa.txt", "valid.conll", "dev.conll"),
    "test": ("eng.testb", "test.txt", "testb.txt", "test.conll", "test.bio"),
}
FOLDERS = ("conll2003", "CoNLL-2003", "CoNLL2003", "conll-2003", ".")
DOCUMENT = "-DOCSTART-"  # a line that begins a document, and is no sentence
RARE = 100  # a kind so many times rarer than one that is written almost alike may be a misspelling
Sentence = tuple[list[str], list[str]]  # words and tags


@dataclass(frozen=True)
class ConllSettings:
    """Which column is learned, and how words become token ids.

    Args:
        column: of the tags, counted from 0, or from the end by negative numbers: 1 and 2 are parts of speech and
            chunks in CoNLL-2003, the last one entities.
        scheme: ``"bio"`` for entities or chunks (marks of the form IOB1 are read as BIO), ``"plain"`` for other tags.
        length: tokens of a sentence, its beginning and end included; words after them are left out.
        tokens: ``"words"`` of the training part, ``"wordpiece"`` with the pieces of ``vocabulary``, or
            ``"tokenizer"``, one of Hugging Face's, which the file ``vocabulary`` defines.
        vocabulary: a file with a token in each line (BERT's ``vocab.txt``), or a ``tokenizer.json``.
        least: the smallest count in the training part for a word to have its own id.
    """

    column: Annotated[int, Interval(ge=-100, le=100)] = -1
    scheme: Literal["bio", "plain"] = "bio"
    length: Annotated[int, Interval(ge=3, le=100_000)] = 128
    tokens: Literal["words", "wordpiece", "tokenizer"] = "words"
    vocabulary: str | None = None
    least: Count = 2


def read(settings: ConllSettings, access: Access) -> Contents:
    """Reads training and validation part; the test part is read on first use."""
    folder = next((access.folder / name for name in FOLDERS if _files(access.folder / name, "train")), None)
    if folder is None:
        raise UserError(
            f"{access.folder} holds no sentences in CoNLL's columns (a file {', '.join(FILES['train'])}); those of "
            "CoNLL-2003 are made by https://www.clips.uantwerpen.be/conll2003/ner/"
        )
    train = sentences(_files(folder, "train")[0], settings)
    texts = [" ".join(words) for words, _ in train]
    table = TokenTable(settings.tokens, settings.vocabulary, settings.length, settings.least)
    tags = Counter(tag for _, of_words in train for tag in of_words)
    task = Tags(
        _classes(tags, settings),
        length=settings.length,
        tokens=settings.tokens,
        scheme=settings.scheme,
        commonest_share=round(max(tags.values()) / tags.total(), 4),
        **tokens_of(table, "conll", texts, split=lambda text: text.lower().split(" ")),
    )
    source, cut = _source(train, task, "the training part")
    held = [_measured(path, settings, task) for path in _files(folder, "validation")]
    facts: dict[str, object] = {"folder": str(folder)} | ({"words cut off": cut} if cut else {})
    test = _files(folder, "test")
    open_test = partial(_measured, test[0], settings, task) if test else None
    return Contents(
        source,
        open_test,
        task=task,
        problems=problems_of(open_test) if open_test else None,
        facts=facts,
        validation=held[0] if held else None,
    )


def _classes(tags: Counter[str], settings: ConllSettings) -> tuple[str, ...]:
    """The tags in the order of their numbers; of each kind of entity both marks, also where one of them is rare."""
    if settings.scheme == "plain":
        return tuple(sorted(tags))
    kinds = Counter[str]()
    for tag in tags.keys() - {OUTSIDE}:
        kinds[tag.partition("-")[2]] += tags[tag]
    if not kinds:
        raise UserError(f"column {settings.column} of the training part holds no entity, only {OUTSIDE!r}")
    for kind, count in kinds.items():
        for other in nearest(kind, kinds.keys() - {kind}, 1):
            if RARE * count < kinds[other]:
                words = f"{count:,} words of the training part, {other!r} of {kinds[other]:,}"
                warnings.warn(f"{kind!r} is the entity of {words}: is it misspelt?", stacklevel=2)
    return (OUTSIDE, *(f"{mark}-{kind}" for kind in sorted(kinds) for mark in "BI"))


def _measured(path: Path, settings: ConllSettings, task: Tags) -> InMemory:
    """A part on which a network is measured."""
    found = sentences(path, settings)
    source, cut = _source(found, task, str(path))
    if cut:
        every = sum(len(words) for words, _ in found)
        text = f"{path}: {cut:,} of {every:,} words are past the {task.length} tokens of a sentence"
        warnings.warn(f"{text} and are not measured: raise length", stacklevel=2)
    return source


def _source(found: Sequence[Sentence], task: Tags, called: str) -> tuple[InMemory, int]:
    """Inputs and targets, and how many words are cut off."""
    inputs, places = task.aligned([words for words, _ in found])
    numbers = {tag: number for number, tag in enumerate(task.classes)}
    targets, cut = torch.full((len(found), task.length), NO_WORD), 0
    for row, (_, tags), of_words in zip(targets, found, places, strict=True):
        for tag, place in zip(tags, of_words, strict=True):
            if tag not in numbers:
                raise UserError(
                    f"{called}: tag {tag!r} is in no sentence of the training part{did_you_mean(tag, numbers)}"
                )
            cut += place < 0
            if place >= 0:
                row[place] = numbers[tag]
    return InMemory(inputs, targets), cut


def sentences(path: Path, settings: ConllSettings) -> list[Sentence]:
    """The words and tags of each sentence of a file; entities in BIO."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # a word may hold a line separator of Unicode
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    found, words, tags, width = list[Sentence](), list[str](), list[str](), None
    for number, line in enumerate([*lines, ""], 1):
        columns = [column for column in line.replace("\t", " ").split(" ") if column]  # a word may hold other spaces
        if not columns or columns[0] == DOCUMENT:
            if words:
                found.append((words, _bio(tags, path, number) if settings.scheme == "bio" else tags))
            words, tags = [], []
            continue
        place = settings.column + (len(columns) if settings.column < 0 else 0)
        if not 0 < place < len(columns):
            raise UserError(f"{path}, line {number}: a word and a tag in column {settings.column} are expected")
        width = width or len(columns)
        if len(columns) != width:
            raise UserError(f"{path}, line {number} has {len(columns)} columns, and the lines before it have {width}")
        words.append(columns[0])
        tags.append(columns[place])
    if not found:
        raise UserError(f"{path} holds no sentence")
    return found


def _bio(tags: Sequence[str], path: Path, number: int) -> list[str]:
    """Tags in BIO, where a file may have them in IOB1: ``B-`` only between entities of one kind."""
    for tag in tags:
        if tag != OUTSIDE and not tag.startswith(("B-", "I-")):
            raise UserError(
                f"{path}, the sentence before line {number}: tag {tag!r} is none of O, B-KIND and I-KIND: for other "
                "tags set scheme = 'plain'"
            )
    written = [OUTSIDE] * len(tags)
    for kind, first, last in entities(tags):
        written[first : last + 1] = [f"B-{kind}", *([f"I-{kind}"] * (last - first))]
    return written


def _files(folder: Path, part: str) -> list[Path]:
    """The file of a part, if there is one."""
    return [path for name in FILES[part] if (path := folder / name).is_file()][:1]


CONLL = DataSet("conll", "tags of words in CoNLL's columns, as of CoNLL-2003's entities", read, ConllSettings)
