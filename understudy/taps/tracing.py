"""What a network's taps look like, and which pairs of taps make good hints.

One forward pass of a small batch shows every module's shape, resolution and depth. Depth is the share of the
network's multiplications that are done when a module answers: it says what a cut there saves, and it puts FitNets'
own pairs in the same place of both networks (conv2 of the teacher at 79 %, conv11 of FitNet 4 at 72 %), which the
count of layers does not.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from understudy.errors import UserError
from understudy.nested import Nested
from understudy.taps import Pair, Tap, call, eagerly, evaluating, inner
from understudy.taps.regressors import regressor

Resolution = tuple[int, ...]

MIDDLE = 2 / 3  # where hints work best: FitNets' pair lies at 0.75, CRD's benchmark's (the second of three) at 0.67
MIDDLE_ENDS = (0.3, 0.9)  # earlier there is little to learn from, later the hint decides too much of the student


@dataclass(frozen=True)
class Traced:
    """A module as one forward pass met it.

    Args:
        path, type: the dotted path and the class's name.
        shape: of its value, without the batch; empty where it is no tensor.
        resolution: (H, W) of a map, (T,) of tokens, None for a vector.
        depth: the share of the network's multiplications done by then (of modules called, where it multiplies nothing).
        fired: how often it was called; a tap wants exactly once.
        problem: why it cannot be tapped, in words; None where it can.
        entered: the resolution of what it was given.
        began, ended: its place in the order of calls and answers.
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

    @property
    def tappable(self) -> bool:
        return self.problem is None

    @property
    def where(self) -> str:
        return f"{_places(self.resolution)} at {self.depth:.0%}"


@dataclass(frozen=True)
class Proposal:
    """A pair of taps for a hint, why, and the regressor that it calls for."""

    pair: Pair
    reason: str
    regressor: str
    teacher: Traced
    student: Traced


def trace(network: nn.Module, example: Nested) -> list[Traced]:
    """Every module of a network in the order of their answers, those never called last.

    Runs once, in evaluation mode and without gradients; the network is left as it was.
    """
    network_inside = inner(network)
    watch = _Watch()
    with ExitStack() as stack:
        for context in (torch.no_grad(), evaluating(network), eagerly(network), watch.counter):
            stack.enter_context(context)
        for path, module in network_inside.named_modules():
            if path:
                stack.enter_context(module.register_forward_pre_hook(watch.enters(path), with_kwargs=True))
                stack.enter_context(module.register_forward_hook(watch.answers(path)))
        call(network, example)
    types = {path: type(module).__name__ for path, module in network_inside.named_modules() if path}
    return sorted((watch.traced(path, name) for path, name in types.items()), key=lambda t: (not t.fired, t.ended))


def stages(traces: Sequence[Traced]) -> list[Traced]:
    """The last tap of every resolution: the natural places for hints, the outermost module where several coincide.

    What only passes by is left out: a detour inside a module (squeeze-and-excitation, attention maps), the step before
    the pooling in a block of convolution and pooling, and the first steps of a module that goes on to another
    resolution, where an end of the stage stands before it.
    A network of vectors only (an MLP) has one stage for every width.
    """
    taps = [t for t in traces if t.tappable and not _is_answer(t)]
    if not any(t.resolution for t in taps):
        return sorted({t.shape: t for t in taps}.values(), key=lambda t: t.ended)
    taps = [t for t in taps if t.resolution]
    called = {t.path: t for t in traces if t.fired == 1}
    last = {t.resolution: t for t in taps if not _passes_by(t, called, taps)}
    return sorted(last.values(), key=lambda t: t.ended)


