"""Weights from files, without running any code that such a file may hold."""

import pickle
import re
import warnings
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import torch
from torch import Tensor, nn

from understudy.errors import UserError
from understudy.models.names_elsewhere import renamed
from understudy.ranks import sharded_like
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

    The names that other libraries have for the parts of a built-in network are known (``fc`` for ``linear``), and
    EfficientNet-PyTorch's for timm's EfficientNets.

    >>> from safetensors.torch import save_file
    >>> layer = torch.nn.Linear(4, 3)
    >>> save_file({f"module.{name}": value for name, value in layer.state_dict().items()}, "layer.safetensors")
    >>> load_weights(torch.nn.Linear(4, 3), "layer.safetensors")
    'module.'
    """
    return load_whole(network, read_weights(path), str(path), prefix=prefix)


def begin_with(
    network: nn.Module, weights: Mapping[str, Tensor], source: str, *, outputs: int, prefix: str | None = None
) -> "Head | None":
    """Load weights into a network that is to be trained, all but those of a head of another size; that head, if any.

    Args:
        weights: by name, as ``read_weights`` gives them.
        source: what they are called in messages.
        outputs: of the network: a head is a layer with so many, in whose place ``weights`` have one with another
            number, or none.
        prefix: as in ``load_weights``. Weights of a module inside the network are taken too, a BERT's for a classifier,
            and for the module that a network names as its ``body`` those of a classifier, without what follows there.

    >>> layers = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2))
    >>> of_five = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 5)).state_dict()
    >>> print(begin_with(layers, of_five, "mine.pt", outputs=2))
    left out, for a head of another size: 1.weight (5 for 2), 1.bias (5 for 2)
    """
    weights, target = _inside(weights, source, prefix), inner(network)
    prefixes = [""] if prefix is not None else _prefixes(weights)
    plain = [_without(stripped, weights) for stripped in prefixes]
    candidates = [named for each in plain for named in (each, renamed(target, each))]
    for candidate in (*candidates, *_as_a_body(target, weights)):
        head = None if _fits(target, candidate) else _other_head(target, candidate, outputs)
        if head is not None or _fits(target, candidate):
            own = target.state_dict()
            kept = {key: value for key, value in candidate.items() if head is None or key not in head.names}
            restore(target, {**own, **kept})
            return head
    name = getattr(target, "body", None)
    if not isinstance(name, str) or not hasattr(target, name) or any(key.startswith(f"{name}.") for key in weights):
        raise _does_not_fit(target, weights, prefixes, source)
    return _begin_body(target, name, plain, source)


def _begin_body(network: nn.Module, name: str, candidates: Sequence[Mapping[str, Tensor]], source: str) -> "Head":
    """Load weights of a classifier into the body of a network; the other modules are what has none."""
    body = network.get_submodule(name)
    own = body.state_dict()
    named = [renamed(body, each) for each in candidates]
    for weights in named:
        kept = {key: value for key, value in weights.items() if key in own}
        if _fits(body, kept):
            restore(body, {**own, **kept})
            others = tuple(child for child, _ in network.named_children() if child != name)
            return Head(others, 0, None, tuple(key for key in weights if key not in own))
    kept = max(({key: value for key, value in each.items() if key in own} for each in named), key=len)
    raise UserError(f"{source} does not fit the {name} {type(body).__name__}: {_misfit(body, kept)}")


def _as_a_body(network: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """The weights as those of each module of the network that has a parameter for all of their parameters.

    Numbers of positions that older versions stored beside the parameters are left out.
    """
    own = network.state_dict()
    parameters = [key for key, value in weights.items() if value.is_floating_point()]
    for name, _ in network.named_children():
        if parameters and all(f"{name}.{key}" in own for key in parameters):
            yield {f"{name}.{key}": value for key, value in weights.items() if f"{name}.{key}" in own}


@dataclass(frozen=True)
class Head:
    """The parameters of a network's head that weights have in another size, or not at all.

    Args:
        names: of the parameters, or of the modules beside the body of a network.
        outputs: of the network's head.
        others: of the head in the weights; None where they have none.
        unused: where the weights are those of a classifier and the network's body takes them: the names that the body
            does not have. None elsewhere.
    """

    names: tuple[str, ...]
    outputs: int
    others: int | None
    unused: tuple[str, ...] | None = None

    def __str__(self) -> str:
        if self.unused is not None:
            left = f"{len(self.unused)} left out ({_few(self.unused)}); " if self.unused else ""
            return f"{left}not among the weights: {', '.join(self.names)}"
        if self.others is None:
            return f"not among the weights: {', '.join(self.names)}"
        sizes = ", ".join(f"{name} ({self.others} for {self.outputs})" for name in self.names)
        return f"left out, for a head of another size: {sizes}"


def load_whole(network: nn.Module, weights: Mapping[str, Tensor], source: str, *, prefix: str | None = None) -> str:
    """Load every one of some weights, as ``load_weights`` does those of a file; the prefix that was taken off.

    >>> load_whole(torch.nn.Linear(4, 3), torch.nn.Linear(4, 3).state_dict(), "mine.pt")
    ''
    """
    weights = _inside(weights, source, prefix)
    targets = [network] if inner(network) is network else [network, inner(network)]
    prefixes = [""] if prefix is not None else _prefixes(weights)
    for target, stripped in product(targets, prefixes):
        candidate = _without(stripped, weights)
        for named in (candidate, renamed(target, candidate)):
            if _fits(target, named):
                restore(target, named)
                return prefix or stripped
    raise _does_not_fit(targets[-1], weights, prefixes, source)


def take_off(network: nn.Module, head: Head) -> None:
    """Let a network end before its head, which has no weights.

    >>> layers = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2))
    >>> take_off(layers, Head(("1.weight", "1.bias"), 2, None))
    >>> layers(torch.rand(1, 4)).shape
    torch.Size([1, 3])
    """
    parent, _, name = head.names[0].rpartition(".")[0].rpartition(".")
    setattr(network.get_submodule(parent), name, nn.Identity())


def _other_head(network: nn.Module, weights: Mapping[str, Tensor], outputs: int) -> Head | None:
    """The head in which alone weights differ from a network; None where they differ in more."""
    own = {key: value for key, value in network.state_dict().items() if not key.endswith("num_batches_tracked")}
    missing = [key for key in own if key not in weights]
    differing = [key for key in own if key in weights and own[key].shape != weights[key].shape]
    known = network.state_dict()
    if any(key not in known for key in weights) or (missing and differing):
        return None
    if any(own[key].ndim == 0 or own[key].shape[0] != outputs for key in (*missing, *differing)):
        return None
    if missing:  # the last layer and no other
        last = list(own)[-1].rpartition(".")[0]
        return Head(tuple(missing), outputs, None) if {key.rpartition(".")[0] for key in missing} == {last} else None
    if any(weights[key].ndim == 0 or own[key].shape[1:] != weights[key].shape[1:] for key in differing):
        return None
    others = {weights[key].shape[0] for key in differing}
    return Head(tuple(differing), outputs, others.pop()) if len(others) == 1 else None


def _inside(weights: Mapping[str, Tensor], source: str | Path, prefix: str | None) -> Mapping[str, Tensor]:
    """The weights whose names begin with a prefix, without it; all of them where there is none."""
    if prefix is None:
        return weights
    inside = _without(prefix, weights)
    if not inside:
        raise UserError(f"{source}: no name begins with {prefix!r}; the first ones are {_few(weights)}")
    return inside


def _does_not_fit(network: nn.Module, weights: Mapping[str, Tensor], prefixes: Sequence[str], source: str) -> UserError:
    own = network.state_dict()
    nearest = max(prefixes, key=lambda stripped: len(own.keys() & _without(stripped, weights).keys()))
    said = f" (without the prefix {nearest!r})" if nearest else ""
    plain = _without(nearest, weights)
    named = max(plain, renamed(network, plain), key=lambda each: len(own.keys() & each.keys()))
    misfit = _misfit(network, named)
    return UserError(f"{source} does not fit {type(network).__name__}{said}: {misfit}")


def restore(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load a whole state, as the network writes it today.

    Versions of modules travel beside the tensors of a state, and are lost in files and copies: batch norms then expect
    fewer tensors, and torchvision's MNASNet takes no state at all. A state with all tensors has today's versions.
    Of a network that is sharded, each rank takes its parts of whole tensors.

    >>> layer = torch.nn.Linear(1, 1)
    >>> restore(layer, {"weight": torch.ones(1, 1), "bias": torch.zeros(1)})
    >>> layer.weight.item()
    1.0
    """
    own = network.state_dict()
    versioned = OrderedDict(
        (name, sharded_like(value, own[name]) if name in own else value) for name, value in state.items()
    )
    if own.keys() <= state.keys():
        versioned._metadata = own._metadata  # type: ignore[attr-defined]
    network.load_state_dict(versioned)


def _without(prefix: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}


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
