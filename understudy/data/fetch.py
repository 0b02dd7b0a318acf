"""A data set's published files: downloaded with pooch, checked by their SHA-256, never half there."""

import os
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from understudy.data.dataset import Access, file_hash
from understudy.errors import UserError
from understudy.printable import shown

if TYPE_CHECKING:
    from requests import Response

Progress = Callable[[str, int, int | None], None]

SCHEMES = ("https://",)  # whose certificates are verified
LARGEST = 2_000_000_000  # bytes of a download
_CHUNK = 1 << 20
_TIMEOUT = 30  # seconds without an answer


@dataclass(frozen=True)
class Remote:
    """A published file: its address, its hash, and further addresses of the same file.

    Args:
        url: the address.
        hash: ``sha256:...``, or ``md5:...`` if no SHA-256 was published.
        mirrors: addresses that are tried in turn if the first one does not answer.

    >>> Remote("https://example.org/set/images.gz", "sha256:00").name
    'images.gz'
    """

    url: str
    hash: str
    mirrors: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.url.rsplit("/", 1)[-1]

    @property
    def checksum(self) -> str:
        """The hash as messages show it."""
        return self.hash.replace(":", " ")


def provide(remote: Remote, path: Path, access: Access) -> None:
    """Make sure that ``path`` exists: an existing file is left alone, a missing one downloaded if that is allowed."""
    if path.exists():
        return
    if not access.download:
        raise UserError(f"there is no {path}: get {remote.url} ({remote.checksum}) and put it there")
    download(remote, path, access)


def provide_members(
    remote: Remote, folder: Path, names: Iterable[str], access: Access, also: Iterable[str] = ()
) -> None:
    """Ensure that an archive's files are in ``folder``; an archive beside the folder is unpacked.

    ``also`` names files that are unpacked along with the others if the archive holds them.
    """
    missing = [name for name in names if not (folder / name).exists()]
    if not missing:
        return
    archive = folder.parent / remote.name
    otherwise = f", or its unpacked files into {folder}"
    if not archive.exists() and not access.download:
        raise UserError(
            f"there is no {folder / missing[0]}: get {remote.url} ({remote.checksum}) and put it at {archive}"
            f"{otherwise}"
        )
    there_before = archive.exists()
    if there_before:
        _check_archive(archive, remote)
    else:
        download(remote, archive, access, otherwise)
    unpack(archive, folder, missing, also)
    if not there_before:
        archive.unlink()


def download(remote: Remote, path: Path, access: Access, otherwise: str = "") -> None:
    """Download a file, from the first of its addresses that answers; it takes its name when its hash is right."""
    new_folder = not path.parent.exists()
    _make_folder(path.parent)
    failures = []
    for url in (remote.url, *remote.mirrors):
        reason = _retrieved(url, remote, path, access.progress)
        if reason is None:
            return
        failures.append(f"{url} {reason}")
    if new_folder:
        path.parent.rmdir()
    raise UserError(
        f"there is no {path}, and {'; '.join(failures)}: get that file elsewhere ({remote.checksum}) and put it there"
        f"{otherwise}"
    )


def unpack(archive: Path, folder: Path, names: Iterable[str], also: Iterable[str] = ()) -> None:
    """Take the named files, and nothing else, out of a tar archive; each appears under its name when it is whole."""
    _make_folder(folder)
    wanted, taken = set(names), {*names, *also}
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                name = Path(member.name).name
                stream = tar.extractfile(member) if name in taken and member.isfile() else None
                if stream is not None:
                    with _whole(folder / name) as file:
                        file.write(stream.read())
                    wanted.discard(name)
    except (tarfile.TarError, EOFError) as error:
        raise UserError(f"{archive} is damaged ({error}): delete it and get it again") from error
    if wanted:
        raise UserError(f"{archive} holds no {', '.join(sorted(wanted))}: it is not the published archive")


def _retrieved(url: str, remote: Remote, path: Path, progress: Progress | None) -> str | None:
    """Download from one address; returns the reason of a failure. Wrong files are not kept."""
    import logging

    import pooch
    from requests.exceptions import RequestException

    pooch.get_logger().setLevel(logging.ERROR)  # progress and mistakes are reported by the caller
    loader = pooch.HTTPDownloader(
        progressbar=_Reported(path.name, progress),
        chunk_size=_CHUNK,
        timeout=_TIMEOUT,
        headers={"Accept-Encoding": "identity"},  # the published bytes, as they were hashed
        hooks={"response": _verified},
    )
    try:
        pooch.retrieve(url, remote.hash, fname=path.name, path=path.parent, downloader=loader)
    except RequestException as error:
        return f"cannot be reached ({_short(error)})"
    except ValueError as error:  # pooch, about the hash
        hash_received = str(error).partition("but got ")[2].partition(".")[0]
        if not hash_received:  # a header that says no number, say
            return f"answers in no form that can be read ({error})"
        return f"answers another file than the published one (its hash is {hash_received})"
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror}): make room, or choose another data folder") from error
    return None


def _short(error: Exception) -> str:
    """The cause of a failed request in a few words, without the object addresses that it is wrapped in."""
    response = getattr(error, "response", None)
    if response is not None and response.reason:
        return str(response.reason)
    cause: object = error
    while isinstance(
        inner := getattr(cause, "reason", None) or next(iter(getattr(cause, "args", ())), None), Exception
    ):
        cause = inner  # requests wraps the error of urllib3, which wraps that of the system
    return " ".join(str(cause).split()).rpartition(">: ")[2] or type(cause).__name__


def _verified(response: "Response", *args: object, **kwargs: object) -> None:
    """Nothing is taken from a connection that is not verified, wherever an address leads."""
    from requests.exceptions import RequestException

    if not response.url.startswith(SCHEMES):
        raise RequestException(f"it leads to {shown(response.url)}, which is no verified connection")


class _Reported:
    """Pooch's progress bar as calls of ``progress(file name, bytes so far, bytes in all or None)``.

    It ends a download that is larger than any published file, before more of it is written.
    """

    def __init__(self, name: str, progress: Progress | None):
        self.name, self.progress = name, progress
        self.total, self.done, self.came = 0, 0, 0

    def update(self, count: int) -> None:
        from requests.exceptions import RequestException

        self.came += count
        if max(self.came, self.total) > LARGEST:
            raise RequestException(f"it sends more than the {LARGEST:,} bytes of the largest published file")
        self.done = min(self.done + count, self.total or self.done + count)
        if self.progress:
            self.progress(self.name, self.done, self.total or None)

    def reset(self) -> None:
        self.done = 0

    def close(self) -> None:
        """Pooch calls this at the end of a file."""


@contextmanager
def _whole(path: Path) -> Iterator[BinaryIO]:
    """A file that takes its name only when all of it is written."""
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.", suffix=".part")
        with os.fdopen(handle, "wb") as file:
            yield file
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror}): make room, or choose another data folder") from error
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {folder} ({error.strerror}): choose another data folder") from error


def _check_archive(archive: Path, remote: Remote) -> None:
    algorithm, _, expected = remote.hash.partition(":")
    actual = file_hash(archive, algorithm)
    if actual != expected:
        raise UserError(
            f"{archive} is not the published archive ({algorithm} {actual}, expected {expected}): delete it"
        )
