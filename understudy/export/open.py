"""A student, however it comes: a run folder, or a file that was exported."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from understudy.errors import UserError
from understudy.export.format import Format
from understudy.export.proofs import check_exported
from understudy.models import student as product
from understudy.models.description import Description, parsed


@dataclass(frozen=True)
class Student:
    """A network that answers batches of images between 0 and 1 with logits, and its description."""

    network: nn.Module
    description: Description


def open_student(path: Path, trust: Collection[str] = ()) -> Student:
    """The student of a folder or a file; ``trust`` names code that may run: a module, or a file of such a format."""
    format_ = _format_of(path)
    if format_ is None:
        return Student(product.load(path, trust=trust), product.read(path))
    if format_.runs_code and str(path) not in trust:
        raise UserError(
            f"{path} may run code of whoever made it when it is opened: if you trust it, add --trust {path}; "
            "a folder or an ONNX file needs no trust"
        )
    check_exported(path)
    opened = format_.open(path)
    return Student(opened.network, parsed(opened.description, str(path)))


def needs_trust(path: Path) -> str | None:
    """What needs trust: a module of the user, a file that runs code, or nothing."""
    format_ = _format_of(path)
    if format_ is None:
        return product.read(path).module
    return str(path) if format_.runs_code else None


def _format_of(path: Path) -> Format | None:
    from understudy.export import FORMATS

    if path.is_dir():
        return None
    if not path.exists():
        raise UserError(f"there is no student {path}: name a run folder, or a file that was exported")
    for format_ in FORMATS.values():
        if path.name.endswith(format_.suffix):
            return format_
    suffixes = ", ".join(sorted({format_.suffix for format_ in FORMATS.values()}))
    raise UserError(f"{path} is no student: name a run folder, or a file that ends in {suffixes}")
