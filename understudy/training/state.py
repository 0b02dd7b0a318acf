"""Nested state (optimizers, progress, weights) as named tensors and JSON: nothing is pickled."""

from typing import Any

import torch
from pydantic import JsonValue
from torch import Tensor, nn


def flatten(tree: object, tensors: dict[str, Tensor], path: str = "") -> JsonValue:
    """``tree`` as JSON, its tensors put into ``tensors`` under their path; they are not copied."""
    if isinstance(tree, Tensor):
        tensors[path] = tree.detach()
        return {"$tensor": path}
    if isinstance(tree, dict):
        return {"$items": [[key, flatten(value, tensors, f"{path}/{key}")] for key, value in tree.items()]}
    if isinstance(tree, (list, tuple)):
        return [flatten(value, tensors, f"{path}/{i}") for i, value in enumerate(tree)]
    if tree is None or isinstance(tree, (bool, int, float, str)):
        return tree
    raise TypeError(f"state at {path!r} is a {type(tree).__name__}, which a checkpoint cannot hold")


def unflatten(tree: Any, tensors: dict[str, Tensor]) -> object:
    """The state of which ``flatten`` made ``tree`` and ``tensors``."""
    if isinstance(tree, dict):
        if "$tensor" in tree:
            return tensors[tree["$tensor"]]
        return {key: unflatten(value, tensors) for key, value in tree["$items"]}
    if isinstance(tree, list):
        return [unflatten(value, tensors) for value in tree]
    return tree


def restore_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, object]) -> None:
    """Load an optimizer's state with each tensor in its parameter's layout: fused steps go by raw memory."""
    optimizer.load_state_dict(state)
    for parameter, values in optimizer.state.items():
        for key, value in values.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape and value.ndim:
                values[key] = torch.empty_like(parameter).copy_(value)


def copy_of(network: nn.Module) -> dict[str, Tensor]:
    """A copy of the network's state."""
    return {name: value.detach().clone() for name, value in network.state_dict().items()}
