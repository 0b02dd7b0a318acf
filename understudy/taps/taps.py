"""Taps: read the hidden values of any network by the dotted path of a module.

A tap is a module's output (``"layer2.1"``) or its input (``"layer2.1:input"``); a pair is a teacher's tap and the
student's tap that it guides (``"conv2 -> conv11"``). Hooks live only as long as one forward pass, so that nothing
of ours stays on the user's network; a compiled network is compiled once more together with its taps.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import accumulate
from operator import itemgetter
from typing import Literal, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from understudy.errors import UserError, did_you_mean
from understudy.nested import Nested
from understudy.tasks.classification import LOGITS, Classification
from understudy.tasks.task import Task, Values, only

T = TypeVar("T")
CLASSIFICATION = Classification()  # the task where none is named
Side = Literal["output", "input"]


@dataclass(frozen=True)
class Tap:
    """A place in a network whose value is read.

    >>> print(Tap.parse("layer2:input"))
    layer2:input
    """

    path: str
    side: Side = "output"

    @classmethod
    def parse(cls, text: "str | Tap") -> "Tap":
        if isinstance(text, Tap):
            return text
        path, _, side = text.strip().partition(":")
        if side not in ("", "input", "output"):
            raise UserError(f"tap {text!r}: after the colon stands 'input' or 'output', not {side!r}")
        return cls(path.strip(), "input" if side == "input" else "output")

    def __str__(self) -> str:
        return self.path if self.side == "output" else f"{self.path}:input"


@dataclass(frozen=True)
class Pair:
    """A teacher's tap and the student's tap that it guides.

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
    """What a network answered: its output, by the names of the task, and the values at its taps.

    >>> answer = Answer(torch.zeros(2, 3), {Tap("conv"): torch.ones(2, 4)})
    >>> answer.logits.shape, answer["conv"].shape
    (torch.Size([2, 3]), torch.Size([2, 4]))
    """

    def __init__(self, output: object, values: dict[Tap, Tensor], task: Task = CLASSIFICATION):
        self.output, self.task = output, task
        self._values = values
        self._named: Values | None = None

    def detached(self) -> "Answer":
        """The same values, out of reach of any gradient."""
        return self.each(Tensor.detach)

    def widened(self) -> "Answer":
        """The same values, none in less than float32."""
        return self.each(lambda value: value.float() if value.dtype in (torch.bfloat16, torch.float16) else value)

    def split(self, sizes: Sequence[int]) -> "list[Answer]":
        """The answers about so many samples, the next so many, and so on."""
        ends = accumulate(sizes)
        return [self.each(itemgetter(slice(end - size, end))) for size, end in zip(sizes, ends, strict=True)]

    def each(self, change: Callable[[Tensor], Tensor]) -> "Answer":
        """The same answer with every tensor changed."""
        output = None if self.output is None else {name: change(value) for name, value in self.named.items()}
        return Answer(output, {tap: change(value) for tap, value in self._values.items()}, self.task)

    @property
    def device(self) -> torch.device | None:
        """Where its tensors are; None if it has none."""
        for value in (*self.values(), *self.named.values()):
            return value.device
        return None

    @property
    def named(self) -> Values:
        """The output's tensors by the task's names; none if the network was cut below its output."""
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
    """Whether torch.compile made it (asked by name: importing the compiler costs a second)."""
    return "_orig_mod" in network._modules or getattr(network, "_compiled_call_impl", None) is not None


def layers(network: nn.Module) -> Iterator[nn.Module]:
    """The network, what it is wrapped around, and so on inwards."""
    while True:
        yield network
        if "_orig_mod" in network._modules:
            network = network.get_submodule("_orig_mod")
        elif isinstance(network, (nn.DataParallel, nn.parallel.DistributedDataParallel)) or getattr(
            network, "is_preprocessing_of", False
        ):
            network = network.get_submodule("module")
        else:
            return


def inner(network: nn.Module) -> nn.Module:
    """The user's own network, inside what torch.compile, DistributedDataParallel or a front put around it."""
    *_, innermost = layers(network)
    return innermost


