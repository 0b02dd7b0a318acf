"""WebDataset shards: ROOT/train*.tar and ROOT/test*.tar; members of one name and several suffixes are a sample."""

import hashlib
import json
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from understudy.data.dataset import Access, Contents, DataSet
from understudy.data.encoded import EncodedImages, Label, contents, parts_of
from understudy.data.images import SUFFIXES
from understudy.data.pictures import ImageSettings, cache_folder, listing
from understudy.errors import UserError
from understudy.files import DIGEST, fits, read_json, sealed, write_atomically

FORMAT = 2  # of an index
LARGEST_LABEL = 1 << 16  # bytes of a member that holds a label
SUFFIX = "cls"  # of labels
_LOOKED_AT = 1 << 20  # bytes behind the last member, which are zeros


@dataclass(frozen=True)
class ShardSettings(ImageSettings):
    """The settings of shards.

    Args:
        size, channels, resize, loader, cache, classes: those of image files.
        label: the suffix of a label: ``cls`` or ``txt`` (a number or a word), or ``json`` with an entry ``label``,
            which may be a list of probabilities, too. By default it is ``cls``, and shards without such members hold
            data without labels.
    """

    label: str | None = None


@dataclass(frozen=True)
class Member:
    """A sample: where its image lies in a shard, and its label as it is written."""

    name: str
    shard: int
    offset: int
    size: int
    label: int | str | tuple[float, ...] | None


class ShardImages(EncodedImages):
    """The images of shards, each read by its place in the file."""

    def __init__(self, shards: list[Path], settings: ShardSettings, *, labels: bool):
        self.shards = self.files = shards
        suffix = settings.label or SUFFIX
        self.members = indexed(shards, suffix)
        words: list[Label] | None = None
        if labels:
            words = []
            for member in self.members:
                if member.label is None:
                    raise UserError(f"{shards[member.shard]}: sample {member.name!r} has no label (.{suffix})")
                words.append(member.label)
        super().__init__(words, len(self.members))

    def encoded(self, index: int) -> bytes:
        member = self.members[index]
        with self.shards[member.shard].open("rb") as file:
            file.seek(member.offset)
            return file.read(member.size)

    def place(self, index: int) -> str:
        member = self.members[index]
        return f"{self.shards[member.shard]}, sample {member.name!r}"


def read(settings: ShardSettings, access: Access) -> Contents:
    """The training images now; of the test part only the shards are looked up."""
    root = access.root
    if root is None:
        raise UserError("the data set 'webdataset' needs root: a shard, or a folder with train*.tar and test*.tar")
    parts = parts_of(root, ".tar", "shards")
    suffix = settings.label or SUFFIX
    labels = access.labels and any(member.label is not None for member in indexed(parts["train"], suffix))
    if access.labels and settings.label is not None and not labels:
        raise UserError(
            f"{root}: no sample of the training part has a label (.{suffix}): leave label out for data without"
        )
    make = partial(ShardImages, settings=settings, labels=labels)
    test = parts.get("test") or parts.get("val")
    return contents(
        make(parts["train"]),
        partial(make, test) if test else None,
        settings,
        access,
        validation=make(parts["val"]) if {"test", "val"} <= parts.keys() else None,
        facts={"folder": str(root)},
    )


def indexed(shards: list[Path], label: str) -> list[Member]:
    """Every sample of the shards. The index is kept in the user's cache until a shard is written again."""
    from pydantic import TypeAdapter  # late, as everywhere in this package

    name = hashlib.sha256("\n".join([label, listing(shards)]).encode()).hexdigest()
    place = cache_folder() / "shards" / f"{name}.json"
    with suppress(UserError):  # it cannot be read, or is larger than JSON may be
        kept = read_json(place)
        if kept is not None and kept.get("format") == FORMAT and kept.get(DIGEST) and fits(kept):
            return TypeAdapter(list[Member]).validate_python(kept["members"])
    members = [member for number, path in enumerate(shards) for member in _members(path, number, label)]
    index = sealed({"format": FORMAT, "members": [asdict(member) for member in members]})
    with suppress(UserError):  # without the cache, the shards are read again the next time
        write_atomically(place, json.dumps(index).encode())
    return members


def _members(path: Path, number: int, label: str) -> Iterator[Member]:
    images: dict[str, tarfile.TarInfo] = {}
    labels: dict[str, int | str | tuple[float, ...]] = {}
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                folder, _, name = member.name.rpartition("/")
                stem, _, suffix = name.partition(".")
                key = f"{folder}/{stem}" if folder else stem
                if not member.isreg():
                    continue
                if f".{suffix.lower()}" in SUFFIXES:
                    if key in images:
                        raise UserError(f"{path}: sample {key!r} has several images")
                    images[key] = member
                elif suffix.lower() == label.lower():
                    if member.size > LARGEST_LABEL:
                        raise UserError(f"{path}: {member.name} has {member.size:,} bytes, too many for a label")
                    content = archive.extractfile(member)
                    labels[key] = _label(content.read() if content else b"", label, f"{path}: {member.name}")
            check_end(path, archive.offset)
    except (tarfile.TarError, EOFError) as error:
        raise UserError(f"{path} is no tar file that can be read ({error}); compressed shards are not") from error
    if not images:
        raise UserError(f"{path} holds no images (members that end in {', '.join(SUFFIXES)})")
    if alone := next((key for key in labels if key not in images), None):
        raise UserError(
            f"{path}: sample {alone!r} has a label and no image (a member that ends in {', '.join(SUFFIXES)})"
        )
    for key, member in images.items():
        yield Member(key, number, member.offset_data, member.size, labels.get(key))


def check_end(path: Path, offset: int, end: int | None = None) -> None:
    """Check that an archive ends where its members do: ``tarfile`` stops without an error at a damaged header.

    ``end`` is that of an archive inside another file.
    """
    with path.open("rb") as file:
        file.seek(offset)
        rest = file.read(_LOOKED_AT if end is None else min(_LOOKED_AT, max(0, end - offset)))
    if not rest or rest.strip(b"\0"):
        raise UserError(f"{path} is damaged or cut short at byte {offset:,}: get it again")


def _label(content: bytes, kind: str, place: str) -> int | str | tuple[float, ...]:
    try:
        text = content.decode("utf-8").strip()
        value = json.loads(text)["label"] if kind == "json" else text
        if isinstance(value, list):
            return tuple(map(float, value))
        if isinstance(value, str) and value.removeprefix("-").isdecimal():
            value = int(value)
    except (UnicodeDecodeError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{place} holds no label") from error
    if not isinstance(value, (int, str)) or value == "":
        raise UserError(f"{place} has the label {value!r}: give a number or a word")
    return value


WEBDATASET = DataSet(
    "webdataset",
    "encoded images in shards, ROOT/train*.tar and ROOT/test*.tar, or in one",
    read,
    ShardSettings,
    suffixes=(".tar",),
)
