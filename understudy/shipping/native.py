"""The student in the form of the library that its network is of, so that it opens without Understudy.

timm: ``timm.create_model("hf-hub:USER/NAME", pretrained=True)``. transformers: ``from_pretrained("USER/NAME")``.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from torch import nn

from understudy.models import student as product
from understudy.models.description import Description, Input
from understudy.taps import inner

PROCESSOR = "preprocessor_config.json"
WRITTEN = "config.json", "model.safetensors", PROCESSOR  # by the libraries
BILINEAR = 2  # as Pillow numbers it
_TIMM = 'timm.create_model("hf-hub:USER/NAME", pretrained=True)'


def opened_by(description: Description) -> str | None:
    """The line that opens a student in its own library; None if it has none, or does more than normalise its inputs."""
    library = "" if description.network is None else description.network.name.partition(":")[0]
    front = {name: value for name, value in (description.front or {}).items() if value is not None}
    normalised = not front or (front["front"] == "normalized" and set(front) == {"front", "mean", "std"})
    if description.network is None or not normalised or description.graft is not None:
        return None
    if library == "timm":
        return _TIMM
    if library != "transformers":
        return None
    kind = "Sequence" if description.task.takes_words else "Image"
    kind = "Token" if description.network.settings.get("head") == "tokens" else kind
    return f'transformers.AutoModelFor{kind}Classification.from_pretrained("USER/NAME")'


def save(folder: Path, into: Path) -> bool:
    """Writes the student of ``folder`` as its library does; false if no library opens it (see ``opened_by``)."""
    description = product.read(folder)
    line = opened_by(description)
    if line is None:
        return False
    network, seen = inner(product.load(folder)), description.input
    front = description.front or {"mean": [0.0] * seen.shape[0], "std": [1.0] * seen.shape[0]}
    write = _timm if line == _TIMM else _transformers
    write(network, into, seen, {"mean": front["mean"], "std": front["std"]}, description.classes)
    return True


def _timm(network: nn.Module, into: Path, seen: Input, front: Mapping[str, object], classes: Sequence[str]) -> None:
    from timm.models import save_for_hf

    config = {**cast(dict[str, object], network.pretrained_cfg), **timm_config(seen), **front}
    shape = seen.shape
    arguments = {"in_chans": shape[0]} if shape[0] != 3 else None
    save_for_hf(
        network,
        str(into),
        model_config={"pretrained_cfg": config, "label_names": list(classes)},
        model_args=arguments,
        safe_serialization=True,
    )


def timm_config(seen: Input) -> dict[str, object]:
    """What timm's evaluation transform needs in order to show images as the student's description has it.

    >>> timm_config(Input(shape=(3, 8, 8)))
    {'input_size': (3, 8, 8), 'interpolation': 'bilinear', 'crop_mode': 'center', 'crop_pct': 1.0}
    """
    side = seen.shape[-1]
    # timm divides the side by the share and rounds down
    share = 1.0 if seen.resize in (None, side) else math.nextafter(side / seen.resize, 0.0)
    return {"input_size": seen.shape, "interpolation": "bilinear", "crop_mode": "center", "crop_pct": share}


def _transformers(
    network: nn.Module, into: Path, seen: Input, front: Mapping[str, object], classes: Sequence[str]
) -> None:
    network.config.id2label = dict(enumerate(classes))  # type: ignore[union-attr]
    network.config.label2id = {name: number for number, name in enumerate(classes)}  # type: ignore[union-attr]
    network.save_pretrained(into)  # type: ignore[operator]
    if len(seen.shape) == 3 and seen.shape[1] == seen.shape[2]:
        (into / PROCESSOR).write_text(json.dumps(processor(seen, front), indent=2) + "\n", encoding="utf-8")


def processor(seen: Input, front: Mapping[str, object]) -> dict[str, object]:
    """A ``preprocessor_config.json`` that shows images as the student's description has it.

    >>> processor(Input(shape=(3, 8, 8)), {"mean": [0.5] * 3, "std": [0.5] * 3})["size"]
    {'shortest_edge': 8}
    """
    channels, side, _ = seen.shape
    return {
        "image_processor_type": "CLIPImageProcessor",  # one with a short side and a crop
        "do_convert_rgb": channels == 3,
        "do_resize": True,
        "size": {"shortest_edge": seen.resize or side},
        "resample": BILINEAR,
        "do_center_crop": True,
        "crop_size": {"height": side, "width": side},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": front["mean"],
        "image_std": front["std"],
    }
