"""Taps: read the hidden values of any network by the dotted path of a module.

A tap is a module's output (``"layer2.1"``) or its input (``"layer2.1:input"``), read as it is or in a form
(``"blocks.5:grid"``, see ``forms``); a pair is a teacher's tap and the student's tap that it guides
(``"conv2 -> conv11"``). Hooks live only as long as one forward pass, so that nothing
of ours stays on the user's network; a compiled network is compiled once more together with its taps.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import accumulate
from operator import itemgetter
from typing import Literal, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from understudy import nested
from understudy.errors import UserError, did_you_mean
from understudy.nested import Nested
from understudy.ranks import reshard
from understudy.taps import attention, forms
from understudy.tasks.classification import LOGITS, Classification
from understudy.tasks.task import Task, Values, only

T = TypeVar("T")
CLASSIFICATION = Classification()  # the task where none is named
PARALLEL = nn.DataParallel, nn.parallel.DistributedDataParallel
Side = Literal["output", "input"]


@dataclass(frozen=True)
class Tap:
    """A place in a network whose value is read, and in which form.

    Args:
        path: of the module.
        side: the module's output or its (first) input.
        form: empty for the value as it is; ``"grid"`` lays tokens, or a map whose channels are last, out as a map
            (N, C, H, W), ``"grid4x8"`` does so for 4 rows and 8 columns, ``"relu"`` is the value's ReLU;
            ``"query"``, ``"key"`` and ``"value"`` are an attention module's, by head (see ``taps.attention``).

    >>> print(Tap.parse("layer2:input"), Tap.parse("blocks.5:grid").form)
    layer2:input grid
    """

    path: str
    side: Side = "output"
    form: str = ""

    @classmethod
    def parse(cls, text: "str | Tap") -> "Tap":
        if isinstance(text, Tap):
            return text
        path, *words = text.strip().split(":")
        side: Side = "input" if words[:1] == ["input"] else "output"
        rest = words[1:] if words[:1] in (["input"], ["output"]) else words
        if len(rest) > 1 or not all(map(forms.is_form, rest)):
            raise UserError(
                f"tap {text!r}: after the colon stands 'input' or 'output', or a form ('grid', 'grid4x8', 'relu', "
                f"'query', 'key', 'value'), not "
                f"{':'.join(rest)!r}"
            )
        return cls(path.strip(), side, *rest)

    def __str__(self) -> str:
        side = ":input" if self.side == "input" else ""
        return f"{self.path}{side}:{self.form}" if self.form else f"{self.path}{side}"


@dataclass(frozen=True)
class Pair:
    """A teacher's tap and the student's tap that learns from it.

    >>> pair = Pair.parse("layer2 -> layer3.1")
    >>> print(pair.teacher, pair.student)
    layer2 layer3.1
    """

    teacher: Tap
    student: Tap

    @classmethod
    def parse(cls, text: "str | Pair") -> "Pair":
        if isinstance(text, Pair):
            return text
        teacher, arrow, student = text.partition("->")
        if not arrow or not teacher.strip() or not student.strip():
            raise UserError(f"pair {text!r}: write 'teacher.tap -> student.tap', as in 'layer2 -> layer3.1'")
        return cls(Tap.parse(teacher), Tap.parse(student))

    def __str__(self) -> str:
        return f"{self.teacher} -> {self.student}"


def logits_in(output: object) -> Tensor:
    """A network's output itself, or the ``logits`` of an output with such a field (Hugging Face)."""
    return only(output, LOGITS)


class Answer(Mapping[Tap, Tensor]):
    """The answer of a network: its output, by the names of the task, and the values at its taps.

    >>> answer = Answer(torch.zeros(2, 3), {Tap("conv"): torch.ones(2, 4)})
    >>> answer.logits.shape, answer["conv"].shape
    (torch.Size([2, 3]), torch.Size([2, 4]))
    """

    def __init__(self, output: object, values: dict[Tap, Tensor], task: Task = CLASSIFICATION):
        self.output, self.task = output, task
        self._values = values
        self._named: Values | None = None

    def detached(self) -> "Answer":
        """The same values, detached."""
        return self.each(Tensor.detach)

    def widened(self) -> "Answer":
        """The same values, none in less than float32."""
        return self.each(lambda value: value.float() if value.dtype in (torch.bfloat16, torch.float16) else value)

    def split(self, sizes: Sequence[int]) -> "list[Answer]":
        """The answer split along the samples into parts of these sizes."""
        ends = accumulate(sizes)
        return [self.each(itemgetter(slice(end - size, end))) for size, end in zip(sizes, ends, strict=True)]

    def each(self, change: Callable[[Tensor], Tensor]) -> "Answer":
        """The same answer with every tensor changed."""
        output = None if self.output is None else {name: change(value) for name, value in self.named.items()}
        return Answer(output, {tap: change(value) for tap, value in self._values.items()}, self.task)

    @property
    def device(self) -> torch.device | None:
        """The device of its tensors; None without tensors."""
        for value in (*self.values(), *self.named.values()):
            return value.device
        return None

    @property
    def named(self) -> Values:
        """The output's tensors by the task's names; empty if the network was cut below its output."""
        if self._named is None:
            self._named = {} if self.output is None else self.task.answer(self.output)
        return self._named

    def tensors(self) -> "dict[Tap | str, Tensor]":
        """Every tensor: those of the output by their names, and the values at taps."""
        outputs: list[tuple[Tap | str, Tensor]] = list(self.named.items())
        return dict(outputs + list(self._values.items()))

    @property
    def logits(self) -> Tensor:
        """The class scores, of tasks that have them."""
        if LOGITS not in self.named:
            raise UserError(f"there are no class scores among the answer's {', '.join(self.named) or 'taps'}")
        return self.named[LOGITS]

    def __getitem__(self, tap: "Tap | str") -> Tensor:
        return self._values[Tap.parse(tap)]

    def __iter__(self) -> Iterator[Tap]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def is_compiled(network: nn.Module) -> bool:
    """Whether torch.compile made it (tested by name, because importing the compiler takes a second)."""
    return "_orig_mod" in network._modules or getattr(network, "_compiled_call_impl", None) is not None


def layers(network: nn.Module) -> Iterator[nn.Module]:
    """The network and the networks that it wraps, from the outermost to the innermost."""
    while True:
        yield network
        if "_orig_mod" in network._modules:
            network = network.get_submodule("_orig_mod")
        elif isinstance(network, PARALLEL) or getattr(network, "is_preprocessing_of", False):
            network = network.get_submodule("module")
        else:
            return


def inner(network: nn.Module) -> nn.Module:
    """The user's own network, inside what torch.compile, DistributedDataParallel or a front put around it."""
    *_, innermost = layers(network)
    return innermost


def picked(network: nn.Module, returned: object) -> object:
    """What the innermost network returned, as its fronts give it on: ``understudy.models.Output`` picks the answer."""
    for layer in reversed(list(layers(network))[:-1]):
        pick: Callable[[object], object] | None = getattr(layer, "pick", None)
        returned = returned if pick is None else pick(returned)
    return returned


def is_bare(network: nn.Module) -> bool:
    """Whether it is only modules and preprocessing: nothing compiled, nothing parallel."""
    return not any(is_compiled(layer) or isinstance(layer, PARALLEL) for layer in layers(network))


@contextmanager
def eagerly(network: nn.Module) -> Iterator[None]:
    """A context without compilation, for tracing shapes; what FSDP2 gathers for the trace is sharded again."""
    compiled = any(map(is_compiled, layers(network)))
    with torch.compiler.set_stance("force_eager") if compiled else nullcontext():
        yield
    reshard(network)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[nn.Module]:
    """A context in evaluation mode; every module returns to its mode at the end."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield network
    finally:
        for module, training in modes.items():
            module.training = training


def call(network: Callable[..., T], inputs: Nested) -> T:
    """A network, with its inputs as they come in a batch: one tensor, several, or several by name.

    Images in float32 become float64, bfloat16 or float16 before a network in that precision, unless autocast is on.
    """
    if isinstance(network, nn.Module):
        dtype = precision_of(network)
        if dtype is not None and not by_autocast(network, dtype):
            inputs = in_precision(inputs, dtype)
    if isinstance(inputs, Mapping):
        return network(**inputs)
    if isinstance(inputs, (tuple, list)):
        return network(*inputs)
    return network(inputs)


def precision_of(network: nn.Module) -> torch.dtype | None:
    """The dtype of a network whose first weights are not in float32; None for all others."""
    first = next((p.dtype for p in inner(network).parameters() if p.is_floating_point()), torch.float32)
    return None if first == torch.float32 else first


def by_autocast(network: nn.Module, dtype: torch.dtype) -> bool:
    """Whether autocast converts the values before each layer, so that the normalisation of the inputs stays exact."""
    device = next(inner(network).parameters()).device.type
    return dtype != torch.float64 and torch.is_autocast_enabled(device)


def in_precision(inputs: Nested, dtype: torch.dtype) -> Nested:
    """The same inputs with their numbers in another precision; numbers of tokens and masks stay."""
    return nested.each(lambda value: value.to(dtype) if value.is_floating_point() else value, inputs)


def find(network: nn.Module, tap: Tap, *, called: str = "the network") -> nn.Module:
    """The module of a tap; a ``UserError`` with the nearest paths if there is none."""
    modules: dict[str, nn.Module] = dict(inner(network).named_modules())
    if tap.path not in modules or not tap.path:
        known = [path for path in modules if path]
        raise UserError(f"{called} has no module {tap.path!r}{did_you_mean(tap.path, known)}")
    return modules[tap.path]


class _Reached(BaseException):
    """Ends the forward pass when every tap has been read. Not an ``Exception``, so that no network catches it."""


_Seen = dict[Tap, list[tuple[object, int | None]]]  # of each tap its values, each with its version counter


class Observation:
    """What a network got and answered in a forward pass of the caller's, see `TappedNetwork.observing`."""

    def __init__(self, tapped: "TappedNetwork"):
        self._tapped = tapped
        self._calls: list[tuple[tuple[object, ...], dict[str, object], object]] = []
        self._seen: _Seen = {}

    @property
    def inputs(self) -> Nested:
        """The tensors that the network was called with, for the teacher."""
        arguments, named, _ = self._call()
        tensors = {name: value for name, value in named.items() if isinstance(value, Tensor)}
        if arguments and tensors:
            raise UserError(
                f"{self._tapped.called} was called with {len(arguments)} inputs by position and with "
                f"{', '.join(tensors)} by name: pass read() the inputs of the teacher"
            )
        positional = cast(tuple[Nested, ...], arguments)
        return tensors or (positional[0] if len(positional) == 1 else positional)

    @property
    def answer(self) -> Answer:
        """The network's answer, with its taps."""
        return self._tapped.answer(self._call()[2], self._seen)

    def _call(self) -> tuple[tuple[object, ...], dict[str, object], object]:
        if len(self._calls) != 1:
            raise UserError(
                f"{self._tapped.called} was called {len(self._calls)} times within observing(), not once: "
                "call the network itself, not its forward, and once"
            )
        return self._calls[0]


