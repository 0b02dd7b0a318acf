"""COCO's boxes, in the upstream form: ``annotations/instances_SPLIT.json``, and the images in ``SPLIT/``."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from understudy.bounds import Pixels
from understudy.data.boxed import Boxed, source_of
from understudy.data.dataset import Access, Contents, DataSet, problems_of
from understudy.errors import UserError
from understudy.tasks.detection import Detection


@dataclass(frozen=True)
class Settings:
    """Which splits are read, and to which size images are brought.

    Args:
        size: side of the square into which an image is fitted, with borders (a letterbox).
        train, test: the names of the splits, as files and folders are called.
    """

    size: Pixels = 320
    train: str = "train2017"
    test: str = "val2017"


def read(settings: Settings, access: Access) -> Contents:
    """The images and boxes of the training split now, those of the test split when they are asked for."""
    root = next(
        (access.folder / name for name in ("coco", ".") if (access.folder / name / "annotations").is_dir()), None
    )
    if root is None:
        raise UserError(
            f"{access.folder} holds no COCO (a folder annotations with instances_{settings.train}.json beside the "
            "images' folders): get it from https://cocodataset.org and unpack it there"
        )
    names, images, empty = listed(root, settings.train)
    test = root / "annotations" / f"instances_{settings.test}.json"

    def of_test() -> list[Boxed]:
        others, found, _ = listed(root, settings.test)
        if others != names:
            raise UserError(f"{test} names other categories than instances_{settings.train}.json")
        return found

    return Contents(
        source_of(images, settings.size, access),
        (lambda: source_of(of_test(), settings.size, access)) if test.is_file() else None,
        task=Detection(names),
        facts={"folder": str(root), "boxes without area, left out": empty},
        problems=partial(_problems, images, of_test if test.is_file() else None),
    )


def listed(root: Path, split: str) -> tuple[tuple[str, ...], list[Boxed], int]:
    """The names of the categories in the order of their numbers, the images, and how many boxes have no area.

    Categories are numbered from 0 in the order of COCO's own numbers, which have gaps. Crowds are ignored boxes.
    """
    path = root / "annotations" / f"instances_{split}.json"
    try:
        content = json.loads(path.read_bytes())
        for kind in ("categories", "images"):
            _check_numbers(kind, content[kind])
        numbers = {one["id"]: place for place, one in enumerate(sorted(content["categories"], key=_id))}
        names = tuple(str(one["name"]) for one in sorted(content["categories"], key=_id))
        images = {one["id"]: _image(root / split, one) for one in content["images"]}
        kept = [_add(images, numbers, one) for one in content["annotations"]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = f"has no entry {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(f"{path} is not in the form of COCO's annotations: {reason}") from error
    return names, list(images.values()), kept.count(False)


def _check_numbers(kind: str, rows: Sequence[Mapping[str, int]]) -> None:
    """Boxes would go to another image or class if two had one number, as in files that were put together."""
    number, count = Counter(map(_id, rows)).most_common(1)[0] if rows else (0, 1)
    if count > 1:
        raise ValueError(f"{count} {kind} have the id {number}")


def _id(one: Mapping[str, int]) -> int:
    return one["id"]


def _image(folder: Path, one: Mapping[str, object]) -> Boxed:
    name = str(one["file_name"])
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise ValueError(f"the image {name!r} is outside {folder}")
    width, height = (int(str(one[side])) for side in ("width", "height"))
    if width < 1 or height < 1:
        raise ValueError(f"the image {name!r} has {width} x {height} pixels")
    return Boxed(folder / name, (width, height))


def _add(images: Mapping[object, Boxed], numbers: Mapping[object, int], one: Mapping[str, object]) -> bool:
    box = one["bbox"]
    if not isinstance(box, list) or len(box) != 4:
        raise ValueError(f"annotation {one.get('id')} has the box {box}; it is x, y, width and height")
    x, y, width, height = map(float, box)
    image = images[one["image_id"]]
    return image.add((x, y, x + width, y + height), numbers[one["category_id"]], bool(one.get("iscrowd", 0)))


def _problems(images: list[Boxed], of_test: Callable[[], list[Boxed]] | None) -> Iterator[str]:
    """What is wrong with the annotations of the test part, and the image files that are not there."""
    if of_test is not None:
        yield from problems_of(of_test)()
    yield from (f"{image.path} is missing: get the images of the split" for image in images if not image.path.is_file())


COCO = DataSet("coco", "COCO 2017: boxes of 80 classes, 118,287 + 5,000 images", read, Settings)
