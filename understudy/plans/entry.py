"""What a finished training leaves: a folder whose result, written last, knows the SHA-256 of every other file."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from understudy.errors import UserError
from understudy.files import read_json, sha256, write_atomically, write_json
from understudy.models import student as product

METRICS, RESULT, LAST = "metrics.jsonl", "result.json", "student-last.safetensors"
FILES = frozenset({METRICS, RESULT, LAST, product.WEIGHTS, product.DESCRIPTION})  # all that a training leaves
FORMAT = 1


def finish(folder: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    """Write the result, with the digests of all files and its own: from now on, the training counts as done."""
    whole = {
        "format": FORMAT,
        **record,
        "digests": {path.name: sha256(path) for path in sorted(folder.iterdir()) if _counts(path)},
    }
    whole["digests"][RESULT] = _own_digest(whole)
    write_json(folder / RESULT, whole)
    return whole


def finished(folder: Path) -> dict[str, Any] | None:
    """The result of a training that is done, or None; one of another format is a ``UserError``."""
    record = read_json(folder / RESULT)
    if record is not None and record.get("format") != FORMAT:
        raise UserError(
            f"{folder / RESULT} is of format {record.get('format')}, and this version of understudy reads format "
            f"{FORMAT}: choose another --out, or remove {folder} to train it again"
        )
    return record if record is not None and (folder / product.WEIGHTS).exists() else None


def remains(folder: Path) -> str | None:
    """What is wrong with a folder that holds parts of a finished training; None where there is nothing of one.

    A training writes its result last: one that is under way may have left its other files.
    """
    weights, result = (folder / product.WEIGHTS).exists(), (folder / RESULT).exists()
    if weights and not result:
        return f"{RESULT} is missing"
    if result and not weights:
        return f"{product.WEIGHTS} is missing"
    return RESULT if result and read_json(folder / RESULT) is None else None


def damaged(folder: Path, record: Mapping[str, Any]) -> list[str]:
    """The files of a finished training whose bytes are not those that were written.

    A record may come from anybody. Names of other files than a training leaves are never joined to a path.
    """
    if not is_whole(record):
        return [RESULT]
    digests: Mapping[str, str] = record["digests"]
    return [name for name, digest in digests.items() if name != RESULT and not _is(folder / name, digest)]


def is_whole(record: Mapping[str, Any]) -> bool:
    """Whether a result is as it was written, and names no other files than a training leaves."""
    digests = record.get("digests")
    if not isinstance(digests, dict) or not digests.keys() <= FILES or record.get("format") != FORMAT:
        return False
    return digests.get(RESULT) == _own_digest(record)


def _own_digest(record: Mapping[str, Any]) -> str:
    others = {name: digest for name, digest in (record.get("digests") or {}).items() if name != RESULT}
    return hashlib.sha256(json.dumps({**record, "digests": others}, sort_keys=True).encode()).hexdigest()


def copy_finished(
    source: Path, record: Mapping[str, Any], target: Path, name: str, node: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The same training in another folder, where it is called ``name`` and may be spelled in another way."""
    told = {**record, "training": name, **({"node": node} if node else {})}
    for file in told.pop("digests"):
        if file in FILES - {RESULT}:
            content = (source / file).read_bytes()
            write_atomically(target / file, _renamed(content, name) if file == METRICS else content)
    return finish(target, told)


def _is(path: Path, digest: str) -> bool:
    try:
        return path.is_file() and not path.is_symlink() and sha256(path) == digest
    except FileNotFoundError:  # of a cache that another process prunes
        return False
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error


def _counts(path: Path) -> bool:
    return path.name in FILES - {RESULT} and path.is_file()


def _renamed(log: bytes, training: str) -> bytes:
    """The lines of a log under another training's name."""
    lines = [json.loads(line) | {"training": training} for line in log.decode().splitlines()]
    return "".join(json.dumps(line) + "\n" for line in lines).encode()
