"""Code for methods on maps and other hidden values: checks of shapes, a common grid, products in full precision."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from understudy.errors import UserError, did_you_mean
from understudy.objective.term import Term
from understudy.precision import wide
from understudy.taps import Pair


def difference(student: Tensor, teacher: Tensor) -> Tensor:
    """Teacher minus student, in float32 at least; both must have one shape, since broadcasting would hide a mistake."""
    require_same_shape(student, teacher)
    return wide(teacher) - wide(student)


def feature_mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of two hidden values, one value per sample.

    ``mean (t - s)^2`` over all elements of a sample: the form that CRD's benchmark calls FitNet (weight 100).

    >>> feature_mse(torch.zeros(2, 3), torch.ones(2, 3))
    tensor([1., 1.])
    """
    return difference(student, teacher).square().flatten(1).mean(1)


def require_same_shape(student: Tensor, teacher: Tensor) -> None:
    if student.shape != teacher.shape:
        raise UserError(
            f"the student's {tuple(student.shape)} and the teacher's {tuple(teacher.shape)} differ in shape: "
            "put a regressor between them"
        )


def require_same_channels(student: Tensor, teacher: Tensor) -> None:
    if student.shape[:2] != teacher.shape[:2]:
        raise UserError(
            f"the student's {tuple(student.shape)} and the teacher's {tuple(teacher.shape)} differ in batch or "
            "channels: put a regressor between them"
        )


def require_known(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UserError(f"{name}={value!r} is not known{did_you_mean(value, known)}")


def on_common_grid(*maps: Tensor) -> tuple[Tensor, ...]:
    """Maps (N, C, H, W) of any sizes, averaged down to the smallest height and width among them.

    Values of another form, (N, C, places), must have the same places already.
    """
    shapes = [tuple(values.shape) for values in maps]
    if any(len(shape) < 3 or shape[0] != shapes[0][0] for shape in shapes):
        raise UserError(f"these are no maps (N, C, H, W) of one batch: {_listed(shapes)}; tap places that give maps")
    if all(shape[2:] == shapes[0][2:] for shape in shapes):
        return tuple(wide(values) for values in maps)
    if any(len(shape) != 4 for shape in shapes):
        raise UserError(
            f"values of these shapes have no common grid: {_listed(shapes)}; bring them to maps (N, C, H, W)"
        )
    height, width = min(shape[2] for shape in shapes), min(shape[3] for shape in shapes)
    return tuple(F.adaptive_avg_pool2d(wide(values), (height, width)) for values in maps)


def products(rows: Tensor, columns: Tensor) -> Tensor:
    """The scalar products of all rows, (N, A, D) with (N, B, D) to (N, A, B), in full precision under autocast too."""
    with torch.autocast(rows.device.type, enabled=False):
        return torch.bmm(wide(rows), wide(columns).transpose(1, 2))


def require_maps(term: Term, *values: Tensor) -> None:
    """Channels and places are those of maps (N, C, H, W)."""
    for value in values:
        if value.ndim != 4:
            raise UserError(f"{term} compares maps (N, C, H, W), not {tuple(value.shape)}: tap places that give maps")


def require_places(term: Term, pair: Pair, student: Tensor, teacher: Tensor) -> None:
    """Both are maps or tokens of more than one place: what compares places trains nothing where there is one."""
    for value, tap, called in ((student, pair.student, "student"), (teacher, pair.teacher, "teacher")):
        if value.ndim == 4 and value.shape[2:].numel() == 1:
            raise UserError(
                f"{term} compares the places of maps, and the {called}'s {str(tap)!r} is {tuple(value.shape[1:])}, a "
                "single place: tap a larger map, before the pooling"
            )


class BatchNorm(nn.BatchNorm2d):
    """Batch norm that accepts a single value for each channel: it has no variance, so the running one is used."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.numel() == x.shape[1]:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)


def _listed(shapes: list[tuple[int, ...]]) -> str:
    return ", ".join(map(str, shapes))
