"""Data sets of the library ``datasets``: a folder that ``save_to_disk`` wrote, or a name on the Hugging Face Hub."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from understudy.data.dataset import Access, Contents, DataSet
from understudy.data.encoded import EncodedImages, check_order, contents
from understudy.data.pictures import ImageSettings
from understudy.errors import UserError, did_you_mean

VALIDATION = ("validation", "val", "valid")  # names of a split
IMAGES, LABELS = ("image", "img"), ("label", "labels", "fine_label")


@dataclass(frozen=True)
class HubSettings(ImageSettings):
    """The settings of a data set of the library ``datasets``.

    Args:
        size, channels, resize, loader, cache, classes: those of image files.
        dataset: its name on the Hub, as ``"uoft-cs/cifar10"``; without it, ``root`` is a folder of ``save_to_disk``.
        config: of a name with several configurations.
        train, test: the splits. A split ``validation`` is the validation part if there is a test split, else the test
            part.
        image, label: the columns; by default ``image`` or ``img``, and ``label``, ``labels`` or ``fine_label``.
    """

    dataset: str | None = None
    config: str | None = None
    train: str = "train"
    test: str = "test"
    image: str | None = None
    label: str | None = None


class Table(Protocol):
    """What is used of ``datasets.Dataset``."""

    features: Mapping[str, object]

    def __len__(self) -> int: ...

    def __getitem__(self, key: int | str, /) -> object: ...


class HubImages(EncodedImages):
    """The images of a split, which is memory-mapped."""

    def __init__(self, table: Table, split: str, image: str, label: str | None):
        self.table, self.split, self.column = table, split, image
        words = list(table[label]) if label is not None else None  # type: ignore[call-overload]
        super().__init__(words, len(table))

    def encoded(self, index: int) -> bytes:
        row = self.table[index]
        assert isinstance(row, Mapping)
        value = row[self.column]
        content = value.get("bytes") if isinstance(value, Mapping) else value
        if content is None and isinstance(value, Mapping) and value.get("path"):
            return _content(Path(str(value["path"])), self.place(index))
        if not isinstance(content, bytes):
            raise UserError(f"{self.place(index)} holds no image in its column {self.column!r}")
        return content

    def place(self, index: int) -> str:
        return f"split {self.split!r}, sample {index}"


def _content(path: Path, place: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{place}: its image {path} cannot be read ({error.strerror})") from error


def read(settings: HubSettings, access: Access) -> Contents:
    """The training split now, the test split when it is asked for."""
    splits = _splits(settings, access)
    if settings.train not in splits:
        raise UserError(f"there is no split {settings.train!r}{did_you_mean(settings.train, splits)}")
    features = splits[settings.train].features
    image = _column(settings.image, IMAGES, features, "image")
    label = _column(settings.label, LABELS, features, "label") if access.labels else None
    if image is None:
        raise UserError(f"none of the columns is an image ({', '.join(features)}): name it, as in image = 'picture'")
    names = getattr(features[label], "names", None) if label is not None else None
    check_order(names or (), settings.classes, label or "")
    make = partial(_images, splits, image=image, label=label)
    chosen = next((split for split in VALIDATION if split in splits and split != settings.test), None)
    test = settings.test if settings.test in splits else chosen
    return contents(
        make(settings.train),
        partial(make, test) if test is not None else None,
        settings,
        access,
        validation=make(chosen) if chosen is not None and test != chosen else None,
        names=names,
        facts={"dataset": settings.dataset or str(access.root)},
    )


def _images(splits: Mapping[str, Table], split: str, *, image: str, label: str | None) -> HubImages:
    import datasets

    table = splits[split]
    for column in filter(None, (image, label)):
        if column not in table.features:
            raise UserError(f"split {split!r} has no column {column!r}{did_you_mean(column, table.features)}")
    if isinstance(table.features[image], datasets.Image):
        table = table.cast_column(image, datasets.Image(decode=False))  # type: ignore[attr-defined]
    return HubImages(table, split, image, label)


def _splits(settings: HubSettings, access: Access) -> Mapping[str, Table]:
    try:
        import datasets
    except ImportError as error:
        raise UserError("this data set is read by the library datasets: pip install 'understudy[datasets]'") from error
    if settings.dataset is None and access.root is None:
        raise UserError(
            "the data set 'huggingface' needs dataset, a name on the Hub as 'uoft-cs/cifar10', or root, a folder that "
            "save_to_disk wrote"
        )
    try:
        if settings.dataset is None:
            loaded = datasets.load_from_disk(str(access.root))
        else:
            offline = None if access.download else datasets.DownloadConfig(local_files_only=True)
            cache = str(access.root) if access.root is not None else None
            loaded = datasets.load_dataset(settings.dataset, settings.config, cache_dir=cache, download_config=offline)
    except Exception as error:  # of many classes, of the library and of those below it
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        place = settings.dataset or access.root
        raise UserError(f"{place} cannot be loaded by the library datasets: {reason}") from error
    if isinstance(loaded, datasets.Dataset):
        return {settings.train: loaded}
    if not isinstance(loaded, datasets.DatasetDict):
        raise UserError(f"{settings.dataset}: a {type(loaded).__name__} has no numbered samples")
    return dict(loaded)


def _column(named: str | None, usual: tuple[str, ...], features: Mapping[str, object], setting: str) -> str | None:
    if named is not None and named not in features:
        raise UserError(f"there is no column {named!r}{did_you_mean(named, features)}: set {setting}")
    return named or next((name for name in usual if name in features), None)


HUGGINGFACE = DataSet(
    "huggingface",
    "images of a data set of the library datasets, by its Hub name or a folder of save_to_disk",
    read,
    HubSettings,
)
