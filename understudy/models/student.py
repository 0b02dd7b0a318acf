"""The saved student: ``student.safetensors`` and ``student.json``, which are enough to rebuild it."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import safetensors.torch
import torch
from torch import Tensor, nn

from understudy.data.images import COLOURS, LETTERBOX, RULE
from understudy.errors import UserError
from understudy.files import contents, sealed, sha256, write_atomically, write_json
from understudy.models import NetworkSpec, Output, Preprocessing, load_weights, origins, preprocessing_from, regraft
from understudy.models.grafts import graft_of
from understudy.models.hub import PREFIX, fetched
from understudy.models.outside import LIBRARIES
from understudy.nested import Nested, named
from understudy.taps import inner, layers
from understudy.tasks import Classification, Detection3D, Task
from understudy.tasks.detection3d import COUNT, POINTS
from understudy.tasks.words import IDS, MASK, Words

if TYPE_CHECKING:
    from understudy.models.description import Description

WEIGHTS, DESCRIPTION = "student.safetensors", "student.json"
FORMAT = 1
HARMLESS = 20_000_000  # values of a network that is built before its file is looked at


def describe(
    network: nn.Module,
    spec: NetworkSpec | None,
    shape: tuple[int, ...],
    task: Task | Sequence[str],
    image: Mapping[str, object] = MappingProxyType({}),
    example: Nested | None = None,
) -> dict[str, object]:
    """The description of a network: name and settings, preprocessing, inputs and outputs.

    ``image`` tells how an image file becomes a sample, if not by the rule of the task (``Data.image``); ``example``, a
    batch of inputs, which tensors a sample has and whether it consists of whole numbers.
    """
    task = task if isinstance(task, Task) else Classification(tuple(task))
    own = inner(network)
    spec = spec or rebuilt_as(own)
    built = {"name": spec.name, "settings": spec.settings} if spec else None
    front = next((layer.describe() for layer in layers(network) if isinstance(layer, Preprocessing)), None)
    output = next((layer.output for layer in layers(network) if isinstance(layer, Output)), None)
    graft = graft_of(network)
    return {
        "format": FORMAT,
        "network": built,
        "class": f"{type(own).__module__}:{type(own).__qualname__}",
        "arguments": spec is None and origins.needs_arguments(own),
        "front": front,
        "graft": graft.describe() if graft else None,
        **({} if output is None or callable(output) else {"output": output}),
        "input": _input(shape, task, image, example),
        "task": task.describe(),
        "classes": list(task.names),
        "parameters": sum(p.numel() for p in own.parameters()),
    }


def _input(
    shape: tuple[int, ...], task: Task, image: Mapping[str, object], example: Nested | None
) -> dict[str, object]:
    """One sample: its shape; of several tensors their names; of images the range, the channels and the resizing."""
    if isinstance(task, Words):
        return {"shape": list(shape), "tensors": [IDS, MASK]}
    if isinstance(task, Detection3D):
        return {"shape": list(shape), "tensors": [POINTS, COUNT]}
    if example is not None and not isinstance(example, Tensor):
        return {"shape": list(shape), "tensors": [name for name, _ in named(example)]}
    if example is not None and not example.is_floating_point():
        return {"shape": list(shape), "dtype": str(example.dtype).removeprefix("torch.")}
    if len(shape) == 3 and shape[0] in COLOURS:
        rule = LETTERBOX if task.letterboxed else RULE
        return {"shape": list(shape), "range": [0.0, 1.0], "channels": COLOURS[shape[0]], "image": rule, **image}
    return {"shape": list(shape)}


def rebuilt_as(network: nn.Module) -> NetworkSpec | None:
    """The name and settings that rebuild an object: those that it was built with, or a library's."""
    graft = graft_of(network)
    return _built_as(network) or origins.named(network, graft.onto if graft else None)


def lost(network: nn.Module) -> str | None:
    """Why nothing rebuilds a network from a file without the code that made it, and what to do; None if it can be.

    >>> "cannot be built" in str(lost(nn.Linear(4, 2)))
    True
    """
    own = inner(network)
    for layer in layers(network):
        if isinstance(layer, Output) and callable(layer.output):
            return (
                f"the function {layer.extra_repr()} that picks its answer is not written down: what load answers with "
                "returns all that the network returns; name the answer, as in Output(network, 'scores')"
            )
    if rebuilt_as(own) is not None:
        return None
    name = f"{type(own).__module__}:{type(own).__qualname__}"
    if origins.library_of(own) is None and own.__class__.__module__ != "__main__" and not origins.needs_arguments(own):
        return None  # its class is called again, if the user trusts its module
    return (
        f"a {name} cannot be built from its description: load, predict and export take its files only after your code "
        "has built it again (understudy.models.load_weights); a network that has a name can be given by it"
    )


def _built_as(network: nn.Module) -> NetworkSpec | None:
    """The name and settings that it was built with, if it is unchanged since."""
    spec = network.__dict__.get("built_as")
    if not isinstance(spec, NetworkSpec):
        return None
    graft = graft_of(network)
    with torch.random.fork_rng(devices=[]):
        fresh = spec.build()
        if graft is not None:
            graft.onto(fresh)
        return spec if repr(fresh) == repr(network) else None