def propose(teacher: Sequence[Traced], student: Sequence[Traced]) -> list[Proposal]:
    """Pairs for hints, the middle one first: aligned by resolution where both have it, else by depth."""
    ours, theirs = stages(student), stages(teacher)
    pairs: list[tuple[Traced, Traced, str]]
    pairs = [(t, s, "equal resolution") for t in theirs for s in ours if t.resolution and t.resolution == s.resolution]
    left = [s for s in ours if all(s is not pair[1] for pair in pairs)]
    for t in theirs:
        if left and all(t is not pair[0] for pair in pairs):
            pairs.append((t, _nearest(left, t.depth), "nearest in depth"))
    if not any(_in_the_middle(t) and _in_the_middle(s) for t, s, _ in pairs):
        pairs += _middle_pair(teacher, student)
    unique = {(t.path, s.path): (t, s, why) for t, s, why in reversed(pairs)}
    best_first = sorted(unique.values(), key=lambda pair: _off_the_middle(pair[0], pair[1]))
    proposals = [_proposal(t, s, why, first=not i) for i, (t, s, why) in enumerate(best_first)]
    return [p for p in proposals if p is not None]


def default_pair(teacher: nn.Module, student: nn.Module, example: Nested) -> Pair:
    """The pair for somebody who names none."""
    proposals = propose(trace(teacher, example), trace(student, example))
    if not proposals:
        raise UserError(
            f"no pair of taps suggests itself between {type(inner(teacher)).__name__} and "
            f"{type(inner(student)).__name__}: name one, as in 'layer2 -> layer3.1'"
        )
    return proposals[0].pair


