"""What torchvision's ``ImageFolder`` makes of images of every kind; ``test_pictures.py`` compares it with this package.

``python -m tests.data.like_torchvision`` writes ``torchvision_images.json`` anew where torchvision is installed.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

RESIZE, SIZE = 6, 4
STORED = Path(__file__).with_name("torchvision_images.json")
# What torchvision does to them is not what a person sees.
SEEN_OTHERWISE = ("turned.jpg", "turned.png", "sixteen.png", "palette-transparent.png", "grey-alpha.png", "alpha.png")


def write(root: Path) -> list[Path]:
    """Images of every kind as files of one class."""
    folder = root / "only"
    folder.mkdir(parents=True)
    across, down = np.meshgrid(np.linspace(0, 1, 14), np.linspace(0, 1, 9))
    planes = [255 * (0.1 + 0.8 * plane) for plane in (across, down, (1 - across) * down, 0.2 + 0.6 * across * down)]
    colour, grey = np.stack(planes[:3], -1).astype(np.uint8), Image.fromarray(planes[0].astype(np.uint8))
    image, alpha = Image.fromarray(colour), Image.fromarray(planes[3].astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    palette = image.quantize(8)
    kinds: dict[str, tuple[Image.Image, dict[str, object]]] = {
        "colour.png": (image, {}),
        "colour.jpg": (image, {"quality": 95}),
        "tall.bmp": (image.transpose(Image.Transpose.ROTATE_90), {}),
        "grey.png": (grey, {}),
        "grey.jpg": (grey, {"quality": 95}),
        "black-white.png": (grey.convert("1"), {}),
        "palette.png": (palette, {}),
        "moving.tif": (image, {"save_all": True, "append_images": [image.rotate(180)]}),
        "cmyk.jpg": (image.convert("CMYK"), {"quality": 95}),
        "cmyk.tif": (image.convert("CMYK"), {}),
        "turned.jpg": (image, {"quality": 95, "exif": exif}),
        "turned.png": (image, {"exif": exif}),
        "sixteen.png": (Image.fromarray((planes[0] * 256).astype(np.uint16)), {}),
        "palette-transparent.png": (palette, {"transparency": 1}),
        "grey-alpha.png": (Image.merge("LA", (grey, alpha)), {}),
        "alpha.png": (Image.merge("RGBA", (*image.split(), alpha)), {}),
    }
    for name, (kind, options) in kinds.items():
        kind.save(folder / name, **options)
    return [folder / name for name in kinds]


def main() -> None:
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    steps = transforms.Compose([transforms.Resize(RESIZE), transforms.CenterCrop(SIZE), transforms.PILToTensor()])
    with tempfile.TemporaryDirectory() as root:
        write(Path(root))
        folder = ImageFolder(root, steps)
        found = {Path(path).name: folder[number][0].tolist() for number, (path, _) in enumerate(folder.samples)}
    STORED.write_text("{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in found.items()) + "\n}\n")
    print(STORED)


if __name__ == "__main__":
    main()
