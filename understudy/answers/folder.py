"""The folder of one teacher's answers to the views of one data set, with a description of what they depend on."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from torch import nn

from understudy.answers.encoding import Form, read_form
from understudy.errors import UserError
from understudy.files import DIGEST, fits, read_json, remove_leftovers, sealed, write_atomically, write_json
from understudy.models import fingerprints
from understudy.taps import inner

DESCRIPTION = "store.json"
FORMAT = 2
WORDS = {  # names of differences in messages
    "teacher": "the teacher's weights or layers",
    "data": "the data",
    "augmentation": "the augmentation",
    "seed": "the seed of the views",
    "mixed": "the samples that are mixed with one another",
    "precision": "the precision",
    "device": "the kind of device",
    "channels_last": "the memory format",
    "compiled": "the compilation",
    "format": "the version of the files",
}

FOLLOWS = {"seed": {"augmentation"}, "mixed": {"augmentation", "data"}}  # differences that follow from other ones


class AnswerFolder:
    """The folder of one teacher's answers, with the form of each value.

    Args:
        folder: contains stores, one folder each; trainings and runs may share it.
        belongs: everything that the answers depend on: the teacher, the data, the views, the arithmetic.
        teacher: the folder is named after its type.
        fill: False only reads.
        note: told what was damaged and is written again.
    """

    def __init__(
        self,
        folder: Path,
        belongs: Mapping[str, object],
        teacher: nn.Module,
        *,
        fill: bool = True,
        note: Callable[[str], None] = lambda _: None,
    ):
        self.belongs = _as_read(belongs)
        self.path = _place(folder, self.belongs, teacher)
        self.teacher, self.fill, self.note = teacher, fill, note
        self._look()

    def sibling(self, others: Mapping[str, object]) -> "AnswerFolder":
        """A folder beside it for answers that depend on these values instead."""
        return AnswerFolder(self.path.parent, self.belongs | dict(others), self.teacher, fill=self.fill, note=self.note)

    def form(self, value: str) -> Form | None:
        """The form of a value in its files; None if there are none yet, or if its description is damaged."""
        described = _json(self.path / f"{value}.json")
        try:
            return None if described is None else read_form(described)
        except (KeyError, TypeError, AttributeError):  # damaged: its files are written again
            return None

    def claim(self, value: str, form: Form) -> None:
        """Write the form of a value, before its first file is written."""
        write_atomically(self.path / f"{value}.json", json.dumps(sealed(form.describe())).encode())

    def file(self, value: str, view: int) -> Path:
        return self.path / f"{value}-{view:07d}.answers"

    def _look(self) -> None:
        """See that the folder belongs to these answers, or make it."""
        path = self.path / DESCRIPTION
        there = _json(path)
        if there is None and path.exists():
            if not self.fill:
                raise UserError(
                    f"{path} is damaged, and nothing is to be added (fill = false): with fill = true it is written "
                    "again, and the answers beside it are used"
                )
            self.note(f"{path} is damaged: written again; the answers beside it have checksums of their own")
        if there is not None and there != self.belongs:
            raise UserError(
                f"{self.path} holds answers that do not belong here: they {_differing(there, self.belongs)}. "
                "Remove that folder, or choose another one for stored answers"
            )
        if there is None and not self.fill:
            raise UserError(f"{self.path.parent} holds no answers that belong here: {self._nearest()}")
        if there is None:
            write_json(path, sealed(self.belongs))
        if self.fill:
            remove_leftovers(self.path, below=False)

    def _nearest(self) -> str:
        nearest = _nearest(self.path.parent, self.belongs)
        return f"the nearest are those of {_told(*nearest, self.belongs)}" if nearest else "it is empty"


def has_others(folder: Path) -> bool:
    """Whether the folder contains stores."""
    return next(_others(folder), None) is not None


def missed_by_one(folder: Path, belongs: Mapping[str, object], teacher: nn.Module) -> str | None:
    """If there is no store for these answers: the store that differs in a single thing, and that thing."""
    belongs = _as_read(belongs)
    nearest = _nearest(folder, belongs)
    if nearest is None or _place(folder, belongs, teacher).exists():
        return None
    keys = _keys(nearest[1], belongs)
    of_themselves = [key for key in keys if not FOLLOWS.get(key, set()) & set(keys)]
    return _told(*nearest, belongs) if len(of_themselves) == 1 else None


def _as_read(belongs: Mapping[str, object]) -> dict[str, object]:
    """The description as it is read back from its file: the range of a crop is a list then, and no tuple."""
    described: dict[str, object] = json.loads(json.dumps({"format": FORMAT, **belongs}))
    return described


def _place(folder: Path, belongs: Mapping[str, object], teacher: nn.Module) -> Path:
    name = fingerprints.brief(f"{key}={value}" for key, value in sorted(belongs.items()))
    return folder / f"{type(inner(teacher)).__name__}-{name}"


def _nearest(folder: Path, belongs: Mapping[str, object]) -> tuple[Path, dict[str, object]] | None:
    return min(_others(folder), key=lambda other: len(_keys(other[1], belongs)), default=None)


def _told(path: Path, there: Mapping[str, object], wanted: Mapping[str, object]) -> str:
    return f"{path.name}, which {_differing(there, wanted)}"


def _others(folder: Path) -> Iterator[tuple[Path, dict[str, object]]]:
    for path in sorted(folder.glob(f"*/{DESCRIPTION}")):
        description = _json(path)
        if description is not None:
            yield path.parent, description


def _keys(there: Mapping[str, object], wanted: Mapping[str, object]) -> list[str]:
    return [key for key in {**wanted, **there} if there.get(key) != wanted.get(key)]


def _differing(there: Mapping[str, object], wanted: Mapping[str, object]) -> str:
    differences = [f"{WORDS.get(key, key)}{_both(there.get(key), wanted.get(key))}" for key in _keys(there, wanted)]
    return f"differ in {' and in '.join(differences)}"


def _both(there: object, wanted: object) -> str:
    """The two values, where they can be read."""
    long = any(isinstance(value, str) and len(value) > 32 for value in (there, wanted))
    return "" if long else f" (there: {there}, here: {wanted})"


def _json(path: Path) -> dict[str, object] | None:
    """The content of a file as it was written; None where there is no such file or it is damaged."""
    content = read_json(path)
    if content is None or not fits(content):
        return None
    return {key: value for key, value in content.items() if key != DIGEST}