class _Watch:
    """What the hooks of a trace write down."""

    def __init__(self) -> None:
        from torch.utils.flop_counter import FlopCounterMode  # here, since it is slow to import

        self.counter = FlopCounterMode(display=False)
        self.time = 0
        self.began: dict[str, tuple[int, Resolution | None]] = {}
        self.values: dict[str, list[tuple[object, int]]] = {}
        self.ended: dict[str, tuple[int, int]] = {}

    def enters(self, path: str) -> Callable[..., None]:
        def hook(_module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
            self.time += 1
            given = args[0] if args else next(iter(kwargs.values()), None)
            self.began.setdefault(path, (self.time, _resolution(given)))

        return hook

    def answers(self, path: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _args: tuple[object, ...], value: object) -> None:
            self.time += 1
            self.values.setdefault(path, []).append((value, _writes(value)))
            self.ended[path] = self.time, self.counter.get_total_flops()

        return hook

    def traced(self, path: str, type_name: str) -> Traced:
        values = self.values.get(path, [])
        if not values:
            return Traced(path, type_name, problem="never called")
        value, writes = values[0]
        problem = None
        if len(values) > 1:
            problem = f"called {len(values)} times"
        elif not isinstance(value, Tensor):
            problem = f"answers with {type(value).__name__}"
        elif _writes(value) != writes:
            problem = "overwritten in place"
        began, entered = self.began[path]
        ended, done = self.ended[path]
        shape = tuple(value.shape[1:]) if isinstance(value, Tensor) else ()
        total = self.counter.get_total_flops()
        depth = done / total if total else ended / self.time
        return Traced(path, type_name, shape, _resolution(value), depth, len(values), problem, entered, began, ended)


def _resolution(value: object) -> Resolution | None:
    if not isinstance(value, Tensor) or value.ndim not in (3, 4):
        return None
    return (value.shape[1],) if value.ndim == 3 else (value.shape[2], value.shape[3])


def _writes(value: object) -> int:
    return value._version if isinstance(value, Tensor) and not value.is_inference() else 0


def _is_answer(t: Traced) -> bool:
    """The network's own answer, a vector after all multiplications, is no hidden value."""
    return t.resolution is None and t.depth >= 1


def _passes_by(tap: Traced, called: Mapping[str, Traced], taps: Sequence[Traced]) -> bool:
    for around in _around(tap, called):
        detour = around.entered == around.resolution != tap.resolution
        leaving = around.entered == tap.resolution != around.resolution
        if detour or _only_step(around, tap, taps):
            return True
        if leaving and any(t.resolution == tap.resolution and t.ended < around.began for t in taps):
            return True
    return False


def _only_step(around: Traced, tap: Traced, taps: Sequence[Traced]) -> bool:
    """Whether the tap's resolution is the only one between what a module is given and what it answers (conv, pool)."""
    inside = {t.resolution for t in taps if t.path.startswith(f"{around.path}.")}
    return around.resolution is not None and inside - {around.entered, around.resolution} == {tap.resolution}


def _around(tap: Traced, called: Mapping[str, Traced]) -> list[Traced]:
    """The modules that a tap lies in, other than plain lists of modules."""
    names = tap.path.split(".")
    outer = [called.get(".".join(names[:n])) for n in range(1, len(names))]
    return [module for module in outer if module is not None and module.type != "Sequential"]


def _middle_pair(teacher: Sequence[Traced], student: Sequence[Traced]) -> list[tuple[Traced, Traced, str]]:
    theirs, ours = _blocks(teacher), _blocks(student)
    if not theirs or not ours:
        return []
    middle = _nearest(theirs, MIDDLE)
    guided = _nearest(ours, middle.depth)
    return [(_outermost(middle, teacher), _outermost(guided, student), "nearest to the middle")]


def _outermost(tap: Traced, traces: Sequence[Traced]) -> Traced:
    """The module that ends where the tap does: layer2 rather than its last block."""
    around = [t for t in traces if t.tappable and tap.path.startswith(f"{t.path}.")]
    alike = [t for t in around if (t.shape, t.depth) == (tap.shape, tap.depth)]
    return min(alike, key=lambda t: t.path.count("."), default=tap)


def _blocks(traces: Sequence[Traced]) -> list[Traced]:
    """The outermost blocks of which several alike stand in a row; every tap where there are none."""
    taps = [t for t in traces if t.tappable and not _is_answer(t)]
    rows: dict[tuple[str, str, tuple[int, ...]], list[Traced]] = {}
    for t in taps:
        unnumbered = t.path.rstrip("0123456789")
        if unnumbered != t.path:
            rows.setdefault((unnumbered, t.type, t.shape), []).append(t)
    blocks = [t for row in rows.values() if len(row) > 1 for t in row]
    outermost = min((t.path.count(".") for t in blocks), default=0)
    return [t for t in blocks if t.path.count(".") == outermost] or taps


def _nearest(traces: Sequence[Traced], depth: float) -> Traced:
    """Nearest in depth; of several at one depth the last, which has its activation behind it."""
    return min(reversed(traces), key=lambda t: abs(t.depth - depth))


def _in_the_middle(t: Traced) -> bool:
    return MIDDLE_ENDS[0] <= t.depth <= MIDDLE_ENDS[1]


def _off_the_middle(teacher: Traced, student: Traced) -> float:
    apart = abs(teacher.depth - student.depth)
    return apart + abs(teacher.depth - MIDDLE) + abs(student.depth - MIDDLE)


def _proposal(teacher: Traced, student: Traced, why: str, *, first: bool) -> Proposal | None:
    """None where no regressor joins the two."""
    try:
        with torch.device("meta"):
            built = regressor(torch.empty(1, *student.shape), torch.empty(1, *teacher.shape))
    except UserError:
        return None
    reason = f"{why}: teacher's {teacher.where}, student's {student.where} of the multiplications"
    reason = (
        f"the middle of both; {reason}" if first and _in_the_middle(teacher) and _in_the_middle(student) else reason
    )
    pair = Pair(Tap(teacher.path), Tap(student.path))
    return Proposal(pair, reason, "none needed" if built is None else repr(built), teacher, student)


def _places(resolution: Resolution | None) -> str:
    if resolution is None:
        return "vector"
    return f"{resolution[0]} tokens" if len(resolution) == 1 else f"{resolution[0]}x{resolution[1]}"
