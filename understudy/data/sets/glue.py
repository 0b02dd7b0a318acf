"""GLUE's nine tasks in their published form: a folder for each with ``train.tsv``, ``dev.tsv`` and ``test.tsv``.

The development part is the test part here, since GLUE's own test parts have no labels. ``SUBSETS`` says where texts and
labels stand in the files.
"""

import warnings
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import torch

from understudy.bounds import Count, Interval
from understudy.data.dataset import Access, Contents, DataSet, problems_of, unpacked
from understudy.data.sources import InMemory
from understudy.data.token_tables import TokenTable, tokens_of
from understudy.errors import UserError
from understudy.tasks.text import Metric, Text
from understudy.tasks.text_scores import TextScores
from understudy.tasks.words import OF, by_tables, cut_off, of_table

Name = Literal["cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli"]


@dataclass(frozen=True)
class Subset:
    """One of GLUE's tasks, and the form of its files.

    Args:
        folder: the name of its folder.
        classes: their names; none: the target is a number.
        texts: the columns of its one or two texts in the training and the development part.
        label: the column of the label there.
        unlabelled: the columns of its texts in the test part, whose first column is the number of the sample.
        labels: how the files write the classes, if they do not write their names.
        metrics: of the benchmark; the first one selects.
        header: whether training and development part begin with a line of names.
        files: the names of its submissions, each for a test part.
        dev: the names of the development parts.
    """

    folder: str
    classes: tuple[str, ...]
    texts: tuple[int, ...]
    label: int
    unlabelled: tuple[int, ...]
    labels: tuple[str, ...] = ()
    metrics: tuple[Metric, ...] = ("accuracy",)
    header: bool = True
    files: tuple[str, ...] = ()
    dev: tuple[str, ...] = ("dev",)

    @property
    def pairs(self) -> bool:
        return len(self.texts) == 2

    @property
    def written(self) -> tuple[str, ...]:
        """The classes as the files write them."""
        return self.labels or self.classes


ENTAILED = ("entailment", "not_entailment")
SUBSETS: dict[str, Subset] = {
    "cola": Subset(
        "CoLA", ("unacceptable", "acceptable"), (3,), 1, (1,), ("0", "1"), ("matthews",), False, ("CoLA.tsv",)
    ),
    "sst2": Subset("SST-2", ("negative", "positive"), (0,), 1, (1,), ("0", "1"), files=("SST-2.tsv",)),
    "mrpc": Subset(
        "MRPC",
        ("not_equivalent", "equivalent"),
        (3, 4),
        0,
        (3, 4),
        ("0", "1"),
        ("f1", "accuracy"),
        files=("MRPC.tsv",),
    ),
    "stsb": Subset("STS-B", (), (7, 8), -1, (7, 8), files=("STS-B.tsv",)),
    "qqp": Subset(
        "QQP", ("not_duplicate", "duplicate"), (3, 4), 5, (1, 2), ("0", "1"), ("f1", "accuracy"), files=("QQP.tsv",)
    ),
    "mnli": Subset(
        "MNLI",
        ("entailment", "neutral", "contradiction"),
        (8, 9),
        -1,
        (8, 9),
        files=("MNLI-m.tsv", "MNLI-mm.tsv"),
        dev=("dev_matched", "dev_mismatched"),
    ),
    "qnli": Subset("QNLI", ENTAILED, (1, 2), -1, (1, 2), files=("QNLI.tsv",)),
    "rte": Subset("RTE", ENTAILED, (1, 2), -1, (1, 2), files=("RTE.tsv",)),
    "wnli": Subset("WNLI", ENTAILED[::-1], (1, 2), -1, (1, 2), ("0", "1"), files=("WNLI.tsv",)),
}
LARGEST_SCORE = 5.0  # of STS-B


@dataclass(frozen=True)
class GlueSettings:
    """Which of GLUE's tasks, and how its sentences become token ids.

    Args:
        subset: the task.
        length, tokens, vocabulary, least: as of ``TokenTable``, of the networks that name no table of their own.
        mismatched: of ``mnli``, measure on the development part of other genres.
        token_tables: further ones, by the names by which networks choose them (``token_table``).
    """

    subset: Name
    length: Annotated[int, Interval(ge=3, le=100_000)] = 64
    tokens: Literal["words", "wordpiece", "tokenizer"] = "words"
    vocabulary: str | None = None
    least: Count = 2
    mismatched: bool = False
    token_tables: Mapping[str, TokenTable] = field(default_factory=dict)


Task = Text | TextScores


def read(settings: GlueSettings, access: Access) -> Contents:
    """Reads the training part; the development part is read on first use."""
    subset = SUBSETS[settings.subset]
    wrong = [name for name in settings.token_tables if not name or OF in name]
    if wrong:
        raise UserError(f"{settings.subset}: token_tables: {wrong[0]!r} is no name: give one without {OF!r}")
    if settings.mismatched and len(subset.dev) == 1:
        raise UserError(f"{settings.subset}: mismatched is a setting of 'mnli' alone: leave it out")
    folder = _folder(access.folder, subset)
    texts, labels, skipped = samples(folder, "train", subset)
    own = TokenTable(settings.tokens, settings.vocabulary, settings.length, settings.least)
    task = _task(own, settings, subset, texts, labels)
    tables = {name: _task(table, settings, subset, texts, labels) for name, table in settings.token_tables.items()}
    inputs = by_tables(task, tables, texts)
    facts: dict[str, object] = {"folder": str(folder)} | ({"skipped": skipped} if skipped else {})
    if cut := cut_off(task, texts, inputs):
        facts["texts cut off"] = cut
    train = InMemory(inputs, _targets(labels, subset))
    test = partial(_test, folder, settings, subset, task, tables)
    problems = problems_of(partial(samples, folder, _measured(settings, subset), subset))
    return Contents(train, test, task=task, facts=facts, token_tables=tables, problems=problems)


