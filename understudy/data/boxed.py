"""Image files with boxes, in letterboxes of one size: what the readers of detection data share."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from understudy.data.dataset import Access, image_source
from understudy.data.images import LETTERBOX, fit_of, fitted, opened
from understudy.data.sources import Source
from understudy.errors import UserError
from understudy.tasks.boxes import padded

Box = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass
class Boxed:
    """An image file and its boxes.

    Args:
        path: of the file.
        size: its width and height in pixels, as its annotation states them.
        boxes: left, top, right and bottom, at the edges of the pixels.
        classes: their numbers.
        ignored: whether each one is neither to be found nor wrong to find.
    """

    path: Path
    size: tuple[int, int]
    boxes: list[Box] = field(default_factory=list)
    classes: list[int] = field(default_factory=list)
    ignored: list[bool] = field(default_factory=list)

    def add(self, box: Box, number: int, ignored: bool = False) -> bool:
        """Adds a box, unless nothing is in it; whether it did."""
        left, top, right, bottom = box
        if not (right > left and bottom > top):
            return False
        self.boxes.append(box)
        self.classes.append(number)
        self.ignored.append(ignored)
        return True


class Letterboxes:
    """The images as a map-style dataset: (3, side, side) of uint8."""

    def __init__(self, images: Sequence[Boxed], side: int):
        self.images, self.side = images, side

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self.images[index]
        pixels, fit = fitted(image.path, (3, self.side, self.side), LETTERBOX)
        if fit != fit_of(image.size, (self.side, self.side), LETTERBOX)[1]:
            raise UserError(_other_size(image))
        return pixels, 0


def _other_size(image: Boxed) -> str:
    """What is wrong with an image whose size is not that of its annotation."""
    with opened(image.path) as file:
        stored = file.size
    size = f"{image.size[0]} x {image.size[1]}"
    if stored == image.size:
        return (
            f"{image.path} is {size} as it is stored, and its annotation is of this, but EXIF turns it: remove the tag "
            "of its orientation"
        )
    return f"{image.path} is not {size}, as its annotation says: get the data set again"


def source_of(images: Sequence[Boxed], side: int, access: Access) -> Source:
    """The images, in memory where they fit, and their boxes in the pixels of the letterboxes."""
    rows = []
    for image in images:
        _, fit = fit_of(image.size, (side, side), LETTERBOX)
        moved = [[one * fit.scale[axis % 2] + fit.offset[axis % 2] for axis, one in enumerate(b)] for b in image.boxes]
        rows.append({"boxes": moved, "classes": image.classes, "ignored": image.ignored})
    return image_source(Letterboxes(images, side), padded(rows), (3, side, side), access)
