"""Atomic files: written to a temporary name, synced, renamed; digests; JSON.

Whatever changes a file of a run, a cache or a folder of stored answers goes through the operations below, from
``make_folder`` to ``send``. A test can therefore count them and let any one fail.
"""

import contextlib
import errno
import hashlib
import json
import os
import platform
import shutil
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeAlias

from understudy.errors import UserError

if TYPE_CHECKING:
    from pydantic import JsonValue

Buffer: TypeAlias = bytes | memoryview
SCRATCH = "understudy-scratch-"  # prefix of folders that are removed at the end of the process
DIGEST = "digest"  # the key of a JSON object under which its own SHA-256 stands
PART = ".part"
MOST = 256 * 1024**2  # bytes of a JSON file, which is read as a whole
GROWING = 3600  # seconds for which a part of another machine's process may still be in use
_MACHINE = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
_BINARY = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)


# The operations. They are called as attributes of this module (``files.rename``), so that a test can replace them.


def make_folder(path: Path) -> None:
    """Make a folder and those above it, where they are missing."""
    path.mkdir(parents=True, exist_ok=True)


def open_handle(path: Path, flags: int) -> int:
    """A file descriptor; a symbolic link in the file's place is an ``OSError``."""
    return os.open(path, flags | _NOFOLLOW | _BINARY, 0o666)


def write(handle: int, data: Buffer) -> None:
    """All bytes, in as few calls as the system needs."""
    view = memoryview(data)
    if view.nbytes == 0:
        return
    view = view.cast("B")
    while view:
        view = view[os.write(handle, view) :]


def sync(handle: int) -> None:
    """Wait until a file or folder is on the disk."""
    os.fsync(handle)


def truncate(handle: int, length: int) -> None:
    """Cut or extend a file to a length."""
    os.ftruncate(handle, length)


def rename(old: Path, new: Path) -> None:
    """Move a file over another one, or a folder to a free place, at once."""
    os.replace(old, new)


def remove(path: Path) -> None:
    """Remove a file, which may be gone already."""
    path.unlink(missing_ok=True)


def remove_folder(path: Path) -> None:
    """Remove an empty folder; one that is in use stays."""
    with contextlib.suppress(OSError):
        path.rmdir()


def remove_tree(path: Path) -> None:
    """Remove a folder with all that it holds, as far as the system lets it go."""
    shutil.rmtree(path, ignore_errors=True)


def lock(handle: int, *, wait: bool) -> None:
    """Take the lock of an open file; without ``wait``, a ``BlockingIOError`` where another process holds it."""
    import fcntl

    fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def send(pipe: IO[str], line: str) -> None:
    """One line into a pipe."""
    pipe.write(line + "\n")
    pipe.flush()


# What is made of them.


