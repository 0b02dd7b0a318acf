"""Where a network is naturally read: the ends of its stages, its last map, what enters its classifier.

The stages of most networks end where their maps become smaller. A network whose maps or tokens stay of one size (a
vision transformer, a mixer) has quarters of its blocks as stages. What comes after the last map larger than 1x1, or
after the classifier has begun, is no stage.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from understudy.errors import UserError
from understudy.nested import Nested
from understudy.taps import Answer, Tap, TappedNetwork, call, eagerly, evaluating
from understudy.taps.forms import EXTRA_TOKENS
from understudy.taps.tracing import OVERWRITTEN, Traced, same, trace
from understudy.tasks.task import outputs_by_name

QUARTERS = 4  # stages of a network whose blocks are all of one size
MOST_UNREACHABLE = 0.05  # of a map's square below zero, up to which a projector with a ReLU serves
LEAST_BLOCKS = 3  # in a row, before a stage is cut into parts
MOST_OF_IT, MOST_OF_STEM = 0.6, 0.15  # of the multiplications, in a row of blocks that is the whole network

# They add nothing that a student could learn, are random in training, or belong to the head.
_PASSING = ("dropout", "identity", "droppath", "dropblock2d", "flatten", "stochasticdepth", "permute")
_POOLING = (
    "adaptiveavgpool1d",
    "adaptivemaxpool1d",
    "adaptiveavgpool2d",
    "adaptivemaxpool2d",
    "selectadaptivepool2d",
    "fastadaptiveavgpool",
)


def stages(traces: Sequence[Traced]) -> list[Traced]:
    """The last tap of every resolution: the natural places for hints, the outermost module where several coincide.

    What only passes by is left out: a detour inside a module (squeeze-and-excitation, attention maps), the step before
    the pooling in a block of convolution and pooling, and the first steps of a module that goes on to another
    resolution, where an end of the stage stands before it.
    A network of vectors only (an MLP) has one stage for every width.
    """
    taps = hidden(traces)
    if not any(t.resolution for t in taps):
        return sorted({t.shape: t for t in taps}.values(), key=lambda t: t.ended)
    taps = [t for t in taps if t.resolution]
    called = {t.path: t for t in traces if t.fired == 1}
    last = {t.grid or t.resolution: t for t in taps if not _passes_by(t, called, taps)}
    return sorted(last.values(), key=lambda t: t.ended)


def parts(traces: Sequence[Traced]) -> list[Traced]:
    """The stages, and where one row of blocks is nearly the whole network, quarters of that row in their place.

    >>> from understudy.models import build
    >>> [t.path for t in parts(trace(build("resnet8"), torch.rand(2, 3, 32, 32)))]
    ['layer1', 'layer2', 'layer3']
    """
    ends, row = stages(traces), the_row(traces)
    if not row:
        return ends
    count = min(QUARTERS, len(row))
    chosen = [row[-(-len(row) * part // count) - 1] for part in range(1, count)]
    after = [t for t in ends if t.ended >= row[-1].ended]
    return [*chosen, *(after or row[-1:])]


def hidden(traces: Sequence[Traced]) -> list[Traced]:
    """The taps of hidden values: before the classifier, and none of a single place where there are larger maps."""
    head = _head(traces)
    began = head.began if head else max((t.ended for t in traces), default=0) + 1
    taps = [t for t in traces if t.tappable and not _is_answer(t) and not _is_passing(t)]
    if any(t.resolution for t in taps):
        taps = [t for t in taps if t.ended < began]
        larger = any(_count(t) > 1 for t in taps)
        taps = [t for t in taps if _count(t) > 1 or (t.resolution is None) or not larger]
        if any(t.grid and _count(t) > 1 for t in taps):  # class and register tokens by themselves are no places
            taps = [t for t in taps if t.grid or t.resolution is None or _count(t) > max(EXTRA_TOKENS)]
    return taps


def blocks(traces: Sequence[Traced]) -> list[Traced]:
    """The outermost blocks of which several alike stand in a row; every tap where there are none."""
    taps = hidden(traces)
    in_rows = [t for row in _rows(taps) for t in row]
    outermost = min((t.path.count(".") for t in in_rows), default=0)
    return [t for t in in_rows if t.path.count(".") == outermost] or taps


def classifier(traces: Sequence[Traced]) -> Traced:
    """The linear layer that answers last."""
    head = _head(traces)
    if head is None:
        raise UserError("the network has no linear layer at its end: name the taps yourself")
    return head


def last_map(network: nn.Module, example: Nested, traces: Sequence[Traced] | None = None) -> Tap:
    """The last feature map larger than 1x1 before it is pooled.

    Of several values of that resolution it is the one whose mean the classifier is given, if there is one; where a
    network calls its last ReLU as a function, that is the ReLU of a module's value (``"features:relu"``).

    >>> from understudy.models import build
    >>> print(last_map(build("wrn-10-1"), torch.rand(2, 3, 32, 32)))
    relu
    """
    traces = trace(network, example) if traces is None else traces
    maps = [t for t in stages(traces) if t.resolution]
    if not maps:
        raise UserError("the network has no feature maps: name the taps yourself")
    last = maps[-1]
    if last.grid is None or gives_the_answer(network, last.map_tap, example):
        return last.map_tap
    head = _head(traces)
    began = head.began if head else last.ended + 1
    overwritten = [
        Tap(t.path, form="relu")
        for t in traces
        if t.problem == OVERWRITTEN and t.grid == last.grid and not t.form and last.ended < t.ended < began
    ]
    for tap in [*reversed(overwritten), *([] if last.form else [Tap(last.path, form="relu")])]:
        if gives_the_answer(network, tap, example):
            return tap
    return last.map_tap


def gives_the_answer(network: nn.Module, tap: Tap, example: Nested) -> bool:
    """Whether a linear layer of the network, on the mean over a map's places, gives the network's answer."""
    with _shifted_norms(network):
        answer = _answer(network, tap, example)
    named = outputs_by_name(answer.output, "logits")  # of any task: an encoder has no logits
    values = named.get("logits", next(iter(named.values()), None))
    return values is not None and head_on(network, answer[tap], values) is not None


@contextmanager
def _shifted_norms(network: nn.Module) -> Iterator[None]:
    """Batch norms of vectors with another mean: fresh ones, which change nothing, would not be seen before a head."""
    means = [m.running_mean for m in network.modules() if isinstance(m, nn.BatchNorm1d) and m.running_mean is not None]
    before = [mean.clone() for mean in means]
    with torch.no_grad():
        try:
            for mean in means:
                mean.add_(1)
            yield
        finally:
            for mean, value in zip(means, before, strict=True):
                mean.copy_(value)


def value_at(network: nn.Module, tap: Tap, example: Nested) -> Tensor:
    """What a tap reads for a small batch."""
    return _answer(network, tap, example)[tap]


def _answer(network: nn.Module, tap: Tap, example: Nested) -> Answer:
    with torch.no_grad(), evaluating(network), eagerly(network):
        return call(TappedNetwork(network, [tap]), example)


def head_on(network: nn.Module, values: Tensor, logits: Tensor) -> str | None:
    """The linear layer that gives the logits from the mean over a map's places, by its path; None without one."""
    if values.ndim != 4 or logits.ndim != 2:
        return None
    mean = values.mean((2, 3)).float()
    wanted = (logits.shape[1], values.shape[1])
    for path, module in network.named_modules():
        if not isinstance(module, (nn.Linear, nn.Conv2d)):
            continue
        weight, bias = module.weight.detach().float(), module.bias
        if weight.shape[:2] == wanted and weight.numel() == wanted[0] * wanted[1]:
            answer = mean @ weight.flatten(1).T
            if same(answer if bias is None else answer + bias.detach().float(), logits):
                return str(path)
    return None


