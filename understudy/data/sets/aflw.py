"""AFLW's faces and patches without one, of 16 x 16, in the upstream form: ``aflw.sqlite`` and ``flickr/``.

FitNets' experiment A.4 takes 25,000 faces and as many patches of ImageNet's images. ``others`` names a folder of images
without faces for these; without it they are cut out of AFLW's own photographs beside the annotated faces, where a face
that is not annotated may be seen.

Reference: Köstinger, Wohlhart, Roth, Bischof, "Annotated facial landmarks in the wild", ICCV workshops 2011.
"""

import sqlite3
import warnings
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from understudy import randomness
from understudy.bounds import Pixels
from understudy.data.dataset import Access, Contents, DataSet, image_source
from understudy.data.images import SUFFIXES, TORCHVISION, loaded, opened
from understudy.data.pixels import as_pixels
from understudy.data.sources import Source
from understudy.errors import UserError
from understudy.tasks.multilabel import Binary

FOLDERS = ("aflw/data", "AFLW/aflw/data", "data", ".")  # of aflw.sqlite
QUERY = (
    "SELECT FaceImages.filepath, FaceImages.width, FaceImages.height, FaceRect.x, FaceRect.y, FaceRect.w, FaceRect.h "
    "FROM FaceImages JOIN Faces ON FaceImages.file_id = Faces.file_id "
    "JOIN FaceRect ON FaceRect.face_id = Faces.face_id ORDER BY Faces.face_id"
)
UNUSED = "SELECT COUNT(*) FROM Faces WHERE face_id NOT IN (SELECT face_id FROM FaceRect)"
LOST = "SELECT COUNT(*) FROM Faces WHERE file_id NOT IN (SELECT file_id FROM FaceImages)"
TESTED = 10  # every tenth photograph, at random, is of the test part, as in the paper
TRIES = 20  # places at which a patch without a face is looked for

Box = tuple[int, int, int, int]  # left, top, right, bottom


@dataclass(frozen=True)
class AflwSettings:
    """What the patches are.

    Args:
        size: the side of a patch.
        others: a folder of images without faces; by default the patches without one are of AFLW's own photographs.
    """

    size: Pixels = 16
    others: str = ""


@dataclass(frozen=True)
class Patch:
    """A part of an image file: a box in an image of this size, or a square that is drawn by its number."""

    path: Path
    number: int
    face: bool
    box: Box | None = None
    size: tuple[int, int] | None = None


def read(settings: AflwSettings, access: Access) -> Contents:
    """Nine tenths of the photographs now, those of the test part when they are asked for."""
    folder = next((access.folder / name for name in FOLDERS if (access.folder / name / "aflw.sqlite").is_file()), None)
    if folder is None:
        raise UserError(
            f"{access.folder} holds no AFLW (aflw/data with aflw.sqlite, and the photographs in aflw/data/flickr): ask "
            "for it at https://www.tugraz.at/institute/icg/research/team-bischof/lrs/downloads/aflw/"
        )
    faces, facts = _faces(folder)
    others = _of_folder(Path(settings.others), len(faces)) if settings.others else _beside(faces)
    names = list(dict.fromkeys(name for group in (faces, others) for name in sorted(str(one.path) for one in group)))
    drawn = randomness.integers(0, 0, torch.arange(len(names)), "aflw/test", 0, TESTED).tolist()
    tested = {name for name, number in zip(names, drawn, strict=True) if number == 0}
    train, test = ([one for one in (*faces, *others) if (str(one.path) in tested) is part] for part in (False, True))
    return Contents(
        _source(train, settings, access),
        (lambda: _source(test, settings, access)) if test else None,
        task=Binary.of(torch.tensor([0, 1]), names=("other", "face")),
        facts={"folder": str(folder), **facts},
        problems=lambda: (
            f"{name} is missing: get the images of the set" for name in names if not Path(name).is_file()
        ),
    )


