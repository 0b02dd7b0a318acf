"""Images per second from a folder of JPEGs, beside torchvision's ImageFolder; into ``results/images.md``.

    make test-zoo ARGS=--help   # once: the environment .venv-zoo with torchvision
    OMP_NUM_THREADS=1 .venv-zoo/bin/python -W ignore scripts/images_per_second.py
    OMP_NUM_THREADS=1 .venv-zoo/bin/python -W ignore scripts/images_per_second.py --only photographs --folder photos

Both deliver normalised float batches of the same files by the same transforms, with as many worker processes, which
are there before the first pass that counts. In every round each variant makes one pass over all images, in a shuffled
order. Seconds are medians, and ratios are medians of the ratios within a round. Freed memory is kept, as in every
training on a CPU, for both.
"""

import argparse
import io
import os
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image, features
from torch import Tensor
from torchvision import __version__ as torchvision_version
from torchvision import transforms
from torchvision.datasets import ImageFolder
from torchvision.io import decode_jpeg

from understudy.config.hardware import keep_freed_memory
from understudy.data import Augmentation, Crop, Data, load
from understudy.data.images import SHORT_SIDE, decoded
from understudy.data.pixels import Decoder, as_pixels
from understudy.files import write_atomically
from understudy.measure.machine import machine, versions
from understudy.models import Normalized

SETS = {"photographs": ((500, 375), (375, 500), (500, 333), (640, 480)), "camera": ((4000, 3000),)}
ABOUT = {"photographs": "about 500 x 375 pixels, as ImageNet's", "camera": "4,000 x 3,000 pixels, as a camera's"}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CPU = torch.device("cpu")
Pass = Callable[[int], Iterator[Tensor]]  # the batches of a round


def write(folder: Path, count: int, sizes: tuple[tuple[int, int], ...]) -> None:
    """JPEGs of two classes: waves and noise, of about a quarter of a byte a pixel."""
    for number in range(count):
        generator = np.random.default_rng(number)
        width, height = sizes[number % len(sizes)]
        across, down = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
        waves = generator.uniform(2, 40, (3, 3, 2))
        planes = [sum(np.sin(a * across + b * down + c) for c, (a, b) in enumerate(plane)) for plane in waves]
        pixels = 127 + 35 * np.stack(planes, -1) + generator.normal(0, 5, (height, width, 1))
        path = folder / f"class{number % 2}" / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=90)


def torchvision(folder: Path, options: argparse.Namespace, *, train: bool) -> Pass:
    cut = [transforms.RandomResizedCrop(options.size), transforms.RandomHorizontalFlip()]
    centre = [transforms.Resize(options.resize), transforms.CenterCrop(options.size)]
    last = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    dataset = ImageFolder(folder, transforms.Compose([*(cut if train else centre), *last]))
    loader = torch.utils.data.DataLoader(
        dataset, options.batch, shuffle=train, num_workers=options.workers, persistent_workers=options.workers > 0
    )
    return lambda number: (images for images, _ in loader)


def understudy(
    folder: Path,
    options: argparse.Namespace,
    *,
    train: bool,
    cache: float | None = None,
    decoder: Decoder = "pillow",
) -> Pass:
    settings = {"size": options.size, "resize": options.resize, "cache": cache, "decoder": decoder}
    data = load("folder", folder, workers=options.workers, validation=0, **settings)
    network = Normalized(torch.nn.Identity(), MEAN, STD)  # as every network of a run gets its images
    return lambda number: (network(x) for x in (_epoch if train else _in_order)(data, options.batch, number))


def _epoch(data: Data, batch: int, number: int) -> Iterator[Tensor]:
    augmentation = Augmentation(crop=Crop(), flip=True)
    kwargs = {"seed": 0, "batch": batch, "augmentation": augmentation, "task": data.task, "device": CPU}
    return (one.inputs for one in data.train.epoch(number, **kwargs))


def _in_order(data: Data, batch: int, number: int) -> Iterator[Tensor]:
    return (one.inputs for one in data.train.in_order(batch, CPU))


