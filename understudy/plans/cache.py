"""The cache: finished trainings under the key of what determines their results.

An entry is written under another name, synced and renamed, so that an incomplete one never counts. Every entry is
compared with its digests and its key before use. A damaged entry is set aside and trained again.
"""

import contextlib
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from understudy import files
from understudy.errors import UserError
from understudy.files import sync_folder
from understudy.plans.entry import FILES, RESULT, copy_finished, damaged, finished
from understudy.training.records import TrainingRecord

BLOCK = 1 << 20  # bytes per copy operation


@dataclass(frozen=True)
class Entry:
    """One finished training in the cache."""

    key: str
    folder: Path

    @property
    def record(self) -> TrainingRecord | None:
        """The result; None where it is damaged or of another format."""
        try:
            return finished(self.folder)
        except UserError:
            return None

    @property
    def bytes(self) -> int:
        return sum(path.stat().st_size for path in self.folder.iterdir() if path.is_file())

    @property
    def used(self) -> float:
        """The time of its last use, in seconds since 1970."""
        return self.folder.stat().st_mtime

    def damage(self) -> list[str]:
        """The files that are missing, changed, or of another training than the name of the folder says."""
        try:
            wrong = damaged(self.folder)
        except UserError:  # for instance a folder with its name: useless, but no reason to end a run
            wrong = [RESULT]
        if wrong:
            return wrong
        record = self.record
        return [] if record is not None and record.key == self.key else [f"{RESULT} of another key"]


@dataclass(frozen=True)
class TrainingCache:
    """A folder of finished trainings. Several processes may use it at once, on one machine or over a shared disk."""

    path: Path

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self.record(key) is not None

    def record(self, key: str) -> TrainingRecord | None:
        """The result of a complete entry, as ``take`` would return it; nothing is copied."""
        entry = self._entry(key)
        return None if entry.damage() else entry.record

    def entries(self) -> Iterator[Entry]:
        """All entries; the most recently used one is the last."""
        by_use = {}
        for path in _folders(self.path / "nodes"):
            entry = Entry(path.name, path)
            with contextlib.suppress(FileNotFoundError):  # another process prunes
                by_use[entry.used, entry.key] = entry
        yield from (by_use[used] for used in sorted(by_use))

    def put(self, key: str, training: Path, record: TrainingRecord) -> None:
        """Add the files of a finished training. A complete entry is left as it is."""
        if key in self:
            return
        part = self._part(key)
        try:
            for left in self._abandoned():
                files.remove_tree(left)
            files.make_folder(part)
            for name in FILES & record.digests.keys():
                _copy(training / name, part / name)
            sync_folder(part)
            self._move(part, self._entry(key).folder)
        except OSError as error:
            raise UserError(f"cannot write to the cache {self.path}: {error.strerror}") from error
        finally:
            files.remove_tree(part)

    def take(
        self, key: str, training: Path, name: str, node: dict[str, JsonValue] | None = None
    ) -> tuple[TrainingRecord | None, list[str]]:
        """Copy an entry into a training's folder under ``name``, and return its result and notes.

        None where there is no complete entry.
        """
        entry = self._entry(key)
        if not entry.folder.is_dir():
            return None, []
        wrong = entry.damage()
        if wrong:
            aside = self._set_aside(entry)
            so = f"set aside as {aside}, trained again" if aside else "trained again"
            return None, [f"{entry.folder} is damaged ({', '.join(wrong)}): {so}"]
        record = entry.record
        try:
            taken = copy_finished(entry.folder, record, training, name, node) if record else None
        except FileNotFoundError:  # pruned in the meantime
            taken = None
        if taken is None:
            return None, []
        with contextlib.suppress(OSError):  # a cache that may only be read
            os.utime(entry.folder)
        return taken, []

    def strays(self) -> list[str]:
        """Files among the entries that belong to no entry. They are left alone."""
        return [path.name for path in _inside(self.path / "nodes") if not path.is_dir()]

    def check(self) -> dict[str, list[str]]:
        """The damaged entries: key -> files."""
        damage = {entry.key: entry.damage() for entry in self.entries()}
        return {key: wrong for key, wrong in damage.items() if wrong}

    def prune(self, unused: float | None = None, *, dry_run: bool = False) -> list[str]:
        """Remove damaged and incomplete entries, and those that are ``unused`` for so many seconds.

        Returns the keys and names of what was removed.
        """
        now = time.time()
        old = [e for e in self.entries() if (unused is not None and now - e.used >= unused) or e.damage()]
        left = [*self._abandoned(), *_folders(self.path / "damaged")]
        if not dry_run:
            for entry in old:
                self._remove(entry)
            for path in left:
                files.remove_tree(path)
        return [*(entry.key for entry in old), *(path.name for path in left)]

    def _remove(self, entry: Entry) -> None:
        """Remove an entry. It is renamed first, so that no process reads a part of it."""
        part = self._part(entry.key)
        files.make_folder(part.parent)
        with contextlib.suppress(FileNotFoundError):  # another process has removed it
            files.rename(entry.folder, part)
        files.remove_tree(part)

    def _part(self, key: str) -> Path:
        return self.path / "parts" / f"{key[:16]}.{files.owner()}-{uuid.uuid4().hex}"

    def _abandoned(self) -> list[Path]:
        """Incomplete entries of killed processes."""
        return [part for part in _folders(self.path / "parts") if files.is_abandoned(part)]

    def _entry(self, key: str) -> Entry:
        return Entry(key, self.path / "nodes" / key)

    def _move(self, part: Path, place: Path) -> None:
        files.make_folder(place.parent)
        if place.is_dir() and Entry(place.name, place).damage():
            self._set_aside(Entry(place.name, place))
        try:
            files.rename(part, place)
        except OSError:
            if not place.is_dir():
                raise
        else:
            sync_folder(place.parent)

    def _set_aside(self, entry: Entry) -> Path | None:
        """The new path; None where another process has moved it, or the cache is read-only."""
        aside = self.path / "damaged" / f"{entry.key}.{uuid.uuid4().hex[:8]}"
        try:
            files.make_folder(aside.parent)
            files.rename(entry.folder, aside)
        except OSError:
            return None
        return aside


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as file:
        files.write_new(target, iter(lambda: file.read(BLOCK), b""))


def _folders(folder: Path) -> list[Path]:
    return [path for path in _inside(folder) if path.is_dir()]


def _inside(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []
