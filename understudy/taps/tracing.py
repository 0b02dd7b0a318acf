"""What a network's taps look like: one forward pass of a small batch shows every module's value.

Depth is the share of the network's multiplications that are done when a module answers: it says what a cut there
saves, and it puts FitNets' own pairs in the same place of both networks (conv2 of the teacher at 79 %, conv11 of
FitNet 4 at 72 %), which the count of layers does not.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _BatchNorm

from understudy import nested
from understudy.nested import Nested
from understudy.taps import Tap, call, eagerly, evaluating, forms, inner
from understudy.taps.forms import Size
from understudy.tasks.detection3d import POINTS

if TYPE_CHECKING:
    from torch.utils.flop_counter import FlopCounterMode

Resolution = tuple[int, ...]

OVERWRITTEN = "overwritten in place"
_ACTIVATIONS = ("relu", "gelu", "silu", "swish", "elu", "mish")  # as the names of their classes end


@dataclass(frozen=True)
class Traced:
    """A module in one forward pass.

    Args:
        path, type: the dotted path and the class's name.
        shape: of its value, without the batch; empty if it is not a tensor.
        resolution: (H, W) of a map, (T,) of tokens, None for a vector.
        depth: the share of the network's multiplications done by then (of modules called, where it multiplies nothing).
        fired: how often it was called; a tap wants exactly once.
        problem: why it cannot be tapped, in words; None where it can.
        entered: the resolution of what it was given.
        began, ended: its place in the order of calls and answers.
        grid: (H, W) of a map, and of the tokens of an image as they can be laid out.
        form: in which a tap reads the value as a map (N, C, H, W); empty where it is one, or cannot be one.
        before_activation: the tap of the same value before the activation that ends it, where there is one.
        answers: whether it is a linear layer (or a convolution of 1x1) whose value is the network's answer.
    """

    path: str
    type: str
    shape: tuple[int, ...] = ()
    resolution: Resolution | None = None
    depth: float = 0.0
    fired: int = 0
    problem: str | None = None
    entered: Resolution | None = None
    began: int = 0
    ended: int = 0
    grid: Size | None = None
    form: str = ""
    before_activation: Tap | None = None
    answers: bool = False

    @property
    def tappable(self) -> bool:
        return self.problem is None

    @property
    def where(self) -> str:
        return f"{places(self.resolution)} at {self.depth:.0%}"

    @property
    def is_channels_last(self) -> bool:
        """Whether it is a map whose channels are last."""
        return bool(self.form) and len(self.shape) == 3

    @property
    def tap(self) -> Tap:
        """The value as it is; a map whose channels are last is read as one whose channels are first."""
        return Tap(self.path, form=self.form if self.is_channels_last else "")

    @property
    def map_tap(self) -> Tap:
        """The value as a map where it can be read as one."""
        return Tap(self.path, form=self.form)

    @property
    def read_shape(self) -> tuple[int, ...]:
        """The shape of what ``tap`` reads."""
        return (self.shape[2], *self.shape[:2]) if self.is_channels_last else self.shape


def trace(network: nn.Module, example: Nested) -> list[Traced]:
    """Every module of a network in the order of their returns, modules that are not called last.

    Runs once, in evaluation mode and without gradients; the network is left as it was.
    """
    network_inside = inner(network)
    watch = _Watch(example)
    with ExitStack() as stack:
        for context in (torch.no_grad(), evaluating(network), eagerly(network)):
            stack.enter_context(context)
        watch.counter = stack.enter_context(counting())
        for path, module in network_inside.named_modules():
            if path:
                stack.enter_context(module.register_forward_pre_hook(watch.enters(path), with_kwargs=True))
                stack.enter_context(module.register_forward_hook(watch.answers(path)))
        output = call(network, example)
    watch.finish(output)
    modules = {path: module for path, module in network_inside.named_modules() if path}
    return sorted(
        (watch.traced(path, module) for path, module in modules.items()), key=lambda t: (not t.fired, t.ended)
    )


@contextmanager
def counting() -> Iterator["FlopCounterMode"]:
    """PyTorch's counter of multiplications, in a context in which attention and recurrent layers are counted, too.

    >>> with torch.no_grad(), counting() as counter:
    ...     _ = nn.Linear(3, 4)(torch.ones(1, 3))
    >>> counter.get_total_flops() // 2
    12
    """
    from torch.utils.flop_counter import FlopCounterMode  # here, since it is slow to import

    counter = FlopCounterMode(display=False, custom_mapping=dict.fromkeys(_RECURRENT, _recurrent))
    counter.mod_tracker = _Untracked()  # type: ignore[assignment]
    with in_steps(), sdpa_kernel(SDPBackend.MATH), counter:
        yield counter


@contextmanager
def in_steps() -> Iterator[None]:
    """PyTorch's attention and encoder layers call operations one by one, not a single one for the whole layer."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


_RECURRENT = (torch.ops.aten.mkldnn_rnn_layer, torch.ops.aten._cudnn_rnn)


def _recurrent(inputs: Sequence[int], *others: object, **_: object) -> int:
    """Twice the multiplications of recurrent layers, of the shapes of their arguments: each matrix meets each step."""
    matrices = [shape for shape in _shapes(others[:4]) if len(shape) == 2]  # weights and biases, before the state
    return 2 * math.prod(inputs[:-1]) * sum(map(math.prod, matrices))


def _shapes(arguments: object) -> Iterator[torch.Size]:
    if isinstance(arguments, torch.Size):
        yield arguments
    elif isinstance(arguments, (list, tuple)):
        for one in arguments:
            yield from _shapes(one)


class _Untracked:
    """In place of the counter's own record of modules, which is not read here.

    That one hooks the gradients of what modules are given, and fails without gradients where that is a view of a
    parameter, such as the class token of a CaiT.
    """

    parents = frozenset({"Global"})  # under this name the counter keeps the sum

    def __enter__(self) -> "_Untracked":
        return self

    def __exit__(self, *_: object) -> None:
        return


class _Watch:
    """The records of the hooks of a trace."""

    def __init__(self, example: Nested) -> None:
        self.counter: FlopCounterMode
        self.time = 0
        self.samples = nested.count(example)
        self.image = _image_size(example)
        self.points = isinstance(example, Mapping) and POINTS in example  # whose features by point are no tokens
        self.grids: list[Size] = []  # of the maps that were met, in their order
        self.began: dict[str, tuple[int, object]] = {}
        self.values: dict[str, list[tuple[object, int]]] = {}
        self.ended: dict[str, tuple[int, int]] = {}
        self.activations: dict[int, tuple[int, Tap]] = {}  # by the value that one answers with
        self.activated: dict[int, Tap] = {}  # by the value that an activation is given
        self.normalised: dict[int, Tensor] = {}  # by the value that a batch norm is given
        self.outputs: list[Tensor] = []

    def enters(self, path: str) -> Callable[..., None]:
        def hook(_module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
            self.time += 1
            self.began.setdefault(path, (self.time, args[0] if args else next(iter(kwargs.values()), None)))

        return hook

    def answers(self, path: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[object, ...], value: object) -> None:
            self.time += 1
            self.values.setdefault(path, []).append((value, _writes(value)))
            self.ended[path] = self.time, self.counter.get_total_flops()
            if isinstance(value, Tensor):
                if value.ndim == 4 and (grid := self._grid_of_map(value)) is not None:
                    self.grids.append(grid[0])
                kind = type(module).__name__.lower()
                if kind.endswith(_ACTIVATIONS) and args:
                    self.activations[id(value)] = self.time, Tap(path, "input")
                    self.activated[id(args[0])] = Tap(path, "input")
                elif isinstance(module, _BatchNorm) and args and not list(module.children()):
                    self.normalised[id(args[0])] = value

        return hook

    def finish(self, output: object) -> None:
        """After the pass: what the network answered."""
        self.outputs = [value for value in _tensors(output) if value.is_floating_point()]

    def traced(self, path: str, module: nn.Module) -> Traced:
        type_name = type(module).__name__
        values = self.values.get(path, [])
        if not values:
            return Traced(path, type_name, problem="never called")
        value, writes = values[0]
        problem = None
        if len(values) > 1:
            problem = f"called {len(values)} times"
        elif not isinstance(value, Tensor):
            problem = f"answers with {type(value).__name__}"
        elif value.ndim and len(value) != self.samples:
            problem = f"has {len(value)} values for {self.samples} samples"
        elif _writes(value) != writes:
            problem = OVERWRITTEN
        began, given = self.began[path]
        ended, done = self.ended[path]
        shape = tuple(value.shape[1:]) if isinstance(value, Tensor) else ()
        total = self.counter.get_total_flops()
        grid, form = self._layout(value)
        return Traced(
            path,
            type_name,
            shape,
            self._resolution(value),
            done / total if total else ended / self.time,
            len(values),
            problem,
            self._resolution(given),
            began,
            ended,
            grid,
            form,
            self._before_activation(value, ended),
            len(values) == 1 and _is_linear(module) and isinstance(value, Tensor) and self._is_answered(value),
        )

    def _resolution(self, value: object) -> Resolution | None:
        if not isinstance(value, Tensor) or value.ndim not in (3, 4):
            return None
        if value.ndim == 3:
            single = value.shape[2] == 1  # one value each: a vector behind a pooling
            return None if single or self.points else (value.shape[1],)
        grid = self._grid_of_map(value)
        return None if grid is None else grid[0]

    def _layout(self, value: object) -> tuple[Size | None, str]:
        """The grid of a value, and the form in which it is read as a map."""
        if not isinstance(value, Tensor):
            return None, ""
        if value.ndim == 4:
            return self._grid_of_map(value) or (None, "")
        if value.ndim != 3 or self.image is None:  # the tokens of a text are no grid
            return None, ""
        tokens = value.shape[1]
        for grid in reversed(self.grids):
            if tokens > 1 and tokens - grid[0] * grid[1] in forms.EXTRA_TOKENS and grid[0] * grid[1] > 1:
                return grid, forms.form_of(tokens, grid)
        square = forms.layout(tokens) if self.image[0] == self.image[1] else None
        return (square[0], forms.GRID) if square and square[0] != (1, 1) else (None, "")

    def _grid_of_map(self, value: Tensor) -> tuple[Size, str] | None:
        """Height and width, by the shape of the image where the channels may be last; None where neither fits."""
        first, last = (value.shape[2], value.shape[3]), (value.shape[1], value.shape[2])
        if self.image is None or _is_like(first, self.image):
            return first, ""
        return (last, forms.GRID) if _is_like(last, self.image) else None

    def _before_activation(self, value: object, ended: int) -> Tap | None:
        """The input of the activation that answers with this very value; or of the one to which a batch norm leads."""
        time, tap = self.activations.get(id(value), (0, None))
        if tap is None or time > ended:
            following = self.normalised.get(id(value))
            tap = None if following is None else self.activated.get(id(following))
        return tap if tap is not None and len(self.values[tap.path]) == 1 else None

    def _is_answered(self, value: Tensor) -> bool:
        flat = value.flatten(2).mean(2) if value.ndim == 4 else value.mean(1) if value.ndim == 3 else value
        if value.ndim == 2 or any(same(flat, output) for output in self.outputs):
            return True
        if value.ndim != 4:
            return False
        pooled = value.relu().flatten(2).mean(2)
        return any(same(pooled, output) for output in self.outputs) or is_the_answer(value, self.outputs)


def is_the_answer(value: Tensor, output: object) -> bool:
    """Whether one of a network's outputs is this map, on its own grid or on a larger one, as of a segmenter.

    >>> scores = torch.rand(1, 3, 4, 4)
    >>> is_the_answer(scores, {"out": F.interpolate(scores, (8, 8))}), is_the_answer(scores, scores.mean((2, 3)))
    (True, False)
    """
    return value.ndim == 4 and any(_is_resized(value, tensor) for tensor in _tensors(output))


def _is_resized(value: Tensor, output: Tensor) -> bool:
    if output.ndim != 4 or value.shape[:2] != output.shape[:2]:
        return False
    size, value, output = output.shape[2:], value.float(), output.float()
    ways = [{"mode": "nearest"}, {"mode": "bilinear"}, {"mode": "bilinear", "align_corners": True}]
    return any(same(F.interpolate(value, size, **way), output) for way in ways)  # type: ignore[arg-type]


def same(value: Tensor, other: Tensor) -> bool:
    """Whether two values agree but for rounding."""
    return value.shape == other.shape and torch.allclose(value.float(), other.float(), rtol=1e-3, atol=1e-4)


def places(resolution: Resolution | None) -> str:
    """A resolution in words."""
    if resolution is None:
        return "vector"
    return f"{resolution[0]} tokens" if len(resolution) == 1 else f"{resolution[0]}x{resolution[1]}"


def _tensors(output: object) -> Sequence[Tensor]:
    """The tensors of an answer of any form."""
    if isinstance(output, Tensor):
        return [output]
    inside = output.values() if isinstance(output, Mapping) else output if isinstance(output, (tuple, list)) else []
    return [tensor for value in inside for tensor in _tensors(value)]


def _is_linear(module: nn.Module) -> bool:
    """A linear layer, or a convolution that is one at every place."""
    if isinstance(module, nn.Conv2d):
        return module.kernel_size == (1, 1)
    return type(module).__name__.endswith("Linear") and hasattr(module, "weight")  # a norm with a layer inside is none


def _image_size(example: object) -> Size | None:
    """Height and width of the images in a batch of inputs; None where there are none."""
    images = [value for value in _tensors(example) if value.ndim == 4 and value.is_floating_point()]
    return (images[0].shape[2], images[0].shape[3]) if images else None


def _is_like(grid: Size, image: Size) -> bool:
    """Whether a grid has the image's proportions, each side rounded up or down."""
    if image[0] == image[1]:
        return grid[0] == grid[1]
    shares = [(side - 1) / whole for side, whole in zip(grid, image, strict=True)]
    ceilings = [(side + 1) / whole for side, whole in zip(grid, image, strict=True)]
    return max(shares) < min(ceilings)


def _writes(value: object) -> int:
    return value._version if isinstance(value, Tensor) and not value.is_inference() else 0
