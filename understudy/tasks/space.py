"""Boxes in space: how far they are apart, what they cover seen from above, and how they are turned.

A box is x, y and z of its centre, length, width and height in metres, its heading (the angle from the x axis to its
length, counter-clockwise seen from above, in radians) and its velocity along x and y in metres a second, NaN where that
is unknown. z points upwards.
"""

import torch
from torch import Tensor

from understudy.nested import Nested
from understudy.tasks.boxes import Boxes, boxes_of
from understudy.tasks.task import Turns

NUMBERS = 9
CENTRE, SIZES, HEADING, VELOCITY = slice(0, 3), slice(3, 6), 6, slice(7, 9)
IN_SPACE = "x, y, z, length, width, height, heading, and the velocity along x and y"


def objects_of(targets: Nested) -> Boxes:
    """The targets of a detection in space; boxes of seven numbers get an unknown velocity."""
    found = boxes_of(targets, (7, NUMBERS), IN_SPACE)
    missing = NUMBERS - found.boxes.shape[2]
    if not missing:
        return found
    unknown = found.boxes.new_full((*found.boxes.shape[:2], missing), torch.nan)
    return Boxes(torch.cat((found.boxes, unknown), 2), found.classes, found.ignored)


def distances(boxes: Tensor, others: Tensor) -> Tensor:
    """The distances of the centres of boxes (N, M, 9) and (N, L, 9) seen from above: (N, M, L).

    >>> distances(torch.zeros(1, 1, 9), torch.tensor([[[3.0, 4.0, 9.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0]]]))
    tensor([[[5.]]])
    """
    apart = boxes[:, :, None, :2] - others[:, None, :, :2]
    return apart.square().sum(3).sqrt()


def covered(objects: Boxes, grid: tuple[int, int], side: float) -> Tensor:
    """(N, rows, columns): 1 at the places of a map that a box covers seen from above, 0 at others.

    The map is a square of this side with 0, 0 in its middle; its rows go along y, its columns along x. A place is
    covered if its centre is in the box, or the box's centre in the place.
    """
    boxes = objects.boxes.nan_to_num(0.0)
    across, down = (_centres(count, side, boxes) for count in (grid[1], grid[0]))
    x = across[None, None, None, :] - boxes[..., 0, None, None]
    y = down[None, None, :, None] - boxes[..., 1, None, None]
    turned = boxes[..., HEADING, None, None]
    along, sideways = x * turned.cos() + y * turned.sin(), y * turned.cos() - x * turned.sin()
    length, width = boxes[..., 3, None, None], boxes[..., 4, None, None]
    inside = (along.abs() <= length / 2) & (sideways.abs() <= width / 2)
    own = (x.abs() <= side / grid[1] / 2) & (y.abs() <= side / grid[0] / 2)
    places = (inside | own) & objects.there[..., None, None]
    return places.any(1).to(objects.boxes.dtype)


def _centres(count: int, side: float, like: Tensor) -> Tensor:
    """The centres of this many places in a row, from side to side."""
    return (torch.arange(count, device=like.device, dtype=like.dtype) + 0.5) * (side / count) - side / 2


def turned(boxes: Tensor, turns: Turns) -> Tensor:
    """Boxes (N, M, 9) that moved with their points."""
    matrix, scale = turns.matrix.to(boxes.dtype), turns.scale.to(boxes.dtype)[:, None, None]
    ahead = torch.stack((boxes[..., HEADING].cos(), boxes[..., HEADING].sin()), 2) @ matrix.mT
    return torch.cat(
        (
            boxes[..., :2] @ matrix.mT * scale,
            boxes[..., 2:6] * scale,
            torch.atan2(ahead[..., 1], ahead[..., 0]).unsqueeze(2),
            boxes[..., VELOCITY] @ matrix.mT * scale,
        ),
        2,
    )
