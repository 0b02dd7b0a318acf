"""The product: ``student.safetensors`` and ``student.json``, from which the student stands up alone."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor, nn

from understudy.errors import UserError
from understudy.models import Front, NetworkSpec, front_from, load_weights, regraft
from understudy.models.grafts import graft_of
from understudy.taps import inner
from understudy.training.checkpoints import write_atomically

WEIGHTS, DESCRIPTION = "student.safetensors", "student.json"
FORMAT = 1


def describe(
    network: nn.Module, spec: NetworkSpec | None, shape: tuple[int, ...], classes: tuple[str, ...]
) -> dict[str, Any]:
    """How to rebuild a network: its name and settings, what stands before it, what goes in and what comes out."""
    own = inner(network)
    built = {"name": spec.name, "settings": spec.settings} if spec else None
    front = network.describe() if isinstance(network, Front) else None
    graft = graft_of(network)
    return {
        "format": FORMAT,
        "network": built,
        "class": f"{type(own).__module__}:{type(own).__qualname__}",
        "front": front,
        "graft": graft.describe() if graft else None,
        "input": {"shape": list(shape), "range": [0.0, 1.0]},
        "classes": list(classes),
        "parameters": sum(p.numel() for p in own.parameters()),
    }


def save(folder: Path, network: nn.Module, description: Mapping[str, Any], *, name: str = WEIGHTS) -> None:
    """Weights and description, each written whole or not at all; nothing is pickled."""
    save_weights(folder / name, network.state_dict())
    write_atomically(folder / DESCRIPTION, (json.dumps(description, indent=2) + "\n").encode())


def save_weights(path: Path, state: Mapping[str, Tensor]) -> None:
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
    write_atomically(path, safetensors.torch.save(tensors, metadata={"format": "pt"}))


def load(folder: str | Path) -> nn.Module:
    """The student of a run folder, ready to answer images between 0 and 1."""
    folder = Path(folder)
    try:
        description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        named = description["network"]
        channels, size = description["input"]["shape"][0], description["input"]["shape"][-1]
        classes = len(description["classes"])
    except OSError as error:
        raise UserError(f"{folder} holds no student: {DESCRIPTION}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise UserError(f"{folder / DESCRIPTION} is not a student's description (format {FORMAT})") from error
    if named is None or _is_foreign(named["name"]):
        steps = "build it, then load its weights with understudy.models.load_weights"
        if description.get("graft") is not None:
            steps = f"build it, call understudy.models.regraft(network, {description['graft']}), then load_weights"
        raise UserError(
            f"{folder}: the student is a {description['class']} of your own code: "
            f"{steps}(network, {str(folder / WEIGHTS)!r})"
        )
    network: nn.Module = NetworkSpec(named["name"], named["settings"]).build(classes, channels, size)
    regraft(network, description.get("graft"))
    if description["front"] is not None:
        network = front_from(description["front"], network)
    load_weights(network, folder / WEIGHTS)
    return network.eval()


def prepare(network: nn.Module, folder: Path) -> None:
    """Make the place for the weights in a folder: what was grafted on before they were trained."""
    try:
        description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return  # whoever loads the weights says what is missing
    regraft(network, description.get("graft"))


def _is_foreign(name: str) -> bool:
    """Whether it is code of the user's own, which a description must not run."""
    library, colon, _ = name.partition(":")
    return bool(colon) and library not in ("timm", "torchvision")