def write_atomically(path: Path, data: bytes | Iterable[Buffer]) -> None:
    """Write the complete file or none: a reader never sees a part, and a full disk keeps the old file.

    ``data`` are the bytes, or an iterable of pieces, so that a large file need not fit in memory.
    Files below a scratch folder are not synced, since nothing reads them after a crash.
    """
    part = path.with_name(f".{path.name}.{owner()}{PART}")
    try:
        make_folder(path.parent)
        with contextlib.suppress(FileNotFoundError):
            part.unlink()
        write_new(part, data)
        rename(part, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise UserError(
            f"cannot write {path}: {error.strerror}. What was saved before is untouched: "
            "make room (or choose another --out) and run the same command again"
        ) from error
    if is_kept(path):
        sync_folder(path.parent)


def write_new(path: Path, data: bytes | Iterable[Buffer]) -> None:
    """A file where there is none yet, synced if it is kept."""
    handle = open_handle(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        for piece in (data,) if isinstance(data, bytes) else data:
            write(handle, piece)
        if is_kept(path):
            sync(handle)
    finally:
        os.close(handle)


def append(path: Path, data: bytes) -> int:
    """Add bytes to the end of a file, synced if it is kept; the file's length from here on."""
    make_folder(path.parent)
    handle = open_handle(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        write(handle, data)
        if is_kept(path):
            sync(handle)
        return os.fstat(handle).st_size
    finally:
        os.close(handle)


def shorten(path: Path, length: int) -> None:
    """Cut a file that is there."""
    handle = open_handle(path, os.O_RDWR)
    try:
        truncate(handle, length)
    finally:
        os.close(handle)


@contextlib.contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[None]:
    """Hold the lock of a file, which is made where it is missing, and never written.

    Raises:
        BlockingIOError: another process holds it, and there is no ``wait``.
    """
    handle = open_handle(path, os.O_RDWR | os.O_CREAT)
    try:
        with contextlib.suppress(ImportError):  # no such locks on this system
            lock(handle, wait=wait)
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Wait for the lock of a folder and hold it; nothing is written into the folder.

    Nothing is held where there are no such locks: Windows opens no folder, and NFS locks nothing that is opened for
    reading alone.
    """
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError, ImportError):
            handle = os.open(folder, os.O_RDONLY)
            held.callback(os.close, handle)
            lock(handle, wait=True)
        yield


def remove_leftovers(folder: Path, *, below: bool = True) -> None:
    """Remove the parts of files whose writers were killed: of this machine, or older than an hour.

    Args:
        below: look into the folders below it, too.
    """
    for part in folder.rglob(f".*{PART}") if below else folder.glob(f".*{PART}"):
        if is_abandoned(part):
            with contextlib.suppress(OSError):
                remove(part)


def owner() -> str:
    """This process on this machine, as it stands in the names of what it has not finished writing."""
    return f"{_MACHINE}-{os.getpid()}"


def is_abandoned(part: Path) -> bool:
    """Whether nobody will finish what has this name: its process is gone, or nothing was written for an hour."""
    machine, _, rest = part.name.removesuffix(PART).rpartition(".")[2].partition("-")
    process = rest.partition("-")[0]
    try:
        if machine == _MACHINE and process.isdigit():
            os.kill(int(process), 0)
        return time.time() - part.lstat().st_mtime > GROWING
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # somebody else's process, or a part that is gone
        return False


def is_kept(path: Path) -> bool:
    """Whether a file outlives the process: it is in no scratch folder."""
    return not any(part.startswith(SCRATCH) for part in path.parts)


def sync_folder(folder: Path) -> None:
    """Make renames within a folder durable, if the system supports it."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            sync(handle)
        finally:
            os.close(handle)


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of(content: Mapping[str, object]) -> str:
    """The SHA-256 of an object as JSON, without its own ``digest``.

    >>> digest_of({"seconds": 3}) == digest_of({"digest": "of another", "seconds": 3})
    True
    """
    others = {key: value for key, value in content.items() if key != DIGEST}
    return hashlib.sha256(json.dumps(others, sort_keys=True).encode()).hexdigest()


def sealed(content: Mapping[str, object]) -> dict[str, object]:
    """An object with its ``digest``, by which damage to its file is seen.

    >>> fits(sealed({"seconds": 3})), fits({**sealed({"seconds": 3}), "seconds": 8})
    (True, False)
    """
    return {**content, DIGEST: digest_of(content)}


def fits(content: Mapping[str, object]) -> bool:
    """Whether an object is as it was sealed; one without a digest cannot be compared, and fits."""
    return DIGEST not in content or content[DIGEST] == digest_of(content)


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write an object as indented JSON, whole or not at all."""
    write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())


def contents(path: Path, most: int = MOST) -> bytes:
    """The bytes of a file that may come from anybody.

    Raises:
        OSError: it is a folder, a pipe or a device, whose bytes may have no end, or larger than ``most`` bytes.
    """
    handle = os.open(path, os.O_RDONLY | _BINARY | getattr(os, "O_NONBLOCK", 0))  # opening a pipe would wait
    with os.fdopen(handle, "rb") as file:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        if about.st_size > most:
            raise OSError(errno.EFBIG, f"it is larger than {most:,} bytes", str(path))
        return file.read(most)


def read_json(path: Path) -> "dict[str, JsonValue] | None":
    """The object in a JSON file; None if the file does not exist or is damaged.

    Raises:
        UserError: the file is there and cannot be read, for lack of permission for instance.
    """
    try:
        content = json.loads(contents(path).decode())
    except (ValueError, RecursionError):
        return None
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    return content if isinstance(content, dict) else None
