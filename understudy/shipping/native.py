"""The student in the form of the library that its network is of, so that it opens without Understudy.

timm: ``timm.create_model("hf-hub:USER/NAME", pretrained=True)``. transformers: ``from_pretrained("USER/NAME")``.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from torch import nn

from understudy.models import student as product
from understudy.models.description import Description
from understudy.taps import inner

PROCESSOR = "preprocessor_config.json"
_LINES = {
    "timm": 'timm.create_model("hf-hub:USER/NAME", pretrained=True)',
    "transformers": 'transformers.AutoModelForImageClassification.from_pretrained("USER/NAME")',
}


def opened_by(description: Description) -> str | None:
    """The line that opens a student in its own library; None if it has none, or does more than normalise its inputs."""
    library = "" if description.network is None else description.network.name.partition(":")[0]
    front = {name: value for name, value in (description.front or {}).items() if value is not None}
    normalised = not front or (front["front"] == "normalized" and set(front) == {"front", "mean", "std"})
    possible = library in _LINES and normalised and description.graft is None
    return _LINES[library] if possible else None


def save(folder: Path, into: Path) -> bool:
    """Writes the student of ``folder`` as its library does; false if no library opens it (see ``opened_by``)."""
    description = product.read(folder)
    line = opened_by(description)
    if line is None:
        return False
    network, shape = inner(product.load(folder)), description.input.shape
    front = description.front or {"mean": [0.0] * shape[0], "std": [1.0] * shape[0]}
    write = _timm if line == _LINES["timm"] else _transformers
    write(network, into, tuple(shape), {"mean": front["mean"], "std": front["std"]}, description.classes)
    return True


def _timm(
    network: nn.Module, into: Path, shape: tuple[int, ...], front: Mapping[str, object], classes: Sequence[str]
) -> None:
    from timm.models import save_for_hf

    config = {**cast(dict[str, object], network.pretrained_cfg), "input_size": shape, **front}
    config |= {"crop_pct": 1.0, "crop_mode": "squash"}
    arguments = {"in_chans": shape[0]} if shape[0] != 3 else None
    save_for_hf(
        network,
        str(into),
        model_config={"pretrained_cfg": config, "label_names": list(classes)},
        model_args=arguments,
        safe_serialization=True,
    )


def _transformers(
    network: nn.Module, into: Path, shape: tuple[int, ...], front: Mapping[str, object], classes: Sequence[str]
) -> None:
    network.config.id2label = dict(enumerate(classes))  # type: ignore[union-attr]
    network.config.label2id = {name: number for number, name in enumerate(classes)}  # type: ignore[union-attr]
    network.save_pretrained(into)  # type: ignore[operator]
    if len(shape) == 3:
        processor = {
            "image_processor_type": "ViTImageProcessor",
            "do_resize": True,
            "size": {"height": shape[1], "width": shape[2]},
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": front["mean"],
            "image_std": front["std"],
        }
        (into / PROCESSOR).write_text(json.dumps(processor, indent=2) + "\n", encoding="utf-8")