class TappedNetwork:
    """A network with taps: called like the network, it returns the output and the values at the taps.

    With ``cut`` the network runs only as deep as its deepest tap, and the output is None.

    >>> network = TappedNetwork(torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Linear(8, 3)), ["0"])
    >>> network(torch.rand(2, 4))["0"].shape
    torch.Size([2, 8])
    """

    def __init__(
        self,
        network: nn.Module,
        taps: Iterable[Tap | str] = (),
        *,
        cut: bool = False,
        called: str = "",
        task: Task = CLASSIFICATION,
    ):
        self.network, self.task = network, task
        self.taps = tuple(dict.fromkeys(Tap.parse(tap) for tap in taps))
        self.called = called or type(inner(network)).__name__
        if cut and not self.taps:
            raise ValueError("a network without taps cannot be cut at one")
        self.cut = cut
        found = {tap: find(network, tap, called=self.called) for tap in self.taps}
        self._projections = {
            tap: attention.projection(module, tap.form, tap.path)
            for tap, module in found.items()
            if tap.form in attention.FORMS
        }
        self._modules = found | {tap: place.module for tap, place in self._projections.items()}
        # The same functions at every call: by them torch.compile knows its own graph again.
        self._hooks = {tap: self._hook(tap, self._modules[tap]) for tap in self.taps}
        self._seen: _Seen = {}
        self._dtype = precision_of(network)
        compiled = any(map(is_compiled, layers(network)))
        self._run = self._compiled() if self.taps and compiled else self._eager
        self._parts = tuple(network.modules())

    def evaluate(self) -> None:
        """Puts the network into evaluation mode, also where only a part of it is in training mode (a new head)."""
        if any(module.training for module in self._parts):
            self.network.eval()

    def __call__(self, *args: object, **kwargs: object) -> Answer:
        if self._dtype is not None and not by_autocast(self.network, self._dtype):
            args = tuple(_in_precision(value, self._dtype) for value in args)
            kwargs = {name: _in_precision(value, self._dtype) for name, value in kwargs.items()}
        if not self.taps:
            return Answer(self.network(*args, **kwargs), {}, self.task)
        with ExitStack() as stack:
            for tap, module in self._modules.items():
                stack.enter_context(_register(module, self._side(tap), self._hooks[tap]))
            output, seen = self._run(*args, **kwargs)
        return self.answer(output, seen)

    def __deepcopy__(self, memo: dict[int, object]) -> "TappedNetwork":
        """The taps of a copy are those of the copied network, and its hooks record what that one computes."""
        network = copy.deepcopy(self.network, memo)
        return TappedNetwork(network, self.taps, cut=self.cut, called=self.called, task=self.task)

    def answer(self, output: object, seen: "_Seen") -> Answer:
        """The output and what the taps have recorded, as an answer."""
        return Answer(output, {tap: self._only(tap, seen.get(tap, [])) for tap in self.taps}, self.task)

    @contextmanager
    def observing(self) -> Iterator[Observation]:
        """Within it, the caller calls the network once; the observation then holds what went in and what came out.

        >>> network = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Linear(8, 3))
        >>> with TappedNetwork(network, ["0"]).observing() as seen:
        ...     output = network(torch.rand(2, 4))
        >>> seen.answer["0"].shape, seen.inputs.shape
        (torch.Size([2, 8]), torch.Size([2, 4]))
        """
        observation = Observation(self)

        def ended(_module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object], output: object) -> None:
            observation._calls.append((args, kwargs, output))

        self._seen = observation._seen
        with ExitStack() as stack:
            for tap, module in self._modules.items():
                stack.enter_context(_register(module, self._side(tap), self._hooks[tap]))
            # With its fronts: their inputs are for the teacher, too, and their answer is the network's.
            called = next(layer for layer in layers(self.network) if not isinstance(layer, PARALLEL))
            stack.enter_context(called.register_forward_hook(ended, with_kwargs=True))
            yield observation
        self._seen = {}

    def _hook(self, tap: Tap, module: nn.Module) -> Callable[..., None]:
        def output(_module: nn.Module, _args: tuple[object, ...], value: object) -> None:
            self._record(tap, value)

        def input(_module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
            self._record(tap, args[0] if args else next(iter(kwargs.values()), None))

        def copied_input(_module: nn.Module, args: tuple[Tensor, ...], _kwargs: dict[str, object]) -> None:
            self._record(tap, args[0].clone())  # the module is about to write into it

        place = self._projections.get(tap)

        def projected(_module: nn.Module, args: tuple[object, ...], value: object) -> None:
            assert place is not None
            self._record(tap, place.read(args, value) if place.side == "input" else place.read(value))

        if place is not None:
            return projected
        if tap.side == "output":
            return output
        return copied_input if overwrites_input(module) else input

    def _side(self, tap: Tap) -> Side:
        """What the hook of a tap is given."""
        return self._projections[tap].side if tap in self._projections else tap.side

    def _record(self, tap: Tap, value: object) -> None:
        if tap.form and isinstance(value, Tensor):
            value = forms.read(value, tap.form)
        self._seen.setdefault(tap, []).append((value, _version(value)))
        if self.cut and len(self._seen) == len(self.taps):
            raise _Reached

    def _forward(self, network: nn.Module, *args: object, **kwargs: object) -> tuple[object, _Seen]:
        self._seen = {}
        try:
            output = network(*args, **kwargs)
        except _Reached:
            output = None
        seen, self._seen = self._seen, {}
        return output, seen

    def _eager(self, *args: object, **kwargs: object) -> tuple[object, _Seen]:
        return self._forward(self.network, *args, **kwargs)

    def _compiled(self) -> Callable[..., tuple[object, _Seen]]:
        """The network compiled together with its hooks: the compiler does not see hooks that are registered later."""
        original = self.network._modules.get("_orig_mod") or self.network

        def run(*args: object, **kwargs: object) -> tuple[object, _Seen]:
            return self._forward(original, *args, **kwargs)

        # With the backend and the options of the user, if the compiled network has them.
        compiler = getattr(self.network, "dynamo_ctx", torch.compile)
        return cast(Callable[..., tuple[object, _Seen]], compiler(run))

    def _only(self, tap: Tap, values: Sequence[tuple[object, int | None]]) -> Tensor:
        if not values:
            raise UserError(
                f"{self.called}: tap {str(tap)!r} never fired; the forward pass does not call that module "
                "(a container such as ModuleList is never called itself: tap one of its parts)"
            )
        if len(values) > 1:
            raise UserError(
                f"{self.called}: tap {str(tap)!r} fired {len(values)} times in one forward pass; "
                "the module is used more than once: tap a module that is used once"
            )
        value, version = values[0]
        if not isinstance(value, Tensor):
            raise UserError(
                f"{self.called}: tap {str(tap)!r} holds {type(value).__name__}, not a tensor; "
                "tap a module inside it, or the input of the module after it"
            )
        if version is not None and version != value._version:
            raise UserError(
                f"{self.called}: the value of tap {str(tap)!r} is overwritten in place by what follows "
                "(as ReLU(inplace=True) and += do): tap the module after it or its input, or build that with "
                "inplace=False"
            )
        return value


def _in_precision(value: object, dtype: torch.dtype) -> object:
    return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value


def overwrites_input(module: nn.Module) -> bool:
    """Whether a module writes into what it is given, as ``ReLU(inplace=True)`` does."""
    return getattr(module, "inplace", False) is True and not list(module.children())


def _version(value: object) -> int | None:
    """The version counter of a tensor, if PyTorch keeps one."""
    if torch.compiler.is_compiling() or not isinstance(value, Tensor) or value.is_inference():
        return None
    return value._version


def _register(module: nn.Module, side: Side, hook: Callable[..., None]) -> RemovableHandle:
    if side == "output":
        return module.register_forward_hook(hook)
    return module.register_forward_pre_hook(hook, with_kwargs=True)
