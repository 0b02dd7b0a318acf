"""Boxes in images: overlap, suppression of duplicates, which place answers for which box, boxes that move.

A box is left, top, right, bottom in pixels, measured at the edges: a box of the whole image is 0, 0, width, height.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from understudy.errors import UserError
from understudy.nested import Nested
from understudy.tasks.task import Moves

BOXES, CLASSES, IGNORED = "boxes", "classes", "ignored"
NONE = -1  # the class where there is no box, and the box of a place that answers for none
UNSEEN = -2  # the class in all columns of a sample without labels, whose objects are unknown
IN_PIXELS = "left, top, right and bottom in pixels"
WIDTHS = (4, 7, 9)  # numbers of a box: in an image, in space, and with its velocity
LEFT = 0.1  # of a box's area must be left in a view, or the box is gone
RADIUS = 1.5  # in strides: so near the centre of a box a place must be to answer for it
AT_ONCE = 2**24  # overlaps that are held in memory


@dataclass(frozen=True)
class Boxes:
    """The boxes of a batch: coordinates (N, M, 4), class numbers (N, M) with -1 for none, and which are ignored."""

    boxes: Tensor
    classes: Tensor
    ignored: Tensor

    @property
    def there(self) -> Tensor:
        """(N, M), the boxes of objects that are to be found."""
        return (self.classes >= 0) & ~self.ignored


def boxes_of(targets: Nested, numbers: tuple[int, ...] = (4,), order: str = IN_PIXELS) -> Boxes:
    """The targets of a detection; without ``ignored``, no box is.

    Args:
        numbers: how many a box may have.
        order: what they are, for errors.
    """
    named = targets if isinstance(targets, Mapping) else {}
    boxes, classes, ignored = (named.get(name) for name in (BOXES, CLASSES, IGNORED))
    if not isinstance(boxes, Tensor) or not isinstance(classes, Tensor):
        raise UserError(
            f"targets of a detection are {BOXES!r} (N, M, {numbers[-1]}) and {CLASSES!r} (N, M), -1 where there is no "
            "box, as understudy.tasks.padded makes them of lists"
        )
    known = boxes.ndim == 3 and (boxes.shape[2] in numbers or not boxes.shape[1])
    if not known or classes.shape != boxes.shape[:2]:
        raise UserError(
            f"{BOXES!r} have shape {tuple(boxes.shape)} and {CLASSES!r} {tuple(classes.shape)}; give "
            f"(N, M, {numbers[-1]}), {order}, and (N, M)"
        )
    none = torch.zeros_like(classes, dtype=torch.bool)
    return Boxes(boxes, classes, ignored.bool() if isinstance(ignored, Tensor) else none)


def padded(targets: Sequence[Mapping[str, object]]) -> dict[str, Tensor]:
    """The boxes of several images, of differing number, as targets of a detection.

    Args:
        targets: of each image ``boxes`` (M, 4), left, top, right and bottom in pixels, and ``classes`` (M) or
            ``labels`` (torchvision's name), class numbers from 0; and ``ignored`` or ``iscrowd``, where some boxes are
            neither to be found nor wrong to find. Boxes in space have 7 or 9 numbers, as ``Detection3D`` says.

    >>> made = padded([{"boxes": [[0, 0, 4, 4]], "classes": [1]}, {"boxes": [], "classes": []}])
    >>> made["classes"].tolist(), made["boxes"].shape
    ([[1], [-1]], torch.Size([2, 1, 4]))
    """
    rows = [_one(number, target) for number, target in enumerate(targets)]
    most = max((len(classes) for _, classes, _ in rows), default=0)
    widths = sorted({places.shape[1] for places, classes, _ in rows if len(classes)}) or [WIDTHS[0]]
    if len(widths) > 1:
        raise UserError(f"boxes have {' or '.join(map(str, widths))} numbers: give all of them as many")
    boxes = torch.zeros(len(rows), most, widths[0])
    classes = torch.full((len(rows), most), NONE)
    ignored = torch.zeros(len(rows), most, dtype=torch.bool)
    for number, (places, labels, left_out) in enumerate(rows):
        count = len(labels)
        if count:
            boxes[number, :count], classes[number, :count], ignored[number, :count] = places, labels, left_out
    return {BOXES: boxes, CLASSES: classes, IGNORED: ignored}


def are_boxes(target: object) -> bool:
    """Whether this is the target of one image in a form that ``padded`` takes."""
    return isinstance(target, Mapping) and BOXES in target and (CLASSES in target or "labels" in target)


def _one(number: int, target: Mapping[str, object]) -> tuple[Tensor, Tensor, Tensor]:
    labels = target.get(CLASSES, target.get("labels"))
    try:
        classes = whole(torch.as_tensor(labels if labels is not None else []).flatten())
        boxes = torch.as_tensor(target.get(BOXES, []), dtype=torch.float32)
        ignored = torch.as_tensor(target.get(IGNORED, target.get("iscrowd", [False] * len(classes)))).flatten().bool()
    except (UserError, ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"sample {number}: {error}") from None
    if boxes.numel() and boxes.shape[-1] not in WIDTHS:
        raise UserError(
            f"sample {number} has boxes of shape {tuple(boxes.shape)}; give (M, 4), and in space (M, 7) or (M, 9)"
        )
    boxes = boxes.reshape(-1, boxes.shape[-1] if boxes.numel() else WIDTHS[0])
    if not len(boxes) == len(classes) == len(ignored):
        raise UserError(f"sample {number} has {len(boxes)} boxes, {len(classes)} classes and {len(ignored)} marks")
    return boxes, classes, ignored


def whole(classes: Tensor) -> Tensor:
    """Class numbers as integers; a ``UserError`` for other numbers."""
    if classes.is_floating_point() and (wrong := classes[classes != classes.round()]).numel():
        raise UserError(f"classes must be whole numbers, found {wrong[0]:g}")
    return classes.long()


def areas(boxes: Tensor) -> Tensor:
    """(..., 4) to (...): 0 for a box with nothing in it."""
    sides: Tensor = (boxes[..., 2:] - boxes[..., :2]).clamp_min(0)
    return sides[..., 0] * sides[..., 1]


def overlaps(boxes: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """The areas that boxes (..., M, 4) and (..., L, 4) share, and those of their unions: (..., M, L) each."""
    low = torch.maximum(boxes[..., :, None, :2], others[..., None, :, :2])
    high = torch.minimum(boxes[..., :, None, 2:], others[..., None, :, 2:])
    sides = (high - low).clamp_min(0)
    shared = sides[..., 0] * sides[..., 1]
    return shared, areas(boxes)[..., :, None] + areas(others)[..., None, :] - shared


def iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection over union of boxes (..., M, 4) with others (..., L, 4): (..., M, L).

    >>> iou(torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[1.0, 0.0, 3.0, 2.0]]))
    tensor([[0.3333]])
    """
    shared, union = overlaps(boxes, others)
    return shared / union.clamp_min(torch.finfo(union.dtype).tiny)


def giou(boxes: Tensor, others: Tensor) -> Tensor:
    """Generalised IoU of pairs of boxes, (..., 4) each, from -1 to 1.

    ``IoU - (C - U) / C``, C the area of the smallest box around both and U that of their union

    Reference: Rezatofighi et al., "Generalized intersection over union", CVPR 2019.

    >>> giou(torch.tensor([0.0, 0.0, 1.0, 1.0]), torch.tensor([1.0, 0.0, 2.0, 1.0]))
    tensor(0.)
    """
    sides = (torch.minimum(boxes[..., 2:], others[..., 2:]) - torch.maximum(boxes[..., :2], others[..., :2])).clamp_min(
        0
    )
    shared = sides[..., 0] * sides[..., 1]
    union = areas(boxes) + areas(others) - shared
    around = torch.maximum(boxes[..., 2:], others[..., 2:]) - torch.minimum(boxes[..., :2], others[..., :2])
    hull = around[..., 0] * around[..., 1]
    tiny = torch.finfo(union.dtype).eps
    return shared / union.clamp_min(tiny) - (hull - union) / hull.clamp_min(tiny)


def suppressed(boxes: Tensor, classes: Tensor, threshold: float) -> Tensor:
    """Greedy non-maximum suppression within each class: (N, M) bool, the boxes that go.

    A box goes if one of its class that stays and comes before it overlaps it by more than the threshold. All images at
    once: whether a box stays is computed for all boxes again and again from whether those before it do, which ends at
    the result of the greedy loop, since each round settles at least one box more.

    Args:
        boxes: (N, M, 4), of each image from the highest score to the lowest.
        classes: (N, M).
        threshold: of the IoU.

    >>> boxes = torch.tensor([[[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 3.0], [9.0, 9.0, 12.0, 12.0]]])
    >>> suppressed(boxes, torch.zeros(1, 3), 0.5).tolist()
    [[False, True, False]]
    """
    return suppressed_where(lambda some: iou(some, some) > threshold, boxes, classes)


def suppressed_where(alike: Callable[[Tensor], Tensor], boxes: Tensor, classes: Tensor) -> Tensor:
    """The same, for boxes (N, M, ...) of which ``alike`` says (N, M, M) whether the first one suppresses the second."""
    count = boxes.shape[1]
    pieces = boxes.split(max(1, AT_ONCE // max(1, count * count))), classes.split(max(1, AT_ONCE // max(1, count**2)))
    found = []
    for some, kinds in zip(*pieces, strict=True):
        before = (alike(some) & (kinds[:, :, None] == kinds[:, None, :])).triu(1)
        gone = torch.zeros(some.shape[:2], dtype=torch.bool, device=boxes.device)
        for _ in range(count):
            again = (before & ~gone[:, :, None]).any(1)
            if torch.equal(again, gone):
                break
            gone = again
        found.append(gone)
    return torch.cat(found) if found else torch.zeros(boxes.shape[:2], dtype=torch.bool, device=boxes.device)


def responsible(places: Tensor, targets: Boxes) -> tuple[Tensor, Tensor]:
    """The box for which each place answers, as its number or -1, and whether a place lies in an ignored box: (N, P).

    A place answers for a box if it lies in it and near its centre (1.5 strides), and the box is of its stride's size:
    its farthest side is 4 to 8 strides away, without a lower bound for the finest stride and an upper one for the
    coarsest. Of several such boxes it takes the smallest.

    Args:
        places: (N, P, 3), x, y and stride.

    Reference: Tian et al., "FCOS: fully convolutional one-stage object detection", ICCV 2019, with centre
    sampling as in torchvision's FCOS.
    """
    x, y, stride = (column.unsqueeze(2) for column in places.unbind(2))
    left, top, right, bottom = (side.unsqueeze(1) for side in targets.boxes.to(places.dtype).unbind(2))
    sides = x - left, y - top, right - x, bottom - y
    inside = (torch.minimum(torch.minimum(sides[0], sides[1]), torch.minimum(sides[2], sides[3])) > 0) & (
        targets.classes >= 0
    ).unsqueeze(1)
    reach = torch.maximum(torch.maximum(sides[0], sides[1]), torch.maximum(sides[2], sides[3]))
    off_centre = torch.maximum((x - (left + right) / 2).abs(), (y - (top + bottom) / 2).abs())
    fits = (stride == places[..., 2].amin()) | (reach > 4 * stride)
    fits &= (stride == places[..., 2].amax()) | (reach <= 8 * stride)
    answers = inside & fits & (off_centre < RADIUS * stride) & targets.there.unsqueeze(1)
    size = areas(targets.boxes).to(places.dtype).unsqueeze(1).expand_as(reach).masked_fill(~answers, torch.inf)
    if not size.shape[2]:
        nothing = torch.full(places.shape[:2], NONE, device=places.device)
        return nothing, torch.zeros_like(nothing, dtype=torch.bool)
    smallest, which = size.min(2)
    number = which.where(smallest < torch.inf, NONE)
    return number, (inside & targets.ignored.unsqueeze(1)).any(2) & (number < 0)


def moved(targets: Boxes, moves: Moves) -> Boxes:
    """Boxes after an augmentation, cut at the border of the image; one of which too little is left is gone."""
    height, width = moves.size
    x, y = targets.boxes[..., 0::2], targets.boxes[..., 1::2]
    if moves.crop is not None:
        top, left, rows, columns = (side.to(x.dtype).view(-1, 1, 1) for side in moves.crop)
        x, y = (x - left) * (width / columns), (y - top) * (height / rows)
    if moves.mirrored is not None:
        x = torch.where(moves.mirrored[:, None, None], (width - x).flip(2), x)
    whole = torch.stack((x, y), 3).flatten(2)
    x, y = x.clamp(0, width), y.clamp(0, height)
    if moves.right is not None and moves.down is not None:
        x, y = x + moves.right[:, None, None], y + moves.down[:, None, None]
    cut = torch.stack((x.clamp(0, width), y.clamp(0, height)), 3).flatten(2)
    gone = areas(cut) < LEFT * areas(whole).clamp_min(1e-6)
    classes = targets.classes.masked_fill(gone & (targets.classes != UNSEEN), NONE)
    return Boxes(cut, classes, targets.ignored & ~gone)


def coverage(targets: Boxes, grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """(N, rows, columns): the share of each place of a map over an image of this size that the boxes cover.

    Where boxes overlap, that of the box which covers most.
    """
    shares = []
    for low, high, count, length in (
        (targets.boxes[..., 1], targets.boxes[..., 3], grid[0], size[0]),
        (targets.boxes[..., 0], targets.boxes[..., 2], grid[1], size[1]),
    ):
        side = length / count
        edges = torch.arange(count, device=low.device, dtype=low.dtype) * side
        within = torch.minimum(high[..., None], edges + side) - torch.maximum(low[..., None], edges)
        shares.append((within / side).clamp(0, 1))
    covered = shares[0].unsqueeze(3) * shares[1].unsqueeze(2) * targets.there[..., None, None]
    return covered.amax(1) if covered.shape[1] else covered.new_zeros(len(covered), *grid)
