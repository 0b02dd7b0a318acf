#!/usr/bin/env python3
"""Make the images that ship with the package: a class-balanced part of Fashion-MNIST.

    python scripts/make_demo_data.py                  from Debian's package dataset-fashion-mnist (apt-get, dpkg)
    python scripts/make_demo_data.py --from FOLDER    from a folder with the four idx files

The first 500 images of each class of the 60,000 training and of the 10,000 test images, in the order of the files,
as lossless WebP strips of 500 images each. The same input gives the same file, byte for byte (with one Pillow).
"""

import argparse
import io
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from understudy.data.dataset import Access
from understudy.data.sets.mnist import FASHION_MNIST_FILES, read
from understudy.data.sources import InMemory

OUT = Path(__file__).resolve().parent.parent / "understudy" / "data" / "sets" / "demo_images"
PER_CLASS = 500
STRIP = 500  # images in one WebP, whose sides may have 16,383 pixels at most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="source", type=Path, help="folder with the four files of Fashion-MNIST")
    parser.add_argument("--to", type=Path, default=OUT, help="folder to write to")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        source = options.source or from_debian(Path(temporary))
        root = Path(temporary) / "root"
        (root / FASHION_MNIST_FILES.folder).parent.mkdir(parents=True)
        (root / FASHION_MNIST_FILES.folder).symlink_to(source.resolve())
        found = read(FASHION_MNIST_FILES, Access(root, download=False))  # checks every file's md5
        arrays = packed("train", found.train) | packed("test", found.open_test and found.open_test())
    options.to.mkdir(parents=True, exist_ok=True)
    file = options.to / "fashion_mnist_small.npz"
    np.savez(file, **arrays)  # type: ignore[arg-type]
    (options.to / "LICENSE.fashion-mnist").write_text(LICENCE)
    print(f"{file}: {len(arrays['train_labels'])} + {len(arrays['test_labels'])} images, {file.stat().st_size:,} bytes")


def from_debian(folder: Path) -> Path:
    """The data folder of Debian's package, downloaded and unpacked but not installed."""
    subprocess.run(["apt-get", "download", "-q", "dataset-fashion-mnist"], cwd=folder, check=True)
    subprocess.run(["dpkg", "-x", str(next(folder.glob("*.deb"))), str(folder)], check=True)
    return next(folder.rglob("train-images-idx3-ubyte*")).parent


def packed(part: str, source: object) -> dict[str, np.ndarray]:
    """The part's first images of each class: strips, where each ends, labels, and numbers in the full set."""
    assert isinstance(source, InMemory)
    labels = source.targets.numpy()
    first = [np.flatnonzero(labels == label)[:PER_CLASS] for label in range(len(FASHION_MNIST_FILES.classes))]
    chosen = np.sort(np.concatenate(first))
    images = source.samples[chosen, 0].numpy()
    strips = [encoded(images[start : start + STRIP]) for start in range(0, len(images), STRIP)]
    return {
        f"{part}_strips": np.frombuffer(b"".join(strips), np.uint8),
        f"{part}_offsets": np.cumsum([0, *map(len, strips)]).astype(np.int64),
        f"{part}_labels": labels[chosen].astype(np.uint8),
        f"{part}_indices": chosen.astype(np.uint16),
    }


def encoded(images: np.ndarray) -> bytes:
    """Images below one another in one lossless WebP."""
    file = io.BytesIO()
    picture = Image.fromarray(images.reshape(-1, images.shape[-1])).convert("RGB")
    picture.save(file, "WEBP", lossless=True, exact=True)
    return file.getvalue()


LICENCE = """\
The MIT License (MIT)

Copyright (c) 2017 Zalando SE, https://tech.zalando.com

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""

if __name__ == "__main__":
    main()
