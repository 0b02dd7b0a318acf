"""ImageNet (ILSVRC2012): the official archives, read in place, or folders of images, and what says what they show."""

import csv
import hashlib
import io
import re
import tarfile
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from understudy.bounds import Pixels
from understudy.data.dataset import Access, Contents, DataSet, check_md5, file_hash, plain_errors
from understudy.data.images import SUFFIXES, Embedded
from understudy.data.kept import picture_source
from understudy.data.pictures import Form, Pictures, PictureSettings, cache_folder, listing
from understudy.data.sets.folder import Images, by_class, of_no_class, subfolders
from understudy.data.sets.webdataset import check_end
from understudy.data.sources import Source
from understudy.errors import OptionalPackageError, UserError
from understudy.files import write_atomically

TRAIN, VALIDATION, DEVKIT = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar", "ILSVRC2012_devkit_t12"
DEVKIT_MD5 = "fa75699e90414af021442c21a62c3abf"
FOLDERS = (".", "imagenet", "ILSVRC/Data/CLS-LOC")  # the last one is Kaggle's
WORDS = ("LOC_synset_mapping.txt", "synset_words.txt")  # lines of a synset and its words
SOLUTION = "LOC_val_solution.csv"  # Kaggle's labels of the validation images
META, TRUTH = "meta.mat", "ILSVRC2012_validation_ground_truth.txt"
LARGEST = 50_000_000  # bytes of a file of the devkit
_SYNSET = re.compile(r"n\d{8}")
_NUMBERED = re.compile(r"ILSVRC2012_val_0*(\d+)$")
_INDEX = np.dtype([("synset", "S16"), ("name", "S64"), ("offset", np.int64), ("size", np.int64)])


@dataclass(frozen=True)
class ImageNetSettings(PictureSettings):
    """How the photographs become samples; by default as ImageNet's networks are measured.

    Args:
        size: height and width of a sample.
        resize: the short side that a photograph is resized to before its centre is cut out.
        channels, loader, cache: those of image files.
    """

    size: Pixels = 224
    resize: Pixels | None = 256


class ArchiveImages(Pictures):
    """The images of a tar archive, each read by its place in the file."""

    def __init__(self, path: Path, members: np.ndarray, labels: list[int], form: Form):
        self.path, self.members, self.labels, self.form = path, members, labels, form
        self.files = [path]

    def __len__(self) -> int:
        return len(self.members)

    def file(self, index: int) -> Embedded:
        member = self.members[index]
        with self.path.open("rb") as file:
            file.seek(int(member["offset"]))
            return Embedded(f"{self.path}, {member['name'].decode()}", file.read(int(member["size"])))


@dataclass(frozen=True)
class Listed:
    """The images of a part before they have labels: their names and synsets ("" where the place does not tell it)."""

    place: Path
    names: Sequence[str]
    synsets: Sequence[str]
    members: np.ndarray | None = None  # of an archive
    paths: Sequence[Path] = ()

    def pictures(self, labels: list[int], form: Form) -> Pictures:
        """The images with their labels."""
        if self.members is None:
            return Images(list(self.paths), labels, form)
        return ArchiveImages(self.place, self.members, labels, form)


def read(settings: ImageNetSettings, access: Access) -> Contents:
    """The training images now; of the official validation images, which are the test part, only the names."""
    root = access.folder
    train, test = _part(root, "train", TRAIN), _part(root, "val", VALIDATION)
    if train is None or not all(train.synsets):
        raise UserError(
            f"{root} holds no ImageNet: neither {TRAIN} nor folders train/n01440764/ ...: get the archives from "
            "https://image-net.org/challenges/LSVRC/2012/2012-downloads.php and put them there"
        )
    synsets = sorted(set(train.synsets))
    numbers, form = {synset: number for number, synset in enumerate(synsets)}, Form.of(settings, settings.size)
    notes = Notes(root, access.verify)

    def part(listed: Listed, *, trained: bool) -> Source:
        found = listed.synsets if all(listed.synsets) else notes.truth(listed)
        for name, synset in zip(listed.names, found, strict=True):
            if synset not in numbers:
                raise UserError(f"{listed.place}: {name} is of {synset}, of which there are no training images")
        labels = [numbers[synset] for synset in found]
        return picture_source(listed.pictures(labels, form), settings, access, trained=trained)

    return Contents(
        part(train, trained=True),
        partial(part, test, trained=False) if test is not None else None,
        classes=_names(synsets, notes.words),
        image=form.described,
        facts={"folder": str(root), "train": str(train.place), "test": str(test.place) if test else None},
    )