def unreachable(values: Tensor) -> float:
    """The share of the square of some values that lies below zero, where no ReLU reaches."""
    squares = values.float().square()
    return float((squares * (values < 0)).sum() / squares.sum().clamp_min(torch.finfo(torch.float32).tiny))


def _head(traces: Sequence[Traced]) -> Traced | None:
    """The last linear layer that answers."""
    return max((t for t in traces if t.answers), key=lambda t: t.ended, default=None)


def _count(t: Traced) -> int:
    """The places of a value."""
    grid = t.grid or t.resolution or ()
    return int(torch.Size(grid).numel())


def _is_answer(t: Traced) -> bool:
    """The network's own answer, a vector after all multiplications, is no hidden value."""
    return t.resolution is None and t.depth >= 1


def _is_passing(t: Traced) -> bool:
    kind = t.type.lower()
    return kind.startswith(_PASSING) or kind in _POOLING


def the_row(traces: Sequence[Traced]) -> list[Traced]:
    """The blocks of a network that is one row of blocks of one size, but for its stem; empty for others."""
    taps = [t for t in hidden(traces) if t.resolution]
    for row in sorted(_rows(taps), key=lambda row: (row[0].path.count("."), -len(row))):
        share = MOST_OF_IT * (len(row) - 1) / len(row)
        if len(row) >= LEAST_BLOCKS and row[-1].depth - row[0].depth >= share:
            size = row[0].grid or row[0].resolution
            of_stem = [t for t in stages(traces) if (t.grid or t.resolution) != size]
            return row if all(t.depth <= MOST_OF_STEM for t in of_stem) else []
    return []


def _rows(taps: Sequence[Traced]) -> list[list[Traced]]:
    """Modules alike that stand in a row, by their numbers."""
    rows: dict[tuple[str, str, tuple[int, ...]], list[Traced]] = {}
    for t in taps:
        unnumbered = t.path.rstrip("0123456789")
        if unnumbered != t.path:
            rows.setdefault((unnumbered, t.type, t.shape), []).append(t)
    return [row for row in rows.values() if len(row) > 1]


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
    """The modules that a tap lies in, other than plain lists of modules and those that answer with several tensors."""
    names = tap.path.split(".")
    outer = [called.get(".".join(names[:n])) for n in range(1, len(names))]
    return [module for module in outer if module is not None and module.type != "Sequential" and module.shape]
