"""Segmentation: one class of several for each pixel."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from understudy.bounds import Interval, Share
from understudy.errors import UserError
from understudy.nested import Nested
from understudy.precision import exact, wide
from understudy.tasks.classification import LOGITS
from understudy.tasks.meters import MeanLoss
from understudy.tasks.task import Figure, Meter, Moves, Numbers, Rows, Task, Told, Values, outputs_by_name

OUT = "out"  # under which torchvision's networks answer
MAP = "classes"  # of a kept answer: the class of each pixel


@dataclass(frozen=True)
class Segmentation(Task):
    """One class of several for each pixel: targets are maps of class numbers (N, H, W), answers logits (N, C, h, w).

    Answers may be on a grid of their own: they are brought to that of the targets (bilinear), so that a teacher and a
    student of other grids can be compared.

    Args:
        classes: their names in the order of their numbers.
        ignore: the number of pixels that count nowhere; also of what an augmentation moves in from outside.
        background: the class whose pixels are no object, for hints at objects; None: every class is one.
        commonest_share: of the training pixels that of the most common class, which is what chance reaches.

    >>> task = Segmentation(("street", "person"))
    >>> task.told({"logits": torch.tensor([[[[3.0, 0.0]], [[0.0, 3.0]]]])})[0].text
    'street 50.0 %, person 50.0 %'
    """

    classes: tuple[str, ...] = ()
    ignore: Annotated[int, Interval(ge=0, le=255)] = 255
    background: Annotated[int, Interval(ge=0, le=255)] | None = 0
    commonest_share: Share | None = None

    name: ClassVar[str] = "segmentation"
    rows_per_sample: ClassVar[Literal["one", "many"] | None] = "many"
    dense: ClassVar[bool] = True
    moves_targets: ClassVar[bool] = True
    likeness: ClassVar[tuple[Figure, ...]] = (Figure("agreement", "agrees with the teacher", unit="share"),)

    @classmethod
    def of(cls, targets: Nested, *, names: Sequence[str] | int | None = None, **settings: object) -> Self:
        masks = _maps(targets)
        known = masks[masks != settings.get("ignore", cls.ignore)].long()
        if names is None:
            names = int(known.max()) + 1 if len(known) else 0
        classes = tuple(map(str, range(names))) if isinstance(names, int) else tuple(names)
        share = round(known.bincount().max().item() / len(known), 4) if len(known) else None
        make: Callable[..., Self] = cls
        return make(**{"classes": classes, "commonest_share": share, **settings})

    @property
    def figures(self) -> tuple[Figure, ...]:
        return (
            Figure("miou", "mean IoU", unit="share"),
            Figure("pixel_accuracy", "pixel accuracy", unit="share", chance=self.commonest_share),
        )

    @property
    def names(self) -> tuple[str, ...]:
        return self.classes

    @property
    def about(self) -> str:
        return f"{len(self.classes)} classes of pixels"

    def luck(self, figure: Figure, samples: int) -> float:
        """A map without any object is right as often as chance says; a little more is no knowledge either."""
        return 0.1 * (1 - figure.chance) if figure.chance is not None else 0.0

    def converted(self, targets: Nested) -> Nested:
        masks = _maps(targets)
        return masks if masks.dtype == torch.uint8 else masks.to(torch.int64)

    def check(self, targets: Nested) -> None:
        masks, count = _maps(targets), len(self.classes)
        wrong = (((masks < 0) | (masks >= count)) & (masks != self.ignore)).flatten(1).any(1).nonzero().flatten()
        if len(wrong):
            first = int(wrong[0])
            raise UserError(
                f"sample {first} has pixels of class {int(masks[first][masks[first] != self.ignore].max())}, but the "
                f"{count} classes are numbered 0 to {count - 1} ({self.ignore} counts nowhere)"
            )
        empty = (masks == self.ignore).flatten(1).all(1).nonzero().flatten()
        if len(empty):
            raise UserError(f"sample {int(empty[0])} has no pixel that counts: leave it out")

    def without_labels(self, targets: Nested, count: int) -> Nested:
        masks = _maps(targets)
        return torch.full((count, *masks.shape[1:]), self.ignore, dtype=masks.dtype)

    def has_label(self, targets: Nested) -> Tensor:
        """Those with a pixel that counts."""
        return (_maps(targets) != self.ignore).flatten(1).any(1)

    def as_targets(self, answer: Values, targets: Nested | None = None) -> Tensor:
        """The likeliest class of each pixel."""
        logits = answer[LOGITS] if targets is None else _on_grid(answer[LOGITS], _maps(targets))
        return logits.argmax(1)

    def moved(self, targets: Nested, moves: Moves) -> Nested:
        """Maps move with the pixels; what comes in from outside is ignored."""
        masks = _maps(targets)
        height, width = moves.size
        if masks.shape[1:] != moves.size:
            raise UserError(
                f"targets are maps of {masks.shape[1]} x {masks.shape[2]}, images of {height} x {width}: a map that "
                "moves with its image has its size"
            )
        zeros = torch.zeros(len(masks), dtype=torch.int64, device=masks.device)
        down, right = (zeros if by is None else by.to(zeros) for by in (moves.down, moves.right))
        rows = torch.arange(height, device=masks.device) - down[:, None]
        columns = torch.arange(width, device=masks.device) - right[:, None]
        inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
        if moves.mirrored is not None:
            columns = torch.where(moves.mirrored[:, None], width - 1 - columns, columns)
        if moves.crop is not None:  # the nearest pixel
            top, left, of_rows, of_columns = (side[:, None] for side in moves.crop)
            rows = top + ((2 * rows + 1) * of_rows).div(2 * height, rounding_mode="floor")
            columns = left + ((2 * columns + 1) * of_columns).div(2 * width, rounding_mode="floor")
        samples = torch.arange(len(masks), device=masks.device)[:, None, None]
        found = masks[samples, rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None, :]]
        return torch.where(inside, found, self.ignore)

    def answer(self, output: object) -> Values:
        found = outputs_by_name(output, LOGITS)
        name = LOGITS if LOGITS in found else OUT
        if name not in found:
            raise UserError(
                f"the network answers with {type(output).__name__}, which has no tensor {LOGITS!r} or {OUT!r}"
            )
        return {LOGITS: found[name]}

    def misfit(self, answer: Values) -> str | None:
        shape = tuple(answer[LOGITS].shape[1:])
        if len(shape) == 3 and shape[0] == len(self.classes):
            return None
        return f"it answers with shape {shape}, and must with ({len(self.classes)}, height, width): {self.about}"

    def fits(self, student: Values, teacher: Values) -> str | None:
        """Grids may differ, classes may not."""
        if MAP in student or student[LOGITS].shape[1] == teacher[LOGITS].shape[1]:
            return None
        return (
            f"the student answers with {student[LOGITS].shape[1]} classes, the teacher with {teacher[LOGITS].shape[1]}"
        )

    def loss(self, answer: Values, targets: Nested, *, smoothing: float = 0.0) -> Tensor:
        """The cross-entropy, the mean over the pixels of a sample that count."""
        masks = _maps(targets).long()
        logits = _on_grid(answer[LOGITS], masks)
        values = F.cross_entropy(
            logits, masks, reduction="none", ignore_index=self.ignore, label_smoothing=smoothing
        ).flatten(1)
        return values.sum(1) / (masks != self.ignore).flatten(1).sum(1).clamp_min(1)

    def rows(self, answer: Values, targets: Nested | None) -> Rows:
        """One row for each pixel of the targets."""
        if targets is None:
            return Rows(answer[LOGITS].flatten(2).mT)
        masks = _maps(targets).long()
        counts = masks != self.ignore
        scores = _on_grid(answer[LOGITS], masks).flatten(2).mT
        return Rows(scores, masks.where(counts, 0).flatten(1), counts.flatten(1))

    def numbers(self, answer: Values, targets: Nested | None) -> Numbers | None:
        if targets is None:
            return Numbers(wide(answer[LOGITS]).flatten(1))
        masks = _maps(targets)
        logits = _on_grid(answer[LOGITS], masks)
        counts = (masks != self.ignore).to(logits.dtype).unsqueeze(1).expand_as(logits)
        return Numbers(logits.flatten(1), counts.flatten(1))

    def places(self, targets: Nested, grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
        """The share of each place's pixels that are of an object."""
        masks = _maps(targets)
        objects = masks != self.ignore
        if self.background is not None:
            objects &= masks != self.background
        return F.adaptive_avg_pool2d(objects.float().unsqueeze(1), grid).squeeze(1)

    def together(self, answers: Sequence[Values]) -> Values:
        """The logarithm of the mean of the probabilities, on the finest grid; a single answer as it is."""
        if len(answers) == 1:
            return answers[0]
        finest = max((answer[LOGITS] for answer in answers), key=lambda logits: logits.shape[2] * logits.shape[3])
        shares = [_on_grid(answer[LOGITS], finest[:, 0]).softmax(1) for answer in answers]
        return {LOGITS: torch.stack(shares).mean(0).log()}

    def meter(self) -> Meter:
        return PixelMeter(self)

    def kept(self, answer: Values, targets: Nested) -> Values:
        """The class of each pixel."""
        chosen = _on_grid(answer[LOGITS], _maps(targets)).argmax(1)
        return {MAP: chosen.to(torch.uint8 if len(self.classes) <= 256 else torch.int16)}

    def compared(self, student: Values, teacher: Values, targets: Nested) -> dict[str, float]:
        counts = _maps(targets) != self.ignore
        same = (student[MAP] == teacher[MAP])[counts]
        return {"agreement": exact(same).mean().item()}

    def details(self, answers: Sequence[Values], targets: Nested, taught: Sequence[Values]) -> dict[str, object]:
        counts = sum((self.counted(answer[MAP], _maps(targets)) for answer in answers), torch.zeros(()))
        return {"options": [None if value != value else value for value in _ious(counts).tolist()]}

    def commonest(self, answer: Values) -> float | None:
        """The share of samples whose pixels are all of one class."""
        maps = answer[MAP].flatten(1)
        return (maps == maps[:, :1]).all(1).float().mean().item() if len(maps) else None

    def counted(self, chosen: Tensor, masks: Tensor) -> Tensor:
        """(C, C), the pixels that count by their class and the class that was chosen."""
        count, counts = len(self.classes), masks != self.ignore
        pairs = masks[counts].long() * count + chosen[counts].long()
        return pairs.bincount(minlength=count * count).view(count, count)

    def told(self, answer: Values, *, top: int = 3) -> list[Told]:
        """The share of each class of the pixels; the record has the class of every pixel."""
        found = []
        for chosen in answer[LOGITS].argmax(1):
            shares = chosen.flatten().bincount(minlength=len(self.classes)).float() / chosen.numel()
            order = [place for place in shares.argsort(descending=True, stable=True).tolist() if shares[place] > 0]
            named = [(self.classes[place], shares[place].item()) for place in order]
            text = ", ".join(f"{name} {100 * share:.1f} %" for name, share in named[:top])
            listed = [{"label": name, "share": share} for name, share in named]
            found.append(Told(text, {"classes_of_pixels": listed, "mask": chosen.tolist()}))
        return found


