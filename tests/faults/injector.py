"""One fault in one process: an operation of ``understudy.files`` fails, or the process is killed right after it.

A place is an operation, the file at which it is done, and which time it is done there; process ids and other names
that differ from run to run are left out. ``record`` writes down every place that a command passes.
"""

import errno
import json
import os
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from understudy import files

Kind = Literal["error", "full", "kill"]
KINDS: tuple[Kind, ...] = ("error", "full", "kill")
OPERATIONS = (
    "make_folder",
    "open_handle",
    "write",
    "sync",
    "truncate",
    "rename",
    "remove",
    "remove_folder",
    "remove_tree",
    "lock",
    "send",
)
NEEDS_ROOM = ("make_folder", "open_handle", "write", "sync", "truncate")  # what a full disk refuses
NEVER_RAISE = ("remove_folder", "remove_tree")  # an error leaves everything as it is
DATABASE = ("create_new_trial", "set_trial_state_values", "set_trial_intermediate_value", "set_trial_user_attr")


@dataclass(frozen=True, order=True)
class Place:
    """Where a fault may strike."""

    role: str  # "main" or "worker"
    operation: str
    path: str  # below the folder of the scenario
    time: int  # 0: the first time that this is done there

    @property
    def kind_of_file(self) -> str:
        """The path without what numbers the trainings, trials, epochs and pictures."""
        text = re.sub(r"\.part\b", "", self.path)
        text = re.sub(r"\d{12}\.checkpoint", "N.checkpoint", text)
        text = re.sub(r"(trainings|checkpoints)/[^/]+", r"\1/NAME", text)
        text = re.sub(r"trials/\d+", "trials/N", text)
        text = re.sub(r"(nodes|parts|damaged)/[^/]+", r"\1/KEY", text)
        text = re.sub(r"stored/[^/]+", "stored/TEACHER", text)
        return re.sub(r"-\d{7}\.answers|\d+\.png|[a-z-]+\.svg", lambda found: "N" + Path(found[0]).suffix, text)


@dataclass(frozen=True)
class Fault:
    """A place and what happens there, once."""

    place: Place
    kind: Kind


class Injector:
    """Replaces the operations of ``understudy.files`` in this process and in those that it forks.

    Args:
        root: the folder of the scenario.
        control: a folder beside it: the places that were passed, and whether the fault has struck.
        fault: what is to happen; None only records.
    """

    def __init__(self, root: Path, control: Path, fault: Fault | None):
        self.root, self.control, self.fault = root, control, fault
        self.role = "main"
        self.times: dict[tuple[str, str], int] = {}
        self.real: dict[str, Callable[..., Any]] = {}
        self.trace = os.open(control / "trace.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def install(self) -> None:
        for name in OPERATIONS:
            self.real[name] = getattr(files, name)
            setattr(files, name, self._wrapped(name, self.real[name]))

    def watch_database(self) -> None:
        """The transactions of a search for settings, which SQLite writes and not this package."""
        from optuna.storages import RDBStorage

        for name in DATABASE:
            setattr(RDBStorage, name, self._wrapped("transaction", getattr(RDBStorage, name)))

    def as_worker(self) -> None:
        """Called in a forked worker."""
        self.role, self.times = "worker", {}

    def _wrapped(self, operation: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def instead(*args: Any, **options: Any) -> Any:
            place = self._place(operation, args)
            struck = place is not None and self._strikes(place)
            if struck and self.fault is not None and self.fault.kind == "kill":
                answer = real(*args, **options)
                del answer
                os.kill(os.getpid(), signal.SIGKILL)
            if struck and self.fault is not None and self.fault.kind == "error":
                if operation in NEVER_RAISE:
                    return None
                raise self._error(operation, errno.EIO)
            if place is not None and self._is_full() and self._needs_room(operation, args):
                if operation == "write":  # as far as the room goes
                    os.write(args[0], memoryview(args[1]).cast("B")[: memoryview(args[1]).nbytes // 2])
                raise self._error(operation, errno.ENOSPC)
            return real(*args, **options)

        return instead

    def _place(self, operation: str, args: tuple[Any, ...]) -> Place | None:
        """The place of a call, which is written down; None outside of the scenario's folder."""
        path = self._path(operation, args)
        if path is None:
            return None
        time = self.times.get((operation, path), 0)
        self.times[operation, path] = time + 1
        place = Place(self.role, operation, path, time)
        os.write(self.trace, (json.dumps(place.__dict__) + "\n").encode())
        return place

    def _path(self, operation: str, args: tuple[Any, ...]) -> str | None:
        if operation == "transaction":
            return "trials.sqlite"
        if operation == "send":
            return "pipe"
        path = args[1] if operation == "rename" else args[0]
        if isinstance(path, int):
            path = os.readlink(f"/proc/self/fd/{path}").removesuffix(" (deleted)")
        absolute = os.path.abspath(path)
        if not absolute.startswith(f"{self.root}{os.sep}"):
            return None
        relative = os.path.relpath(absolute, self.root)
        relative = re.sub(r"\.[0-9a-f]{8}-\d+(?:-[0-9a-f]{32})?(\.part)?(?=/|$)", r"\1", relative)
        return re.sub(r"\.[0-9a-f]{8}(?=/|$)", "", relative)

    def _strikes(self, place: Place) -> bool:
        """Whether this is the place, for the first time in all processes."""
        if self.fault is None or place != self.fault.place:
            return False
        try:
            os.close(os.open(self.control / "struck", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            return False
        return True

    def _is_full(self) -> bool:
        """From the place of the fault on, in all processes of this command."""
        return self.fault is not None and self.fault.kind == "full" and (self.control / "struck").exists()

    def _needs_room(self, operation: str, args: tuple[Any, ...]) -> bool:
        if operation == "make_folder":
            return not Path(args[0]).is_dir()
        if operation == "open_handle":
            return not Path(args[0]).exists()
        return operation in (*NEEDS_ROOM, "transaction")

    def _error(self, operation: str, number: int) -> Exception:
        if operation != "transaction":
            return OSError(number, os.strerror(number))
        from optuna.exceptions import StorageInternalError

        return StorageInternalError("(sqlite3.OperationalError) database or disk is full")
