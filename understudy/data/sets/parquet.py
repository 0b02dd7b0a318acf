"""Parquet files of encoded images, as the Hugging Face Hub has them: ROOT/train*.parquet and ROOT/test*.parquet."""

import bisect
import json
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from understudy.data.dataset import Access, Contents, DataSet
from understudy.data.encoded import EncodedImages, Label, check_order, contents, parts_of
from understudy.data.pictures import ImageSettings
from understudy.errors import UserError, did_you_mean

if TYPE_CHECKING:
    import pyarrow.parquet as pq


@dataclass(frozen=True)
class ParquetSettings(ImageSettings):
    """The settings of Parquet files.

    Args:
        size, channels, resize, loader, cache, classes: those of image files.
        image, label: the columns. By default the labels are in ``label``; files without it hold data without labels.
    """

    image: str = "image"
    label: str | None = None


LABEL = "label"  # the column


class ParquetImages(EncodedImages):
    """The images of Parquet files; a sample is read with its row group, of which the last one is kept."""

    def __init__(self, paths: list[Path], settings: ParquetSettings, *, labels: bool):
        self.paths = self.files = paths
        self.column = settings.image
        label = settings.label or LABEL
        words: list[Label] | None = [] if labels else None
        self.groups: list[tuple[int, int]] = []  # file and row group
        counts: list[int] = []
        for number, path in enumerate(paths):
            file = _open(path)
            names = file.schema_arrow.names
            if settings.image not in names:
                raise UserError(
                    f"{path} has no column {settings.image!r}{did_you_mean(settings.image, names)}; name the column of "
                    "the images, as in image = 'img'"
                )
            for group in range(file.num_row_groups):
                self.groups.append((number, group))
                counts.append(file.metadata.row_group(group).num_rows)
            if words is not None:
                if label not in names:
                    raise UserError(f"{path} has no column {label!r}{did_you_mean(label, names)}")
                words += _column(file, path, label)
        self.ends = list(accumulate(counts))
        self._kept: tuple[int, list[object]] | None = None
        super().__init__(words, self.ends[-1] if self.ends else 0)

    def encoded(self, index: int) -> bytes:
        place = bisect.bisect_right(self.ends, index)
        if self._kept is None or self._kept[0] != place:
            number, group = self.groups[place]
            path = self.paths[number]
            self._kept = place, _column(_open(path), path, self.column, group)
        value = self._kept[1][index - (self.ends[place - 1] if place else 0)]
        content = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(content, bytes):
            raise UserError(f"{self.place(index)} holds no image: the column {self.column!r} must hold encoded images")
        return content

    def place(self, index: int) -> str:
        place = bisect.bisect_right(self.ends, index)
        return f"{self.paths[self.groups[place][0]]}, sample {index}"


def read(settings: ParquetSettings, access: Access) -> Contents:
    """The training images now; of the test part only the files are looked up."""
    root = access.root
    if root is None:
        raise UserError("the data set 'parquet' needs root: a file, or a folder with train*.parquet and test*.parquet")
    parts = parts_of(root, ".parquet", "Parquet files")
    labels = access.labels and (settings.label is not None or LABEL in _open(parts["train"][0]).schema_arrow.names)
    make = partial(ParquetImages, settings=settings, labels=labels)
    test = parts.get("test") or parts.get("val")
    return contents(
        make(parts["train"]),
        partial(make, test) if test else None,
        settings,
        access,
        validation=make(parts["val"]) if {"test", "val"} <= parts.keys() else None,
        names=_names(parts["train"][0], settings) if labels else None,
        facts={"folder": str(root)},
    )


def _names(path: Path, settings: ParquetSettings) -> list[str] | None:
    """The names of the classes, where the library ``datasets`` wrote the file: it keeps them beside the columns."""
    written = (_open(path).schema_arrow.metadata or {}).get(b"huggingface")
    label = settings.label or LABEL
    try:
        names = json.loads(written)["info"]["features"][label]["names"] if written else None
    except (ValueError, KeyError, TypeError):
        return None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        return None
    check_order(names, settings.classes, label)
    return names


def _column(file: "pq.ParquetFile", path: Path, name: str, group: int | None = None) -> list[Any]:
    """The values of a column, of the whole file or of a row group."""
    import pyarrow

    try:
        table = file.read(columns=[name]) if group is None else file.read_row_group(group, columns=[name])
        values: list[Any] = table.column(0).to_pylist()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise UserError(
            f"{path} is damaged: its column {name!r} cannot be read ({str(error).splitlines()[0]})"
        ) from error
    return values


def _open(path: Path) -> "pq.ParquetFile":
    try:
        import pyarrow
        import pyarrow.parquet as pq
    except ImportError as error:
        raise UserError("Parquet files are read by pyarrow: pip install 'understudy[parquet]'") from error
    try:
        return pq.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path} is no Parquet file that can be read ({str(error).splitlines()[0]})") from error


PARQUET = DataSet(
    "parquet",
    "encoded images in ROOT/train*.parquet and ROOT/test*.parquet, or in one file",
    read,
    ParquetSettings,
    suffixes=(".parquet",),
)