def save(folder: Path, network: nn.Module, description: Mapping[str, object], *, name: str = WEIGHTS) -> None:
    """Weights and description, each written whole or not at all; nothing is pickled.

    The description gets the SHA-256 of the weights and its own, by which ``load`` sees damage to either file.
    """
    digest = save_weights(folder / name, network.state_dict())
    write_json(folder / DESCRIPTION, sealed({**description, "sha256": digest}))


def save_weights(path: Path, state: Mapping[str, Tensor]) -> str:
    """Write tensors as safetensors; the SHA-256 of the file."""
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
    content = safetensors.torch.save(tensors, metadata={"format": "pt"})
    write_atomically(path, content)
    return hashlib.sha256(content).hexdigest()


def read(folder: Path) -> "Description":
    """The content of ``student.json``."""
    from understudy.models.description import parsed  # late: it needs pydantic

    path = folder / DESCRIPTION
    try:
        text = contents(path)
    except OSError as error:
        raise UserError(f"{folder} holds no student: {DESCRIPTION}: {error.strerror}") from error
    return parsed(text, str(path))


def check_weights(folder: Path, description: "Description") -> None:
    """A ``UserError`` if the weights in a folder are not those to which the description belongs."""
    path = folder / WEIGHTS
    try:
        whole = description.sha256 is None or sha256(path) == description.sha256
    except OSError as error:
        raise UserError(f"{folder} holds no student: {WEIGHTS}: {error.strerror}") from error
    if not whole:
        raise UserError(
            f"{path} is damaged: its bytes are not those that {DESCRIPTION} beside it was written for. "
            "In a run folder the same distill command heals it; elsewhere take both files from where they came"
        )


def load(folder: str | Path, *, trust: Collection[str] = ()) -> nn.Module:
    """The student of a run folder or of the Hugging Face Hub, ready to answer images between 0 and 1.

    Args:
        folder: a run folder, or any other with ``student.safetensors`` and ``student.json``; or ``"hf:USER/NAME"``,
            ``"hf:USER/NAME@REVISION"``, of which these two files are downloaded (extra ``hub``).
        trust: modules of the user whose code may run to rebuild the student. The package's own networks, timm's,
            torchvision's and transformers' need none.

    >>> student = understudy.load("runs/mine")  # doctest: +SKIP
    >>> student(torch.rand(1, 1, 28, 28)).shape  # doctest: +SKIP
    """
    if str(folder).startswith(PREFIX):
        folder = fetched(str(folder), [WEIGHTS, DESCRIPTION])
    folder, trust = Path(folder), [trust] if isinstance(trust, str) else trust
    description = read(folder)
    if description.module is not None:
        _check_own(description, folder, trust)
    spec = NetworkSpec(description.path, dict(description.network.settings) if description.network else {})
    channels, size = description.input.shape[0], description.input.shape[-1]
    sizes = len(description.classes), channels, size
    if ":" not in spec.name:
        _check_size(spec, sizes, folder)
    network: nn.Module = spec.build(*sizes, trust)
    try:
        regraft(network, description.graft)
        network = preprocessing_from(description.front, network) if description.front is not None else network
        network = Output(network, description.output) if description.output is not None else network
    except (TypeError, ValueError, KeyError, RuntimeError, OverflowError, MemoryError) as error:
        raise UserError(f"{folder / DESCRIPTION} is not a student's description: front or graft: {error}") from error
    load_weights(network, folder / WEIGHTS)
    check_weights(folder, description)
    return network.eval()


def _check_size(spec: NetworkSpec, sizes: tuple[int, int, int], folder: Path) -> None:
    """Raises a ``UserError`` if a large network cannot be in the file: it might take more memory than there is."""
    with torch.device("meta"):
        values = sum(tensor.numel() for tensor in spec.build(*sizes).state_dict().values())
    try:
        held = (folder / WEIGHTS).stat().st_size
    except OSError:
        return  # which is told when the weights are read
    if values > max(held, HARMLESS):
        raise UserError(
            f"{folder / DESCRIPTION} describes a network of {values:,} values, and {WEIGHTS} beside it has {held:,} "
            "bytes: they are not of one student"
        )


def _check_own(description: "Description", folder: Path, trust: Collection[str]) -> None:
    """Raises a ``UserError`` unless the user's module is trusted and its class can be imported."""
    module, _, factory = description.path.removeprefix("python:").rpartition(":")
    of_library = module.partition(".")[0] in LIBRARIES
    problem = f"{folder}: the student is a {description.own_class}" + ("" if of_library else " of your own code")
    by_hand = f"load its weights with understudy.models.load_weights(network, {str(folder / WEIGHTS)!r})"
    if description.front is not None:
        by_hand = f"put the front that {DESCRIPTION} describes before it, and {by_hand}"
    if description.graft is not None:
        by_hand = f"call understudy.models.regraft(network, {dict(description.graft)}), and {by_hand}"
    by_class = description.network is None and (of_library or description.arguments)
    if by_class or (description.network is None and (module == "__main__" or not factory.isidentifier())):
        raise UserError(f"{problem}: build it, then {by_hand}")
    named = any(module == name or module.startswith(f"{name}.") for name in trust)
    if not named:
        raise UserError(
            f"{problem}: if you trust it, add --trust {module} (in Python trust=[{module!r}]); "
            f"or build it, then {by_hand}"
        )


def prepare(network: nn.Module, folder: Path) -> None:
    """Prepare a network for the weights in a folder: applies the graft that was applied before training."""
    regraft(network, read(folder).graft)
