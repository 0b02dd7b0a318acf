"""Weights from files, without running any code that such a file may hold."""

import pickle
import re
import warnings
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from itertools import product
from pathlib import Path

import torch
from torch import Tensor, nn

from understudy.errors import UserError
from understudy.taps import inner

_PICKLED = (".pt", ".pth", ".th", ".bin", ".ckpt", ".tar")
_WRAPPERS = ("state_dict", "model", "model_state_dict", "net", "network", "params", "weights")
# Prefixes that DataParallel, torch.compile and trainers add to every name.
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "student.")


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a ``.safetensors`` file, or of a PyTorch file that holds nothing but tensors and plain values.

    A wrapper such as ``{"state_dict": ..., "epoch": ...}`` is opened.

    >>> from safetensors.torch import save_file
    >>> save_file(torch.nn.Linear(4, 3).state_dict(), "layer.safetensors")
    >>> sorted(read_weights("layer.safetensors"))
    ['bias', 'weight']
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"no weights file {path}")
    if not path.is_file():
        raise UserError(f"{path} is a folder, not a weights file")
    try:
        path.open("rb").close()
    except OSError as error:  # the readers below would call it damaged
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix in _PICKLED:
        return _state_dict(_read_pickled(path), path)
    raise UserError(f"{path}: weights come as .safetensors or as {', '.join(_PICKLED)}, not as {path.suffix!r}")


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        weights = load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is damaged or no safetensors file: {error}") from error
    if not weights:
        raise UserError(f"{path} holds no tensors")
    return weights


def _read_pickled(path: Path) -> object:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the pickle format; the content is checked here
            content: object = torch.load(path, map_location="cpu", weights_only=True)
            return content
    except pickle.UnpicklingError as error:
        wanted = re.search(r"(?:GLOBAL|global|class) ([\w.]+)", str(error))
        if wanted is None:
            raise UserError(f"{path} is damaged or no weights file: PyTorch's safe reader cannot read it") from error
        raise UserError(
            f"{path} is refused: it asks to run code ({wanted[1]}), and weights files are never executed here; "
            "where you trust it, load it yourself once and save its tensors alone: "
            "torch.save(network.state_dict(), 'weights.pt')"
        ) from error
    except Exception as error:  # zip, tar, end of file: many kinds, all of them a damaged file
        reason = f": {str(error).split('. ')[0]}" if isinstance(error, RuntimeError) else ""
        raise UserError(f"{path} is damaged or no weights file{reason}") from error


def _state_dict(content: object, path: Path) -> dict[str, Tensor]:
    if isinstance(content, Mapping):
        if content and all(isinstance(value, Tensor) for value in content.values()):
            return {str(key): value for key, value in content.items()}
        for key in _WRAPPERS:
            if isinstance(content.get(key), Mapping):
                return _state_dict(content[key], path)
        tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
        if tensors and any("." in key for key in tensors):  # a state dict with a stray entry or two
            return tensors
    holds = f"a dict with {_few(map(str, content))}" if isinstance(content, Mapping) else type(content).__name__
    raise UserError(f"{path} holds {holds}, not a network's weights")


def load_weights(network: nn.Module, path: str | Path, *, prefix: str | None = None) -> str:
    """Loads a file's weights into a network, every one of them, and answers with the prefix that was taken off.

    Args:
        network: any network; the inner network of a compiled or preprocessed one is used if that fits.
        path: see ``read_weights``.
        prefix: take only the names that begin so, without it. By default the usual ones (``module.``, ``model.``,
            ``_orig_mod.``, ...) are taken off if the file then fits as a whole.

    The names that other libraries have for the parts of a built-in network are known (``fc`` for ``linear``).

    >>> from safetensors.torch import save_file
    >>> layer = torch.nn.Linear(4, 3)
    >>> save_file({f"module.{name}": value for name, value in layer.state_dict().items()}, "layer.safetensors")
    >>> load_weights(torch.nn.Linear(4, 3), "layer.safetensors")
    'module.'
    """
    weights = read_weights(path)
    if prefix is not None:
        inside = _without(prefix, weights)
        if not inside:
            raise UserError(f"{path}: no name begins with {prefix!r}; the first ones are {_few(weights)}")
        weights = inside
    targets = [network] if inner(network) is network else [network, inner(network)]
    prefixes = [""] if prefix is not None else _prefixes(weights)
    for target, stripped in product(targets, prefixes):
        candidate = _without(stripped, weights)
        for named in (candidate, _renamed(target, candidate)):
            if _fits(target, named):
                restore(target, named)
                return prefix or stripped
    target, own = targets[-1], targets[-1].state_dict()
    nearest = max(prefixes, key=lambda stripped: len(own.keys() & _without(stripped, weights).keys()))
    said = f" (without the prefix {nearest!r})" if nearest else ""
    raise UserError(f"{path} does not fit {type(target).__name__}{said}: {_misfit(target, _without(nearest, weights))}")