def _part(root: Path, name: str, archive: str) -> Listed | None:
    """The images of a part: of a folder, else of its archive."""
    for place in (root / folder for folder in FOLDERS):
        if (place / name).is_dir():
            return _of_folder(place / name, every=name == "train")
        if (place / archive).is_file():
            members = indexed(place / archive)
            names, synsets = ([text.decode() for text in members[field].tolist()] for field in ("name", "synset"))
            return Listed(place / archive, names, synsets, members)
    return None


def _of_folder(folder: Path, *, every: bool) -> Listed:
    """The images in the folders of their synsets, of which ``every`` one must hold some; else all of the folder."""
    synsets = tuple(subfolders(folder))
    loose = next((path for path in folder.iterdir() if synsets and _is_image(PurePosixPath(path.name))), None)
    if loose is not None:
        raise UserError(f"{loose} lies in no folder of a synset, and other images do: move or remove it")
    paths, labels = by_class(folder, synsets, every=every) if synsets else of_no_class(folder)
    of_each = [synsets[label] for label in labels] if synsets else [""] * len(paths)
    return Listed(folder, [path.name for path in paths], of_each, paths=paths)


def indexed(path: Path) -> np.ndarray:
    """Every image of an archive by synset and name. The index is kept in the user's cache until the archive changes."""
    place = cache_folder() / "archives" / f"{hashlib.sha256(listing([path]).encode()).hexdigest()}.npy"
    with suppress(OSError, ValueError, EOFError):
        content = place.read_bytes()
        if hashlib.sha256(content[32:]).digest() == content[:32]:
            kept: np.ndarray = np.load(io.BytesIO(content[32:]), allow_pickle=False)
            return kept
    try:
        members = np.sort(np.array(list(_members(path)), _INDEX), order=["synset", "name"])
    except (tarfile.TarError, EOFError) as error:
        raise UserError(f"{path} is no tar file that can be read ({error}): get it again") from error
    if not len(members):
        raise UserError(f"{path} holds no images: get it again")
    written = io.BytesIO()
    np.save(written, members)
    with suppress(OSError, UserError):  # without the cache, the archive is read again the next time
        write_atomically(place, hashlib.sha256(written.getvalue()).digest() + written.getvalue())
    return members


def _members(path: Path) -> Iterator[tuple[str, bytes, int, int]]:
    """Synset, name, offset and size of each image: in archives of the synsets inside the archive, or by itself."""
    with tarfile.open(path, "r:") as archive:
        for member in archive:
            name = PurePosixPath(member.name)
            if not member.isreg():
                continue
            if name.suffix == ".tar":
                if not _SYNSET.fullmatch(name.stem):
                    raise UserError(f"{path}: {member.name} is called after no synset, as n01440764.tar is")
                images = 0
                with tarfile.open(fileobj=archive.extractfile(member), mode="r:") as inner:
                    for image in inner:
                        if image.isreg() and _is_image(inside := PurePosixPath(image.name)):
                            images += 1
                            yield name.stem, _ascii(inside), member.offset_data + image.offset_data, image.size
                    check_end(path, member.offset_data + inner.offset, member.offset_data + member.size)
                if not images:
                    raise UserError(f"{path}: {member.name} holds no images: get it again")
            elif _is_image(name):
                synset = name.parent.name if _SYNSET.fullmatch(name.parent.name) else ""
                yield synset, _ascii(name), member.offset_data, member.size
        check_end(path, archive.offset)


def _is_image(name: PurePosixPath) -> bool:
    return name.suffix.lower() in SUFFIXES and not name.name.startswith(".")


def _ascii(name: PurePosixPath) -> bytes:
    return name.name.encode("ascii", "replace")


