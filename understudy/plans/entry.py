"""A finished training: a folder whose result is written last and holds the SHA-256 of every other file."""

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path

from pydantic import JsonValue, ValidationError

from understudy.errors import UserError
from understudy.files import read_json, sha256, write_atomically
from understudy.models import student as product
from understudy.training import metrics
from understudy.training.records import TrainingRecord

METRICS, RESULT, LAST = "metrics.jsonl", "result.json", "student-last.safetensors"
FILES = frozenset({METRICS, RESULT, LAST, product.WEIGHTS, product.DESCRIPTION})  # the files of a finished training
SETTLED = 2.0  # seconds after which a changed file has another time stamp
_DIGESTS: dict[Path, tuple[tuple[int, int, int, int], str]] = {}


def finish(folder: Path, record: TrainingRecord) -> TrainingRecord:
    """Write the result with the digests of all files and its own. From then on the training counts as done."""
    digests = {path.name: sha256(path) for path in sorted(folder.iterdir()) if _counts(path)}
    record = record.model_copy(update={"digests": digests})
    record = record.model_copy(update={"digests": {**digests, RESULT: _digest(record.content())}})
    write_atomically(folder / RESULT, record.text().encode())
    return record


def finished(folder: Path) -> TrainingRecord | None:
    """The result of a finished training; None where there is none, or an unreadable one.

    One of another format is a ``UserError``.
    """
    content = read_json(folder / RESULT)
    if content is None:
        return None
    if content.get("format") != TrainingRecord.FORMAT:
        raise UserError(
            f"{folder / RESULT} is of format {content.get('format')}, and this version of understudy reads format "
            f"{TrainingRecord.FORMAT}: choose another --out, or remove {folder} to train it again"
        )
    if not (folder / product.WEIGHTS).exists():
        return None
    try:
        return TrainingRecord.model_validate(content)
    except ValidationError:  # as ``damaged`` says
        return None


def remains(folder: Path) -> str | None:
    """The damage of a folder with parts of a finished training; None where there are no parts.

    A training writes its result last, so one that is unfinished may have written its other files.
    """
    weights, result = (folder / product.WEIGHTS).exists(), (folder / RESULT).exists()
    if weights and not result:
        return f"{RESULT} is missing"
    if result and not weights:
        return f"{product.WEIGHTS} is missing"
    return RESULT if result and finished(folder) is None else None


def damaged(folder: Path) -> list[str]:
    """The files of a finished training whose content has changed.

    A result may come from an untrusted source. Only names of a training's files are joined to a path.
    """
    record = whole(folder)
    if record is None:
        return [RESULT]
    return [name for name, digest in record.digests.items() if name != RESULT and not _is(folder / name, digest)]


def whole(folder: Path) -> TrainingRecord | None:
    """The result of a folder, if it is unchanged and names no other files than those of a training."""
    content = read_json(folder / RESULT)
    try:
        record = TrainingRecord.model_validate(content)
    except ValidationError:
        return None
    if content is None or not record.digests.keys() <= FILES or content.get("format") != TrainingRecord.FORMAT:
        return None
    return record if record.digests.get(RESULT) == _digest(content) else None


def _digest(content: Mapping[str, JsonValue]) -> str:
    """The digest of a result without this field."""
    digests = content.get("digests")
    others = {name: digest for name, digest in digests.items() if name != RESULT} if isinstance(digests, dict) else {}
    return hashlib.sha256(json.dumps({**content, "digests": others}, sort_keys=True).encode()).hexdigest()


def copy_finished(
    source: Path, record: TrainingRecord, target: Path, name: str, node: dict[str, JsonValue] | None = None
) -> TrainingRecord:
    """The same training in another folder under ``name``; its node may have another spelling."""
    for file in record.digests:
        if file == METRICS:
            renamed = [epoch.model_copy(update={"training": name}) for epoch in metrics.read(source / METRICS)]
            write_atomically(target / METRICS, "".join(epoch.line() for epoch in renamed).encode())
        elif file in FILES - {RESULT}:
            write_atomically(target / file, (source / file).read_bytes())
    return finish(target, record.model_copy(update={"training": name} | ({"node": node} if node else {})))


def _is(path: Path, digest: str) -> bool:
    try:
        return path.is_file() and not path.is_symlink() and _remembered(path) == digest
    except FileNotFoundError:  # of a cache that another process prunes
        return False
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error


def _remembered(path: Path) -> str:
    """The SHA-256 of a file, computed once in a process as long as the file is the same.

    One that was written a moment ago is hashed again, since it may change once more without another time stamp.
    """
    about = path.stat()
    state = about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns
    known = _DIGESTS.get(path)
    if known is not None and known[0] == state:
        return known[1]
    digest = sha256(path)
    if time.time() - about.st_mtime > SETTLED:
        _DIGESTS[path] = state, digest
    return digest


def _counts(path: Path) -> bool:
    return path.name in FILES - {RESULT} and path.is_file()