def is_bare(network: nn.Module) -> bool:
    """Whether it is modules alone, fronts included: nothing compiled, nothing spread over devices."""
    parallel = nn.DataParallel, nn.parallel.DistributedDataParallel
    return not any(is_compiled(layer) or isinstance(layer, parallel) for layer in layers(network))


def eagerly(network: nn.Module) -> AbstractContextManager[object]:
    """For a while nothing is compiled: a trace of shapes is not worth a compilation."""
    return torch.compiler.set_stance("force_eager") if any(map(is_compiled, layers(network))) else nullcontext()


@contextmanager
def evaluating(network: nn.Module) -> Iterator[nn.Module]:
    """Evaluation mode for a while; every part returns to the mode that it had."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield network
    finally:
        for module, training in modes.items():
            module.training = training


def call(network: Callable[..., T], inputs: Nested) -> T:
    """A network, with its inputs as they come in a batch: one tensor, several, or several by name."""
    if isinstance(inputs, Mapping):
        return network(**inputs)
    if isinstance(inputs, (tuple, list)):
        return network(*inputs)
    return network(inputs)


def find(network: nn.Module, tap: Tap, *, called: str = "the network") -> nn.Module:
    """The module of a tap; a path that leads nowhere is answered with the nearest that do."""
    modules: dict[str, nn.Module] = dict(inner(network).named_modules())
    if tap.path not in modules or not tap.path:
        known = [path for path in modules if path]
        raise UserError(f"{called} has no module {tap.path!r}{did_you_mean(tap.path, known)}")
    return modules[tap.path]


class _Reached(BaseException):
    """Every tap has been read: what lies deeper need not be computed. No error, so that no network catches it."""


_Seen = dict[Tap, list[tuple[object, int | None]]]  # for each tap its values, and how often each was written to by then


class TappedNetwork:
    """A network with its taps: called like the network, it answers with its output and the taps' values.

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
        self._modules = {tap: find(network, tap, called=self.called) for tap in self.taps}
        # The same functions at every call: by them torch.compile knows its own graph again.
        self._hooks = {tap: self._hook(tap) for tap in self.taps}
        self._seen: _Seen = {}
        compiled = any(map(is_compiled, layers(network)))
        self._run = self._compiled() if self.taps and compiled else self._eager

    def __call__(self, *args: object, **kwargs: object) -> Answer:
        if not self.taps:
            return Answer(self.network(*args, **kwargs), {}, self.task)
        with ExitStack() as stack:
            for tap, module in self._modules.items():
                stack.enter_context(_register(module, tap, self._hooks[tap]))
            output, seen = self._run(*args, **kwargs)
        return Answer(output, {tap: self._only(tap, seen.get(tap, [])) for tap in self.taps}, self.task)

    def _hook(self, tap: Tap) -> Callable[..., None]:
        def output(_module: nn.Module, _args: tuple[object, ...], value: object) -> None:
            self._record(tap, value)

        def input(_module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
            self._record(tap, args[0] if args else next(iter(kwargs.values()), None))

        return output if tap.side == "output" else input

    def _record(self, tap: Tap, value: object) -> None:
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
        """The compiler does not see hooks that come later: network and taps are compiled once more, as one."""
        original = self.network._modules.get("_orig_mod") or self.network

        def run(*args: object, **kwargs: object) -> tuple[object, _Seen]:
            return self._forward(original, *args, **kwargs)

        # With the user's own backend and options, where the compiled network still tells them.
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
                "(as ReLU(inplace=True) and += do): tap the module after it, or build that with inplace=False"
            )
        return value


def _version(value: object) -> int | None:
    """How often a tensor has been written to, where PyTorch counts that."""
    if torch.compiler.is_compiling() or not isinstance(value, Tensor) or value.is_inference():
        return None
    return value._version


def _register(module: nn.Module, tap: Tap, hook: Callable[..., None]) -> RemovableHandle:
    if tap.side == "output":
        return module.register_forward_hook(hook)
    return module.register_forward_pre_hook(hook, with_kwargs=True)