class Notes:
    """What is known beside the images: the words of the synsets, and the labels of the validation images.

    Args:
        root: the folder of the data set.
        verify: refuse a devkit that is not the published one.
    """

    def __init__(self, root: Path, verify: bool):
        self.root, self.verify = root, verify
        self.words: dict[str, str] = {}
        self.synsets: dict[int, str] = {}  # by the devkit's numbers
        for name in WORDS:
            if (root / name).is_file():
                pairs = (
                    line.partition(" ")
                    for line in (root / name).read_text(encoding="utf-8", errors="replace").splitlines()
                )
                self.words = {synset: words.strip() for synset, _, words in pairs if words.strip()}
        if not self.words and (content := self._devkit(META)) is not None:
            self.synsets, self.words = _meta(content, self.root)

    def truth(self, listed: Listed) -> list[str]:
        """The synsets of the validation images, by their names."""
        known = self._solution() if (self.root / SOLUTION).is_file() else self._ground_truth(listed)
        stems = [PurePosixPath(name).stem for name in listed.names]
        if unknown := next((stem for stem in stems if stem not in known), None):
            raise UserError(f"{listed.place}: nothing tells what {unknown} shows: get the devkit or {SOLUTION} again")
        return [known[stem] for stem in stems]

    def _solution(self) -> dict[str, str]:
        with (self.root / SOLUTION).open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.reader(file) if len(row) >= 2 and row[1].strip()]
        return {name: boxes.split()[0] for name, boxes in (row[:2] for row in rows[1:])}

    def _ground_truth(self, listed: Listed) -> dict[str, str]:
        content = self._devkit(TRUTH)
        if content is None:
            raise UserError(
                f"{listed.place} holds images without folders of their synsets: put {DEVKIT}.tar.gz (or Kaggle's "
                f"{SOLUTION}) into {self.root}, which says what they show"
            )
        if not self.synsets:
            meta = self._devkit(META)
            self.synsets, _ = _meta(meta if meta is not None else b"", self.root)
        try:
            synsets = [self.synsets[int(line)] for line in content.split()]
        except (ValueError, KeyError) as error:
            raise UserError(f"{self.root}: {TRUTH} of the devkit is damaged ({error}): get it again") from error
        stems = (PurePosixPath(name).stem for name in listed.names)
        numbered = {stem: int(match[1]) for stem in stems if (match := _NUMBERED.match(stem))}
        if len(numbered) < len(synsets):
            there = f"{listed.place} holds {len(numbered):,} of the {len(synsets):,} validation images"
            warnings.warn(f"{there} that the devkit lists: the figures are those of a part", stacklevel=2)
        return {stem: synsets[number - 1] for stem, number in numbered.items() if 0 < number <= len(synsets)}

    def _devkit(self, name: str) -> bytes | None:
        """A file of the devkit, unpacked or in its archive."""
        with plain_errors():
            if (path := self.root / DEVKIT / "data" / name).is_file():
                return path.read_bytes()
            archive = self.root / f"{DEVKIT}.tar.gz"
            if not archive.is_file():
                return None
            if self.verify:
                check_md5(archive, file_hash(archive, "md5"), DEVKIT_MD5)
            try:
                with tarfile.open(archive, "r:gz") as devkit:
                    for member in devkit:
                        content = devkit.extractfile(member) if PurePosixPath(member.name).name == name else None
                        if content is not None and member.size <= LARGEST:
                            return content.read()
            except (tarfile.TarError, EOFError) as error:
                raise UserError(f"{archive} is damaged ({error}): get it again") from error
        raise UserError(f"{archive} holds no {name}: get it again")


def _meta(content: bytes, root: Path) -> tuple[dict[int, str], dict[str, str]]:
    """The synsets by the devkit's numbers, and their words; those that have others below them are no classes."""
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise OptionalPackageError("scipy", "imagenet", "reading ImageNet's devkit") from error
    try:
        synsets = np.atleast_1d(loadmat(io.BytesIO(content), squeeze_me=True)["synsets"])
        rows = [row for row in synsets if int(row["num_children"]) == 0]
        numbers = {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in rows}
        return numbers, {str(row["WNID"]): str(row["words"]) for row in rows}
    except Exception as error:  # SciPy raises many kinds for a damaged file
        raise UserError(f"{root}: {META} of the devkit is damaged ({error}): get it again") from error


def _names(synsets: Sequence[str], words: Mapping[str, str]) -> tuple[str, ...]:
    """The first word of each synset; where several have the same, with the synset; synsets of unknown words."""
    names = [words.get(synset, synset).split(",")[0].strip() for synset in synsets]
    often = Counter(names)
    return tuple(f"{name} ({synset})" if often[name] > 1 else name for name, synset in zip(names, synsets, strict=True))


IMAGENET = DataSet(
    "imagenet", "ImageNet's photographs of 1,000 classes, 1,281,167 + 50,000, of any size", read, ImageNetSettings
)
