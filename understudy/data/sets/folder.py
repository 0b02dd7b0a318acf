"""A folder of images per class: ROOT/train/CLASS/*.png and ROOT/test (or ROOT/val) likewise, or ROOT/CLASS/*.png.

Beside ROOT/test, ROOT/val (or ROOT/validation) is the validation part.

Images that lie in no folder of a class, ROOT/*.png or ROOT/train/*.png, are data without labels.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from understudy.data.dataset import Access, Contents, DataSet, warn_of_unread
from understudy.data.encoded import PART_FOLDERS
from understudy.data.images import SUFFIXES, below, common_size, dimensions
from understudy.data.kept import picture_source
from understudy.data.pictures import Form, ImageSettings, Pictures
from understudy.errors import UserError, did_you_mean
from understudy.tasks.unlabelled import Unlabelled


class Images(Pictures):
    """Images in files of their own."""

    def __init__(self, paths: list[Path], labels: list[int], form: Form):
        self.files, self.labels, self.form = paths, labels, form

    def __len__(self) -> int:
        return len(self.files)

    def file(self, index: int) -> Path:
        return self.files[index]


def read(settings: ImageSettings, access: Access) -> Contents:
    """The training images now, if they fit in memory; of the test images only the names are looked up."""
    root = access.root
    if root is None:
        raise UserError("the data set 'folder' needs root, the folder that holds train/CLASS/ with the images")
    parts = {part: root / name for name, part in PART_FOLDERS.items() if (root / name).is_dir()}
    if (root / "val").is_dir() and (root / "validation").is_dir():
        raise UserError(f"{root} holds val and validation: put the images of the validation part into one of them")
    if "train" not in parts and (parts or not root.is_dir() or not any(root.iterdir())):
        raise UserError(f"there is no folder {root / 'train'}: put each class's images into {root}/train/CLASS/")
    if "train" in parts:
        others = [name for name in subfolders(root) if name not in PART_FOLDERS and _has_images(root / name)]
        warn_of_unread(root, others, ", ".join(PART_FOLDERS))
    training = parts.get("train", root)  # without a test part, the folders of the classes may stand in ROOT
    labelled = access.labels and has_classes(root)
    classes = settings.classes or (tuple(subfolders(training)) if labelled else ())
    listed = by_class if labelled else of_no_class
    train = listed(training, classes, every=True)
    size = settings.size or common_size([dimensions(path) for path in train[0]])
    form = Form.of(settings, size)
    test = parts.get("test", parts.get("val"))
    chosen = Images(*listed(parts["val"], classes), form) if {"test", "val"} <= parts.keys() else None
    test_images = Images(*listed(test, classes), form) if test else None
    make = partial(picture_source, settings=settings, access=access)
    return Contents(
        train=make(Images(*train, form), trained=True),
        open_test=partial(make, test_images, trained=False) if test_images else None,
        classes=classes,
        task=None if labelled else Unlabelled(classes),
        image=form.described,
        validation=make(chosen, trained=False) if chosen else None,
        problems=partial(_problems, [*train[0], *(path for one in (chosen, test_images) if one for path in one.files)]),
        facts={"folder": str(root), "test folder": str(test) if test else None, "size": size},
    )


def has_classes(root: Path) -> bool:
    """Whether the training images of a folder lie in folders of their classes."""
    training = root / "train" if (root / "train").is_dir() else root
    return bool(subfolders(training))


def _problems(paths: list[Path]) -> Iterator[str]:
    """What is wrong with the headers of these images."""
    for path in paths:
        try:
            dimensions(path)
        except UserError as error:
            yield str(error)


def subfolders(folder: Path) -> list[str]:
    """The names of the folders in a folder, in order, without hidden ones."""
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def of_no_class(folder: Path, classes: tuple[str, ...] = (), *, every: bool = False) -> tuple[list[Path], list[int]]:
    """Every image file in and below a folder, in the order of their names."""
    paths = below(folder)
    if not paths:
        raise UserError(f"{folder} holds no images (files that end in {', '.join(SUFFIXES)})")
    return paths, [0] * len(paths)


def by_class(folder: Path, classes: tuple[str, ...], *, every: bool = False) -> tuple[list[Path], list[int]]:
    """Every image file below the class folders, in the order of the classes and of their names.

    Args:
        every: whether each class must have images here.
    """
    there = subfolders(folder)
    unknown = [name for name in there if name not in classes]
    if unknown:
        raise UserError(f"{folder / unknown[0]} is of no known class{did_you_mean(unknown[0], classes)}")
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        files = below(folder / name) if name in there else []
        if not files and every:
            raise UserError(f"{folder / name} holds no images (files that end in {', '.join(SUFFIXES)})")
        paths += files
        labels += [label] * len(files)
    if not paths:
        raise UserError(f"{folder} holds no images: put each class's into {folder}/CLASS/, or remove the folder")
    return paths, labels


def _has_images(folder: Path) -> bool:
    """Whether images lie in a folder or in the folders in it."""
    return any(path.suffix.lower() in SUFFIXES for depth in ("*", "*/*") for path in folder.glob(depth))


FOLDER = DataSet(
    "folder",
    "your own images: ROOT/train/CLASS/*.jpg and ROOT/test/CLASS/*.jpg, or ROOT/CLASS/*.jpg; ROOT/*.jpg without labels",
    read,
    ImageSettings,
)