def _faces(folder: Path) -> tuple[list[Patch], dict[str, object]]:
    """The faces, cut at the borders of their images, and how many there are and are left out."""
    path = folder / "aflw.sqlite"
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            rows = connection.execute(QUERY).fetchall()
            (unused,), (lost,) = (connection.execute(query).fetchone() for query in (UNUSED, LOST))
        named = [(Path(str(row[0])), [int(side) for side in row[1:]]) for row in rows]
    except (sqlite3.Error, ValueError, TypeError) as error:
        raise UserError(f"{path} is not in the form of AFLW's database: {error}") from error
    if lost:
        text = f"{path}: {lost:,} faces are left out, whose images the table FaceImages does not have"
        warnings.warn(text, stacklevel=2)
    faces = list[Patch]()
    for number, (name, (width, height, x, y, w, h)) in enumerate(named):
        if name.is_absolute() or ".." in name.parts:
            raise UserError(f"{path}: the image {str(name)!r} is outside {folder / 'flickr'}")
        box = max(0, x), max(0, y), min(width, x + w), min(height, y + h)
        if box[0] < box[2] and box[1] < box[3]:
            faces.append(Patch(folder / "flickr" / name, number, True, box, (width, height)))
    if not faces:
        raise UserError(f"{path} names no face")
    left_out = {
        "faces outside of their images, left out": len(rows) - len(faces),
        "faces without a rectangle, left out": unused,
    }
    return faces, {"faces": len(faces), **left_out}


def _beside(faces: Sequence[Patch]) -> list[Patch]:
    """For each face a patch of its photograph, of the face's size, that touches no face, if one is found."""
    boxes: dict[Path, list[Box]] = {}
    for face in faces:
        assert face.box is not None
        boxes.setdefault(face.path, []).append(face.box)
    numbers, found = torch.tensor([face.number for face in faces]), list[Patch]()
    places = [[_shares(attempt, numbers, axis) for axis in "xy"] for attempt in range(TRIES)]
    for row, face in enumerate(faces):
        assert face.box is not None
        assert face.size is not None
        left, top, right, bottom = face.box
        side = min(right - left, bottom - top)
        free = [length - side for length in face.size]
        for across, down in places:
            x, y = int(across[row] * (free[0] + 1)), int(down[row] * (free[1] + 1))
            if all(x + side <= a or c <= x or y + side <= b or d <= y for a, b, c, d in boxes[face.path]):
                found.append(Patch(face.path, face.number, False, (x, y, x + side, y + side), face.size))
                break
    return found


def _shares(attempt: int, numbers: Tensor, axis: str) -> list[float]:
    drawn: list[float] = randomness.uniform(0, attempt, numbers, f"aflw/{axis}").tolist()
    return drawn


def _of_folder(folder: Path, count: int) -> list[Patch]:
    """As many patches of the images below a folder, one after the other."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not files:
        raise UserError(f"others = {str(folder)!r} holds no images (files that end in {', '.join(SUFFIXES)})")
    return [Patch(files[number % len(files)], number, False) for number in range(count)]


class Patches:
    """The patches as a map-style dataset: (3, size, size) of uint8, from the pixels as they are stored."""

    def __init__(self, patches: Sequence[Patch], size: int):
        self.patches, self.size = patches, size

    def __len__(self) -> int:
        return len(self.patches)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        from PIL import Image

        patch = self.patches[index]
        with opened(patch.path) as file:
            image = loaded(patch.path, file, "RGB", TORCHVISION)[0]
        box = patch.box or self._drawn(patch.number, image.width, image.height)
        if patch.size is not None and image.size != patch.size:
            raise UserError(
                f"{patch.path} has {image.width} x {image.height} pixels, and the database says {patch.size[0]} x "
                f"{patch.size[1]}: get the images again"
            )
        return as_pixels(image.crop(box).resize((self.size, self.size), Image.Resampling.BILINEAR)), 0

    def _drawn(self, number: int, width: int, height: int) -> Box:
        """A square from the size of a patch to the whole image, anywhere in it."""
        ids = torch.tensor([number])
        sides, across, down = (float(randomness.uniform(0, 0, ids, f"aflw/{what}")) for what in ("side", "x", "y"))
        longest = min(width, height)
        least = min(self.size, longest)
        side = least + int(sides * (longest - least + 1))
        left, top = int(across * (width - side + 1)), int(down * (height - side + 1))
        return left, top, left + side, top + side


def _source(patches: Sequence[Patch], settings: AflwSettings, access: Access) -> Source:
    labels = torch.tensor([int(patch.face) for patch in patches])
    return image_source(Patches(patches, settings.size), labels, (3, settings.size, settings.size), access)


AFLW = DataSet("aflw", "AFLW: faces and other patches, 16 x 16, colour", read, AflwSettings)
