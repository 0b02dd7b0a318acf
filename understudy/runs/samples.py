"""Pictures on which student and teacher disagree, stored with the result so that the report needs no data."""

import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor

from understudy.data.images import outline
from understudy.data.parts import Part
from understudy.files import sha256, write_atomically
from understudy.runs.folder import SAMPLES
from understudy.runs.records import Sample
from understudy.tasks import Task
from understudy.training.evaluate import Measured

LARGEST, LARGEST_DRAWN = 96, 192  # pixels of a side, and of one with boxes in it
Drawn = Mapping[str, Sequence[Sequence[float]]]  # boxes by whose they are


def disagreements(folder: Path, part: Part, student: Measured, teacher: Measured, task: Task) -> list[Sample]:
    """Write the pictures and return both networks' answers; nothing where samples are no pictures."""
    rows = []
    for differing in task.differing(student.kept, teacher.kept, student.targets):
        picture = _picture(part, part.ids[differing.place : differing.place + 1], differing.drawn)
        if picture is None:
            return []
        number = int(part.ids[differing.place])
        name = f"{SAMPLES}/{number}.png"
        write_atomically(folder / name, picture)
        digest = hashlib.sha256(picture).hexdigest()
        known = {"id": number, "file": name, "wrong": differing.kind, "sha256": digest, **differing.record}
        known |= {"drawn": differing.drawn} if differing.drawn else {}
        rows.append(Sample.model_validate(known))
    return rows


def damaged(folder: Path, samples: Sequence[Sample]) -> list[Sample]:
    """The samples whose pictures are missing or damaged."""
    return [sample for sample in samples if sample.sha256 and not _is_whole(folder, sample)]


def mend(folder: Path, part: Part, samples: Sequence[Sample]) -> None:
    """Draw the pictures of these samples again."""
    for sample in samples:
        picture = _picture(part, torch.tensor([sample.id]), sample.drawn)
        if picture is not None:
            write_atomically(folder / SAMPLES / Path(sample.file).name, picture)


def _is_whole(folder: Path, sample: Sample) -> bool:
    try:
        return sha256(folder / SAMPLES / Path(sample.file).name) == sample.sha256
    except OSError:
        return False


def _picture(part: Part, ids: Tensor, drawn: Drawn) -> bytes | None:
    batch = next(Part(part.source, ids).in_order(1, torch.device("cpu")))
    return as_png(batch.inputs[0], drawn) if isinstance(batch.inputs, Tensor) else None


def as_png(image: Tensor, drawn: Drawn = MappingProxyType({})) -> bytes | None:
    """A small picture of one sample, with boxes where some are drawn; None where it is not of one or three channels."""
    if image.ndim != 3 or image.shape[0] not in (1, 3):
        return None
    from PIL import Image

    low, high = image.min(), image.max()
    if low < 0 or high > 1:  # whitened, or scaled by the user
        image = (image - low) / (high - low).clamp_min(1e-12)
    pixels = (255 * image.float()).round().byte().permute(1, 2, 0).numpy()
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    largest = LARGEST_DRAWN if drawn else LARGEST
    picture.thumbnail((largest, largest))
    if drawn:
        picture = picture.convert("RGB")
        outline(picture, drawn, picture.width / image.shape[2])
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()
