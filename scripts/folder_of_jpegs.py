"""Write images of a data set as a folder of JPEGs by class, as a user has photos: for recipes and measurements.

    python scripts/folder_of_jpegs.py cifar10 photos --train 5000
    python scripts/folder_of_jpegs.py fashion_mnist clothes --train 20000 --root /data

The first images of each class in the order of the files; the whole test part, unless ``--test`` says fewer.
"""

import argparse
from collections import Counter
from pathlib import Path

from PIL import Image

import understudy
from understudy.data.dataset import Part

QUALITY = 95


def written(part: Part, folder: Path, classes: tuple[str, ...], count: int) -> int:
    """Write so many images of a part, equally many of each class; how many there are."""
    kept: Counter[int] = Counter()
    for number in range(len(part)):
        label = int(part.targets[number])
        if kept[label] == count // len(classes):
            continue
        place = folder / classes[label].replace("/", "-")
        place.mkdir(parents=True, exist_ok=True)
        pixels = part.source.samples[number].permute(1, 2, 0).squeeze(2).numpy()
        Image.fromarray(pixels).save(place / f"{kept[label]:05}.jpg", quality=QUALITY)
        kept[label] += 1
    return sum(kept.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="of a data set whose images have one size and fit in memory")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--root", type=Path, help="where the data set lies, or is downloaded to")
    parser.add_argument("--train", type=int, default=5000, help="images of the training part")
    parser.add_argument("--test", type=int, default=10_000, help="images of the test part")
    given = parser.parse_args()
    data = understudy.data.load(given.name, given.root, validation=0)
    counts = [
        written(part, given.folder / name, data.classes, count)
        for name, part, count in (("train", data.train, given.train), ("test", data.test, given.test))
    ]
    print(f"{given.folder}: {counts[0]} training and {counts[1]} test images of {len(data.classes)} classes")


if __name__ == "__main__":
    main()