def restore(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load a whole state, as the network writes it today.

    Versions of modules travel beside the tensors of a state, and are lost in files and copies: batch norms then expect
    fewer tensors, and torchvision's MNASNet takes no state at all. A state with all tensors has today's versions.

    >>> layer = torch.nn.Linear(1, 1)
    >>> restore(layer, {"weight": torch.ones(1, 1), "bias": torch.zeros(1)})
    >>> layer.weight.item()
    1.0
    """
    own = network.state_dict()
    versioned = OrderedDict(state)
    if own.keys() <= state.keys():
        versioned._metadata = own._metadata  # type: ignore[attr-defined]
    network.load_state_dict(versioned)


def _without(prefix: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}


def _renamed(network: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights under the network's own names, of which a class lists what others call them."""
    rules: Mapping[str, str] = getattr(type(network), "names_elsewhere", {})
    renamed = {}
    for name, value in weights.items():
        for pattern, replacement in rules.items():
            name = re.sub(pattern, replacement, name)
        renamed[name] = value
    return renamed


def _prefixes(weights: Iterable[str]) -> list[str]:
    """The empty prefix, and each longer chain of usual ones that every name begins with."""
    names = list(weights)
    chain = [""]
    while True:
        longer = [chain[-1] + prefix for prefix in _PREFIXES]
        shared = [prefix for prefix in longer if all(name.startswith(prefix) for name in names)]
        if not shared:
            return chain
        chain.append(shared[0])


def _missing(own: Iterable[str], given: Mapping[str, Tensor]) -> list[str]:
    # Files from before PyTorch 0.4.1 have no such counters, and PyTorch fills them in.
    return [key for key in own if key not in given and not key.endswith("num_batches_tracked")]


def _fits(network: nn.Module, weights: Mapping[str, Tensor]) -> bool:
    own = network.state_dict()
    return (
        not _missing(own, weights)
        and all(key in own for key in weights)
        and all(own[key].shape == value.shape for key, value in weights.items())
    )


def _misfit(network: nn.Module, weights: Mapping[str, Tensor]) -> str:
    own = network.state_dict()
    missing, unexpected = _missing(own, weights), [key for key in weights if key not in own]
    shapes = [
        f"{key} is {tuple(weights[key].shape)} in the file and {tuple(own[key].shape)} in the network"
        for key in own
        if key in weights and own[key].shape != weights[key].shape
    ]
    problems = []
    if missing:
        problems.append(f"{len(missing)} of the network's {len(own)} names are missing ({_few(missing)})")
    if unexpected:
        problems.append(f"{len(unexpected)} in the file are unexpected ({_few(unexpected)})")
    if shapes:
        problems.append(f"{len(shapes)} differ in shape ({_few(shapes, '; ')})")
    fitting = _fitting_prefix(network, weights)
    if fitting:
        problems.append(f"with the prefix {fitting!r} it would fit: say prefix={fitting!r}")
    return "; ".join(problems)


def _fitting_prefix(network: nn.Module, weights: Mapping[str, Tensor]) -> str | None:
    """A prefix under which the file holds the whole network, perhaps among other things."""
    own = list(network.state_dict())
    if not own:
        return None
    for key in weights:
        prefix = key.removesuffix(own[0])
        if prefix != key and prefix.endswith(".") and _fits(network, _without(prefix, weights)):
            return prefix
    return None


def _few(names: Iterable[str], separator: str = ", ", limit: int = 3) -> str:
    names = list(names)
    return separator.join(names[:limit]) + (f"{separator}..." if len(names) > limit else "")
