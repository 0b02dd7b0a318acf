"""Pictures on which student and teacher disagree, put beside the result so that its report needs no data."""

import io
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from understudy.data.parts import Part
from understudy.files import write_atomically
from understudy.runs.folder import SAMPLES
from understudy.runs.records import Sample

MOST = {"student": 16, "teacher": 8, "both": 8}  # of each kind: who errs
LARGEST = 96  # pixels of a side


def disagreements(
    folder: Path, part: Part, labels: Tensor, student: Tensor, teacher: Tensor, options: Sequence[str]
) -> list[Sample]:
    """Write the pictures and answer with what each network said of them; nothing where samples are no pictures."""
    ours, theirs = student.softmax(1).max(1), teacher.softmax(1).max(1)
    chosen = surest(labels, ours.indices, theirs.indices, ours.values * theirs.values)
    rows = []
    for place in chosen:
        batch = next(Part(part.source, part.ids[place : place + 1]).in_order(1, torch.device("cpu")))
        picture = as_png(batch.inputs[0])
        if picture is None:
            return []
        name = f"{SAMPLES}/{int(part.ids[place])}.png"
        write_atomically(folder / name, picture)
        target, answered, taught = (int(said[place]) for said in (labels, ours.indices, theirs.indices))
        rows.append(
            Sample(
                id=int(part.ids[place]),
                file=name,
                wrong="student" if taught == target else "teacher" if answered == target else "both",
                target=options[target],
                student=options[answered],
                student_confidence=round(float(ours.values[place]), 4),
                teacher=options[taught],
                teacher_confidence=round(float(theirs.values[place]), 4),
            )
        )
    return rows


def surest(labels: Tensor, student: Tensor, teacher: Tensor, sure: Tensor) -> list[int]:
    """Places of the samples on which the two disagree most confidently, of each kind of error."""
    apart, right, taught = student != teacher, student == labels, teacher == labels
    kinds = {"student": apart & taught, "teacher": apart & right, "both": apart & ~right & ~taught}
    chosen: list[int] = []
    for kind, members in kinds.items():
        places = members.nonzero().flatten()
        first = sure[places].argsort(descending=True, stable=True)[: MOST[kind]]
        chosen += places[first].tolist()
    return chosen


def as_png(image: Tensor) -> bytes | None:
    """A small picture of one sample; None where it is not of one or three channels."""
    if image.ndim != 3 or image.shape[0] not in (1, 3):
        return None
    from PIL import Image

    low, high = image.min(), image.max()
    if low < 0 or high > 1:  # whitened, or scaled in the user's own way
        image = (image - low) / (high - low).clamp_min(1e-12)
    pixels = (255 * image.float()).round().byte().permute(1, 2, 0).numpy()
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    picture.thumbnail((LARGEST, LARGEST))
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()
