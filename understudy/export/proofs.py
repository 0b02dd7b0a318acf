"""``proof.json``: what was measured of the exported files beside it, and the SHA-256 of each."""

import warnings
from pathlib import Path

from understudy.errors import UserError
from understudy.files import DIGEST, fits, locked_folder, read_json, sealed, sha256, write_json
from understudy.models.student import WEIGHTS

PROOFS = "proof.json"


def read_proofs(folder: Path) -> dict[str, object]:
    """The records of a folder by the names of their files; empty where nothing was exported.

    The file may come from anybody: a name that leads out of the folder makes it a damaged one.
    """
    path = folder / PROOFS
    content = read_json(path)
    if content is None and not path.exists():
        return {}
    if content is None or not fits(content) or any(Path(name).name != name for name in content):
        raise UserError(f"{path} is damaged: remove it, and export again")
    return {name: record for name, record in content.items() if name != DIGEST}


def add_proof(folder: Path, name: str, record: dict[str, object]) -> str | None:
    """Add the record of a file. A damaged ``proof.json`` begins anew, and what is answered says so.

    Several exports into one folder wait for one another, so that none loses the record of another.
    """
    note = None
    with locked_folder(folder):
        try:
            known = read_proofs(folder)
        except UserError:
            known, note = {}, f"{folder / PROOFS} was damaged and begins anew: export the other files again"
        write_json(folder / PROOFS, sealed(known | {name: record}))
    return note


def check_exported(path: Path) -> None:
    """A ``UserError`` if an exported file is not the one that the ``proof.json`` beside it speaks of.

    A file of another student than the one beside it, which a run has replaced since, is a warning. One that was taken
    away from its proof is read as it is.
    """
    record = read_proofs(path.parent).get(path.name)
    if isinstance(record, dict):
        check_file(path, str(record.get("sha256", "")))
        weights = path.parent / WEIGHTS
        if weights.is_file() and record.get("student") != sha256(weights):
            warnings.warn(f"{path} was made of another student than {weights}: export it again", stacklevel=3)


def check_file(path: Path, digest: str) -> None:
    """A ``UserError`` if there is a file and it has another SHA-256; an empty one fits every file."""
    if digest and path.is_file() and sha256(path) != digest:
        raise UserError(f"{path} is damaged: its bytes are not those that were exported and proved. Export it again")
