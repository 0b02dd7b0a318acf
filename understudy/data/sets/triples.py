"""Triples in files: FB15k-237 in its upstream form, and any folder with ``train``, ``valid`` and ``test``.

A line is head, relation and tail, with tabs between.
"""

import gzip
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from understudy.bounds import Interval
from understudy.data.dataset import Access, Contents, DataSet
from understudy.data.triples import Triples, contents_of
from understudy.errors import UserError
from understudy.tasks.links import Equal

SUFFIXES = (".txt", ".tsv", ".txt.gz", ".tsv.gz")
PARTS = {"train": ("train",), "valid": ("valid", "validation", "dev"), "test": ("test",)}
FB15K237 = {"train": 272_115, "valid": 17_535, "test": 20_466}  # triples of each part, as published
FOLDERS = ("FB15k-237", "FB15K-237", "fb15k237", "FB15K-237.2/Release", "Release", ".")


@dataclass(frozen=True)
class TriplesSettings:
    """How links are learned.

    Args:
        negatives: entities that are drawn for each batch; left out, every entity is scored (1-to-all).
        equal: what counts alike in the loss: ``"queries"``, each with the mean over its tails, or ``"triples"``.
    """

    negatives: Annotated[int, Interval(ge=1, le=1_000_000_000)] | None = None
    equal: Equal = "queries"


def read_fb15k237(settings: TriplesSettings, access: Access) -> Contents:
    """Its three parts; the published numbers of triples are checked."""
    root = access.folder
    folder = next((root / name for name in FOLDERS if _file(root / name, "train") is not None), None)
    if folder is None:
        raise UserError(
            f"{root} holds no FB15k-237 (a folder FB15k-237 with train.txt, valid.txt and test.txt): get it from "
            "https://www.microsoft.com/en-us/download/details.aspx?id=52312 and unpack it there"
        )
    parts = {part: _lines(folder, part) for part in PARTS}
    for part, count in FB15K237.items():
        if access.verify and len(parts[part]) != count:
            raise UserError(
                f"{folder}: {part} has {len(parts[part]):,} triples, and FB15k-237 has {count:,}: get it again, or "
                "name the data set 'triples'"
            )
    return _contents(settings, folder, parts)


def read(settings: TriplesSettings, access: Access) -> Contents:
    """Any folder; the parts for validation and test may be missing."""
    if access.root is None:
        raise UserError("the data set 'triples' needs the folder with train.txt, valid.txt and test.txt: give root")
    if _file(access.root, "train") is None:
        raise UserError(f"{access.root} holds no train.txt (or {', '.join('train' + end for end in SUFFIXES[1:])})")
    parts = {part: _lines(access.root, part) if _file(access.root, part) else [] for part in PARTS}
    return _contents(settings, access.root, parts)


def _contents(settings: TriplesSettings, folder: Path, parts: dict[str, Triples]) -> Contents:
    found = contents_of(
        parts["train"], parts["valid"], parts["test"], negatives=settings.negatives, equal=settings.equal
    )
    return replace(found, facts={"folder": str(folder)})


def _file(folder: Path, part: str) -> Path | None:
    paths = (folder / f"{name}{suffix}" for name in PARTS[part] for suffix in SUFFIXES)
    return next((path for path in paths if path.is_file()), None)


def _lines(folder: Path, part: str) -> Triples:
    path = _file(folder, part)
    if path is None:
        raise UserError(f"{folder} holds no {part}.txt")
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        lines = content.decode("utf-8-sig").split("\n")  # a name may hold a line separator of Unicode
    except (EOFError, UnicodeDecodeError, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is damaged ({error}): delete it and get it again") from error
    found = list[tuple[str, str, str]]()
    for number, line in enumerate(lines if lines[-1].strip() else lines[:-1], 1):
        words = line.split("\t")
        if len(words) != 3 or not all(word.strip() for word in words):
            raise UserError(f"{path}, line {number}: a head, a relation and a tail are expected, with tabs between")
        head, relation, tail = (word.strip() for word in words)
        found.append((head, relation, tail))
    return found


FB15K = DataSet(
    "fb15k237", "triples of Freebase, 272,115 + 17,535 + 20,466, 14,541 entities", read_fb15k237, TriplesSettings
)
TRIPLES = DataSet("triples", "triples of a folder with train.txt, valid.txt and test.txt", read, TriplesSettings)
