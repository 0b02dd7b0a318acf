"""Pascal VOC 2007's boxes, in the upstream form: ``Annotations/*.xml``, ``JPEGImages/*.jpg``, ``ImageSets/Main``."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

from understudy.bounds import Pixels
from understudy.data.boxed import Boxed, source_of
from understudy.data.dataset import Access, Contents, DataSet, problems_of
from understudy.data.sources import Source
from understudy.errors import UserError
from understudy.tasks.detection import Detection

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
FOLDERS = ("VOCdevkit/VOC2007", "VOC2007", ".")
LONGEST = 1_000_000  # bytes of an annotation; published ones have a few thousand


@dataclass(frozen=True)
class Settings:
    """Which lists of images are read, and to which size images are brought.

    Args:
        size: side of the square into which an image is fitted, with borders (a letterbox).
        train, test: lists in ``ImageSets/Main``.
    """

    size: Pixels = 320
    train: str = "trainval"
    test: str = "test"


def read(settings: Settings, access: Access) -> Contents:
    """The images of the training list now, those of the test list when they are asked for."""
    root = next((access.folder / name for name in FOLDERS if (access.folder / name / "ImageSets/Main").is_dir()), None)
    if root is None:
        raise UserError(
            f"{access.folder} holds no VOC 2007 (a folder VOCdevkit/VOC2007 with Annotations, JPEGImages and "
            "ImageSets): get it from http://host.robots.ox.ac.uk/pascal/VOC/voc2007 and unpack it there"
        )
    there = (root / "ImageSets/Main" / f"{settings.test}.txt").is_file()
    return Contents(
        _source(root, settings.train, settings.size, access),
        partial(_source, root, settings.test, settings.size, access) if there else None,
        problems=problems_of(partial(_listed, root, settings.test)) if there else None,
        task=Detection(CLASSES, metric="voc07"),
        facts={"folder": str(root)},
    )


def _source(root: Path, split: str, side: int, access: Access) -> Source:
    return source_of(_listed(root, split), side, access)


def _listed(root: Path, split: str) -> list[Boxed]:
    listed = root / "ImageSets/Main" / f"{split}.txt"
    names = [line.split()[0] for line in listed.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [annotated(root, name) for name in names]


def annotated(root: Path, name: str) -> Boxed:
    """An image with the boxes of its annotation; those that are marked as difficult are ignored.

    VOC's pixels are numbered from 1, and a box includes its last ones.
    """
    path = root / "Annotations" / f"{name}.xml"
    content = path.read_bytes()
    try:
        text = content.decode("utf-8")
        if len(content) > LONGEST or "<!" in text.replace("<!--", ""):  # no entities, which could grow without end
            raise ValueError("it is longer than annotations are, or declares a document type")
        tree = ElementTree.fromstring(text)
        size = _number(tree, "size/width"), _number(tree, "size/height")
        if min(size) < 1:
            raise ValueError(f"its image has {size[0]} x {size[1]} pixels")
        image = Boxed(root / "JPEGImages" / f"{name}.jpg", (int(size[0]), int(size[1])))
        for one in tree.iter("object"):
            left, top, right, bottom = (_number(one, f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax"))
            known = CLASSES.index((one.findtext("name") or "").strip())
            image.add((left - 1, top - 1, right, bottom), known, (one.findtext("difficult") or "0").strip() == "1")
    except (ElementTree.ParseError, ValueError) as error:
        raise UserError(f"{path} is not in the form of VOC's annotations: {error}") from error
    return image


def _number(tree: ElementTree.Element, path: str) -> float:
    text = tree.findtext(path)
    if text is None:
        raise ValueError(f"it has no {path}")
    return float(text)


VOC_2007 = DataSet("voc2007", "Pascal VOC 2007: boxes of 20 classes, 5,011 + 4,952 images", read, Settings)
