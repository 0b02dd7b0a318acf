"""Penn-Fudan pedestrians with masks or boxes, in the upstream form: ``PNGImages/*.png``, ``PedMasks/*_mask.png``."""

import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor

from understudy import randomness
from understudy.bounds import Interval
from understudy.data.boxed import Boxed, source_of
from understudy.data.dataset import Access, Contents, DataSet
from understudy.data.images import STRETCHED, decoded
from understudy.data.sources import InMemory, Source
from understudy.errors import UserError
from understudy.tasks.detection import Detection
from understudy.tasks.segmentation import Segmentation

FOLDERS = ("PennFudanPed", ".")
CLASSES = ("background", "person")
FOLDS = 5
IMAGES = 170


@dataclass(frozen=True)
class PennFudanSettings:
    """How images are brought to one size, and which of them are the test part.

    Args:
        size: side of images and masks: both are stretched, images bilinear, masks to the nearest pixel.
        fold: which fifth of the images is the test part; upstream names none.
        targets: ``"masks"``, for segmentation, or ``"boxes"``, those around each pedestrian's mask, for detection; then
            images keep their form, with borders (a letterbox).
    """

    size: Annotated[int, Interval(ge=8, le=100_000)] = 128
    fold: Annotated[int, Interval(ge=0, lt=FOLDS)] = 0
    targets: Literal["masks", "boxes"] = "masks"


def read(settings: PennFudanSettings, access: Access) -> Contents:
    """The images that are not of the fold now, those of the fold when they are asked for."""
    folder = next((access.folder / name for name in FOLDERS if (access.folder / name / "PNGImages").is_dir()), None)
    if folder is None:
        raise UserError(
            f"{access.folder} holds no Penn-Fudan (a folder PennFudanPed with PNGImages and PedMasks): get it from "
            "https://www.cis.upenn.edu/~jshi/ped_html/PennFudanPed.zip and unpack it there"
        )
    paths = sorted((folder / "PNGImages").glob("*.png"))
    if len(paths) < FOLDS:
        raise UserError(f"{folder / 'PNGImages'} holds {len(paths)} images (*.png): get the data set again")
    if len(paths) != IMAGES:
        warnings.warn(
            f"{folder / 'PNGImages'} has {len(paths)} of Penn-Fudan's {IMAGES} images: the folds differ, and figures "
            "cannot be compared with those of the whole data set",
            stacklevel=2,
        )
    order = randomness.shuffled(0, 0, torch.arange(len(paths)), "folds").tolist()
    test = set(order[settings.fold :: FOLDS])
    parts = [[path for place, path in enumerate(paths) if (place in test) == of_test] for of_test in (False, True)]
    source = _with_masks if settings.targets == "masks" else _with_boxes
    train = source(parts[0], folder, settings.size)
    task = Segmentation.of(train.targets, names=CLASSES) if settings.targets == "masks" else Detection(CLASSES[1:])
    return Contents(
        train,
        partial(source, parts[1], folder, settings.size),
        task=task,
        facts={"folder": str(folder)},
        image={"image": STRETCHED} if settings.targets == "masks" else {},
    )


def _with_boxes(paths: list[Path], folder: Path, size: int) -> Source:
    return source_of([_boxed(path, _mask_of(path, folder)) for path in paths], size, Access(workers=0))


def _boxed(path: Path, mask: Path) -> Boxed:
    """An image and the box around each pedestrian, whose pixels have its number in the mask."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(mask) as file:
            numbers = np.asarray(file)
    except (OSError, UnidentifiedImageError) as error:
        raise UserError(f"the mask {mask} cannot be read ({error}): get the data set again") from error
    image = Boxed(path, (numbers.shape[1], numbers.shape[0]))
    for number in np.unique(numbers[numbers > 0]).tolist():
        rows, columns = np.nonzero(numbers == number)
        image.add((int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1), 0)
    return image


def _mask_of(path: Path, folder: Path) -> Path:
    return folder / "PedMasks" / f"{path.stem}_mask.png"


def _with_masks(paths: list[Path], folder: Path, size: int) -> InMemory:
    pairs = [_read(path, _mask_of(path, folder), size) for path in paths]
    return InMemory(torch.stack([image for image, _ in pairs]), torch.stack([mask for _, mask in pairs]))


def _read(path: Path, mask: Path, size: int) -> tuple[Tensor, Tensor]:
    """An image (3, size, size) and its mask (size, size): 1 where any pedestrian is."""
    from PIL import Image, UnidentifiedImageError

    try:
        image = decoded(path, (3, size, size), STRETCHED)
        with Image.open(mask) as persons:
            numbers = np.asarray(persons.resize((size, size), Image.Resampling.NEAREST))
    except (OSError, UnidentifiedImageError, UserError) as error:
        raise UserError(f"{path} or its mask {mask} cannot be read ({error}): get the data set again") from error
    return image, torch.from_numpy((numbers > 0).astype(np.uint8))


PENN_FUDAN = DataSet("pennfudan", "170 street photographs with masks or boxes of pedestrians", read, PennFudanSettings)