def _measured(settings: GlueSettings, subset: Subset) -> str:
    """The development part that is the test part here."""
    return subset.dev[-1 if settings.mismatched else 0]


def _task(
    table: TokenTable, settings: GlueSettings, subset: Subset, texts: Sequence[str], labels: Sequence[str]
) -> Task:
    tokens, length = tokens_of(table, settings.subset, texts), table.length or settings.length
    if subset.classes:
        return Text(
            subset.classes,
            length=length,
            tokens=table.tokens,
            pairs=subset.pairs,
            metrics=subset.metrics,
            **tokens,
        )
    spread = round(torch.tensor([float(label) for label in labels]).double().std(correction=0).item(), 6)
    return TextScores(
        ("score",),
        (spread if spread > 1e-6 else 1.0,),
        length=length,
        tokens=table.tokens,
        pairs=subset.pairs,
        **tokens,
    )


def _test(folder: Path, settings: GlueSettings, subset: Subset, task: Task, tables: Mapping[str, Task]) -> InMemory:
    part = _measured(settings, subset)
    texts, labels, _ = samples(folder, part, subset)
    inputs = by_tables(task, tables, texts)
    for name, table in {"": task, **tables}.items():
        if cut := cut_off(table, texts, of_table(inputs, name)):
            where = f"{part}.tsv: {cut:,} of {len(texts):,} texts have more than {table.length} tokens"
            of = f" by the token table {name!r}" if name else ""
            warnings.warn(f"{where}{of}, and their ends are left out: raise length", stacklevel=2)
    return InMemory(inputs, _targets(labels, subset))


def _targets(labels: Sequence[str], subset: Subset) -> torch.Tensor:
    if not subset.classes:
        return torch.tensor([[float(label)] for label in labels])
    return torch.tensor([subset.written.index(label) for label in labels])


def _folder(root: Path, subset: Subset) -> Path:
    short = subset.folder.lower().replace("-", "")
    for name in (subset.folder, short, f"GLUE/{subset.folder}", f"glue/{subset.folder}", "."):
        if _file(root / name, "train") is not None:
            return root / name
    raise UserError(
        f"{root} holds no {subset.folder} (a folder {subset.folder} with train.tsv and {subset.dev[0]}.tsv, or both as "
        f".tsv.gz): get it from https://gluebenchmark.com/tasks and unpack it there"
    )


def _file(folder: Path, part: str) -> Path | None:
    return next((path for suffix in ("tsv", "tsv.gz") if (path := folder / f"{part}.{suffix}").is_file()), None)


def samples(folder: Path, part: str, subset: Subset) -> tuple[list[str], list[str], int]:
    """The texts of a part with their labels, and how many lines were skipped; the texts of a pair have a tab between.

    Published files of QQP have lines with too few columns, which are skipped, and two questions without text, which are
    kept, both as in Hugging Face's reader.
    """
    path = _file(folder, part)
    if path is None:
        raise UserError(f"{folder} holds no {part}.tsv")
    texts, labels, skipped = list[str](), list[str](), 0
    first, lines = 1 if subset.header else 0, _columns(path)
    if first and len(lines[0]) > max(subset.texts) and _is_label(lines[0][subset.label].strip(), subset):
        raise UserError(f"{path}, line 1 is a sample, and the names of the columns are expected there")
    for number, columns in enumerate(lines[first:], first + 1):
        try:
            chosen, label = [columns[place].strip() for place in subset.texts], columns[subset.label].strip()
        except IndexError:
            if subset.folder == "QQP":
                skipped += 1
                continue
            chosen, label = [], ""
        if not any(chosen) or not _is_label(label, subset):  # one text of a pair may be empty
            known = " or ".join(subset.written) or f"a number from 0 to {LARGEST_SCORE:g}"
            places = ", ".join(str(place + 1) for place in subset.texts)
            raise UserError(f"{path}, line {number}: a text in column {places} and a label, {known}, are expected")
        texts.append("\t".join(chosen))
        labels.append(label)
    return texts, labels, skipped


def unlabelled(path: Path, subset: Subset) -> list[tuple[str, str]]:
    """The number and the text of each sample of a test part."""
    found = list[tuple[str, str]]()
    for number, columns in enumerate(_columns(path)[1:], 2):
        if len(columns) <= max(subset.unlabelled) or not columns[0].isdecimal():
            places = ", ".join(str(place + 1) for place in subset.unlabelled)
            raise UserError(f"{path}, line {number}: the sample's number and a text in column {places} are expected")
        found.append((columns[0], "\t".join(columns[place].strip() for place in subset.unlabelled)))
    return found


def _is_label(label: str, subset: Subset) -> bool:
    if subset.classes:
        return label in subset.written
    try:
        return 0.0 <= float(label) <= LARGEST_SCORE
    except ValueError:
        return False


def _columns(path: Path) -> list[list[str]]:
    """The columns of every line; quotes are part of the texts."""
    try:
        content = unpacked(path) if path.suffix == ".gz" else path.read_bytes()
        text = content.decode("utf-8")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, zlib.error) as error:
        raise UserError(f"{path} is damaged ({error}): delete it and get it again") from error
    return [line.rstrip("\r").split("\t") for line in text.rstrip("\n").split("\n")]


GLUE = DataSet("glue", "one of GLUE's tasks of English sentences and pairs, by its `subset`", read, GlueSettings)
