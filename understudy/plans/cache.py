"""The cache: finished trainings by the key of what determines them, so that nothing is trained twice.

An entry is written beside its place, synced and renamed: a half-written one never counts. Whatever is taken out is
compared with its digests and its key first; a damaged entry is set aside, and trained again.
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

BLOCK = 1 << 20  # bytes that are copied at once


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
        """When it was put here or last taken, in seconds since 1970."""
        return self.folder.stat().st_mtime

    def damage(self) -> list[str]:
        """The files that are missing, not as they were written, or of another training than the folder is called by."""
        try:
            wrong = damaged(self.folder)
        except UserError:  # a folder in its place, for instance: of no use, and nothing that ends a run
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
        """The result of a training that is here and whole, as ``take`` would find it; nothing is copied."""
        entry = self._entry(key)
        return None if entry.damage() else entry.record

    def entries(self) -> Iterator[Entry]:
        """All of them, the latest used last."""
        by_use = {}
        for path in _folders(self.path / "nodes"):
            entry = Entry(path.name, path)
            with contextlib.suppress(FileNotFoundError):  # another process prunes
                by_use[entry.used, entry.key] = entry
        yield from (by_use[used] for used in sorted(by_use))

    def put(self, key: str, training: Path, record: TrainingRecord) -> None:
        """Add a finished training's files; an entry that is there and whole stays."""
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
        """Copy an entry into a training's folder, where it is called ``name``; returns its result and notes.

        None where there is no such entry, or none that is whole.
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
        except FileNotFoundError:  # pruned a moment ago
            taken = None
        if taken is None:
            return None, []
        with contextlib.suppress(OSError):  # a cache that may only be read
            os.utime(entry.folder)
        return taken, []

    def strays(self) -> list[str]:
        """Files among the entries that are none of them: somebody else's, and left alone."""
        return [path.name for path in _inside(self.path / "nodes") if not path.is_dir()]

    def check(self) -> dict[str, list[str]]:
        """The damaged entries: key -> files."""
        damage = {entry.key: entry.damage() for entry in self.entries()}
        return {key: wrong for key, wrong in damage.items() if wrong}

    def prune(self, unused: float | None = None, *, dry_run: bool = False) -> list[str]:
        """Remove what is damaged, set aside or half-written, and what is ``unused`` for so many seconds.

        Answers with the keys and names of what was removed.
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
        """Out of sight first, at once, so that nobody takes half of it."""
        part = self._part(entry.key)
        files.make_folder(part.parent)
        with contextlib.suppress(FileNotFoundError):  # another process was quicker
            files.rename(entry.folder, part)
        files.remove_tree(part)

    def _part(self, key: str) -> Path:
        return self.path / "parts" / f"{key[:16]}.{files.owner()}-{uuid.uuid4().hex}"

    def _abandoned(self) -> list[Path]:
        """What killed processes left half-written."""
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
        """Where it is now; None where another process was quicker, or the cache may only be read."""
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
