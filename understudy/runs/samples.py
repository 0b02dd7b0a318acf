"""Pictures on which student and teacher disagree, put beside the result so that its report needs no data."""

import io
from pathlib import Path

import torch
from torch import Tensor

from understudy.data.parts import Part
from understudy.files import write_atomically
from understudy.runs.folder import SAMPLES
from understudy.runs.records import Sample
from understudy.tasks import Task
from understudy.training.evaluate import Measured

LARGEST = 96  # pixels of a side


def disagreements(folder: Path, part: Part, student: Measured, teacher: Measured, task: Task) -> list[Sample]:
    """Write the pictures and return what each network said of them; nothing where samples are no pictures."""
    rows = []
    for differing in task.differing(student.kept, teacher.kept, student.targets):
        batch = next(
            Part(part.source, part.ids[differing.place : differing.place + 1]).in_order(1, torch.device("cpu"))
        )
        picture = as_png(batch.inputs[0]) if isinstance(batch.inputs, Tensor) else None
        if picture is None:
            return []
        number = int(part.ids[differing.place])
        name = f"{SAMPLES}/{number}.png"
        write_atomically(folder / name, picture)
        rows.append(Sample.model_validate({"id": number, "file": name, "wrong": differing.kind, **differing.record}))
    return rows


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