class PixelMeter:
    """Mean intersection over union, pixel accuracy and loss, from the counts of all pixels.

    The mean is over the classes that any pixel is of, by the targets or the answers.
    """

    def __init__(self, task: Segmentation):
        self.task, self.loss = task, MeanLoss(task)
        self.counts: Tensor | None = None

    def update(self, answer: Values, targets: Nested) -> None:
        masks = _maps(targets)
        chosen = _on_grid(answer[LOGITS], masks).argmax(1)
        counts = self.task.counted(chosen, masks)
        self.counts = counts if self.counts is None else self.counts + counts
        self.loss.update(answer, targets)

    def compute(self) -> dict[str, float]:
        loss = self.loss.compute()
        assert self.counts is not None
        right, pixels = self.counts.diag().sum().item(), self.counts.sum().item()
        miou = _ious(self.counts).nanmean().item()
        return {"miou": miou, "pixel_accuracy": right / max(pixels, 1), **loss}


def _ious(counts: Tensor) -> Tensor:
    """Intersection over union of each class; NaN for one of which there is no pixel."""
    right = exact(counts.diag())
    return right / (counts.sum(0) + counts.sum(1) - counts.diag())


def _on_grid(logits: Tensor, masks: Tensor) -> Tensor:
    """Logits (N, C, h, w) on the grid of maps (N, H, W), in float32 at least."""
    logits = wide(logits)
    if logits.shape[2:] == masks.shape[1:]:
        return logits
    return F.interpolate(logits, masks.shape[1:], mode="bilinear", align_corners=False)


def _maps(targets: Nested) -> Tensor:
    if not isinstance(targets, Tensor) or targets.ndim not in (3, 4) or (targets.ndim == 4 and targets.shape[1] != 1):
        shape = tuple(targets.shape) if isinstance(targets, Tensor) else type(targets).__name__
        raise UserError(f"targets are {shape}; give the class number of each pixel, (N, height, width)")
    return targets.squeeze(1) if targets.ndim == 4 else targets
