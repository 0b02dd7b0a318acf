"""CUB-200-2011 in its upstream form: ``CUB_200_2011/images.txt``, its three companions, and ``images/``."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from understudy.bounds import Pixels
from understudy.data.dataset import Access, Contents, DataSet
from understudy.data.kept import picture_source
from understudy.data.pictures import Form, PictureSettings
from understudy.data.sets.folder import Images
from understudy.data.sources import Source
from understudy.errors import UserError

FOLDERS = ("CUB_200_2011", ".")


@dataclass(frozen=True)
class CubSettings(PictureSettings):
    """How the photographs become samples.

    Args:
        size: height and width of a sample.
        channels, resize, loader, cache: those of image files.
    """

    size: Pixels = 224


def read(settings: CubSettings, access: Access) -> Contents:
    """The training photographs now, by the official split; the test photographs when they are asked for."""
    folder = next((access.folder / name for name in FOLDERS if (access.folder / name / "images.txt").is_file()), None)
    if folder is None:
        raise UserError(
            f"{access.folder} holds no CUB-200-2011 (a folder CUB_200_2011 with images.txt): get CUB_200_2011.tgz from "
            "https://data.caltech.edu/records/20098 and unpack it there"
        )
    names = _numbered(folder / "classes.txt")
    files, labels = _numbered(folder / "images.txt"), _numbered(folder / "image_class_labels.txt")
    split, order = _numbered(folder / "train_test_split.txt"), {number: place for place, number in enumerate(names)}
    for what, listed in (("image_class_labels.txt", labels), ("train_test_split.txt", split)):
        if missing := files.keys() - listed.keys():
            raise UserError(f"{folder / what} has no line for image {min(missing)}: get the data set again")
        if missing := listed.keys() - files.keys():
            raise UserError(f"{folder / 'images.txt'} has no line for image {min(missing)}: get the data set again")
    if odd := [number for number in files if split[number] not in ("0", "1")]:
        raise UserError(f"{folder / 'train_test_split.txt'}: image {odd[0]} has {split[odd[0]]!r}, not 0 or 1")
    if foreign := [number for number in files if labels[number] not in order]:
        raise UserError(f"{folder}: image {foreign[0]} is of class {labels[foreign[0]]!r}, which classes.txt has not")

    form = Form.of(settings, settings.size)

    def part(training: str) -> Source:
        chosen = [number for number in files if split[number] == training]
        targets = [order[labels[number]] for number in chosen]
        paths = [folder / "images" / files[number] for number in chosen]
        if absent := next((path for path in paths if not path.is_file()), None):
            raise UserError(f"{absent} is missing: get the data set again")
        return picture_source(Images(paths, targets, form), settings, access, trained=training == "1")

    return Contents(
        part("1"),
        partial(part, "0"),
        classes=tuple(names.values()),
        image=form.described,
        facts={"folder": str(folder)},
    )


def _numbered(path: Path) -> dict[str, str]:
    """The lines of a file, each a number and a text."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is damaged ({error}): get the data set again") from error
    pairs = [line.partition(" ") for line in lines if line.strip()]
    if not pairs or not all(number.isdecimal() and text.strip() for number, _, text in pairs):
        raise UserError(f"{path} is damaged: each line must be a number and a text")
    found = {number: text.strip() for number, _, text in pairs}
    if len(found) < len(pairs):
        raise UserError(f"{path} is damaged: {len(pairs) - len(found)} lines have the number of another one")
    return found


CUB = DataSet("cub200", "photographs of 200 kinds of birds, 5,994 + 5,794, of any size", read, CubSettings)