def measured(variants: dict[str, Pass], images: int, rounds: int) -> list[str]:
    """A table of the variants, the first of which is what the others are compared with."""
    times: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(-1, rounds):  # the first pass starts the workers and reads the files
        for name in random.Random(number).sample(list(variants), len(variants)):
            start = time.perf_counter()
            seen = sum(len(batch) for batch in variants[name](number + 1))
            assert seen == images, (name, seen)
            if number >= 0:
                times[name].append(time.perf_counter() - start)
            print(f"  round {number}: {name}: {images / (time.perf_counter() - start):.0f} images a second", flush=True)
    first, rows = next(iter(variants)), ["| | images a second | beside the first |", "| --- | ---: | ---: |"]
    for name, seconds in times.items():
        ratio = statistics.median(a / b for a, b in zip(times[first], seconds, strict=True))
        rows.append(f"| {name} | {images / statistics.median(seconds):,.0f} | {ratio:.2f} |")
    return rows


def decoders(folder: Path, options: argparse.Namespace) -> dict[str, Pass]:
    """One process that decodes and does nothing else; the last ones give the sample, the others the whole image."""
    paths = sorted(folder.rglob("*.jpg"))

    def each(decode: Callable[[Path], Tensor]) -> Pass:
        return lambda number: (decode(path)[None] for path in paths)

    shape = 3, options.size, options.size
    made = {
        "Pillow, whole": each(lambda path: as_pixels(Image.open(io.BytesIO(path.read_bytes())).convert("RGB"))),
        "torchvision.io, whole": each(
            lambda path: decode_jpeg(torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8))
        ),
        "understudy, sample": each(lambda path: decoded(path, shape, SHORT_SIDE, options.resize)),
        "understudy, sample by simplejpeg": each(
            lambda path: decoded(path, shape, SHORT_SIDE, options.resize, "simplejpeg")
        ),
    }
    try:
        from turbojpeg import TurboJPEG
    except ImportError:
        return made
    turbo = TurboJPEG()
    return {
        "Pillow, whole": made.pop("Pillow, whole"),
        "PyTurboJPEG, whole": each(lambda path: torch.from_numpy(turbo.decode(path.read_bytes())).permute(2, 0, 1)),
    } | made


def section(name: str, folder: Path, options: argparse.Namespace) -> Iterator[str]:
    images = len(list(folder.rglob("*.jpg")))
    yield from ["", f"## {name}", "", f"{images} JPEGs of {ABOUT[name]}" if not options.folder else f"{images} JPEGs"]
    for title, train in (("Training: random-resized crop, flip", True), ("Evaluation: resize, centre crop", False)):
        variants = {
            "torchvision": torchvision(folder, options, train=train),
            "understudy": understudy(folder, options, train=train),
            "understudy, `simplejpeg`": understudy(folder, options, train=train, decoder="simplejpeg"),
            "understudy, `cache`": understudy(folder, options, train=train, cache=100),
            "understudy, both": understudy(folder, options, train=train, cache=100, decoder="simplejpeg"),
        }
        yield from ["", f"{title}.", "", *measured(variants, images, options.rounds)]
    yield from ["", "Decoding alone, in one process.", "", *measured(decoders(folder, options), images, options.rounds)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--folder", type=Path, help="a folder of JPEGs in folders of classes, instead of made ones")
    parser.add_argument("--images", type=int, default=512, help="a multiple of --batch; of a camera an eighth as many")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--resize", type=int, default=256)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("results/images.md"))
    options = parser.parse_args()
    keep_freed_memory()
    about = machine() | versions() | {"torchvision": torchvision_version, "libjpeg": features.version("jpg") or "?"}
    about["commit"] = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True
    ).stdout.strip()
    page = ["# Images per second", "", f"Made by `python scripts/images_per_second.py`. {_listed(about)}."]
    page += ["", f"Samples of {options.size} pixels, batches of {options.batch} (of a camera's "]
    page[-1] += f"{options.batch // 8}), {options.workers} worker processes; medians of {options.rounds} rounds."
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["XDG_CACHE_HOME"] = str(Path(scratch) / "cache")
        for name in options.only:
            folder = options.folder or Path(scratch) / name
            few = 8 if name == "camera" and not options.folder else 1  # fewer and smaller batches of large images
            if not options.folder:
                write(folder, options.images // few, SETS[name])
            print(name, flush=True)
            page += section(name, folder, argparse.Namespace(**{**vars(options), "batch": options.batch // few}))
    write_atomically(options.out, ("\n".join(page) + "\n").encode())
    print(options.out)


def _listed(facts: dict[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items())


if __name__ == "__main__":
    main()
