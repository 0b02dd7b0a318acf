"""Shapes of families of networks within a budget: at each depth the widest one, so that depth stands against width."""

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from itertools import takewhile

import torch
from torch import nn

from understudy.bounds import Count, Positive, check
from understudy.errors import UserError
from understudy.measure.latency import Latency
from understudy.measure.size import multiplications
from understudy.models.catalogue import NetworkSpec
from understudy.models.sizes import Sized, outline, parameters

SHORT = 0.05  # seconds of a measurement that only tells what is clearly too slow
SLACK = 1.2  # clearly: by this factor
NEAR = 0.5  # of the largest cost: what costs less is no comparison at equal cost

Measure = Callable[[Mapping[str, nn.Module], float], Mapping[str, Latency]]  # networks, and seconds for all of them


@dataclass(frozen=True)
class Limits:
    """What a network may cost at most; None for no limit.

    Args:
        latency_ms: the median for one sample.
        parameters: of the network.
        multiplications: of one sample.

    >>> print(Limits(latency_ms=3, parameters=250_000))
    at most 3 ms, at most 250,000 parameters
    """

    latency_ms: Positive | None = None
    parameters: Count | None = None
    multiplications: Count | None = None

    def __post_init__(self) -> None:
        check(self, "limits")
        if not any(astuple(self)):
            raise UserError("a budget needs a limit: give a latency, a number of parameters or one of multiplications")

    def __str__(self) -> str:
        counts = {"parameters": self.parameters, "multiplications": self.multiplications}
        latency = [f"at most {self.latency_ms:g} ms"] if self.latency_ms is not None else []
        return ", ".join([*latency, *(f"at most {most:,} {name}" for name, most in counts.items() if most is not None)])


@dataclass(frozen=True)
class Shape:
    """A network of a family with its costs, as far as they are counted; ``depth`` is the one in its name."""

    network: NetworkSpec
    depth: int
    parameters: int
    multiplications: int | None = None
    latency: Latency | None = None

    def __str__(self) -> str:
        return str(self.network)

    def cost(self, limits: Limits) -> float:
        """What the first of the limits bounds."""
        if limits.latency_ms is not None:
            return self.latency.p50 if self.latency else float("inf")
        return self.parameters if limits.multiplications is None else self.multiplications or float("inf")

    def counted(self, sample: tuple[int, ...], classes: int) -> "Shape":
        """The shape with its multiplications, which are counted without its weights."""
        example = torch.zeros(1, *sample, device="meta")
        return replace(self, multiplications=multiplications(outline(self.network, sample, classes), example))


def shapes(
    family: str, sample: tuple[int, ...], classes: int, settings: Mapping[str, object] | None = None
) -> Iterator[Shape]:
    """Every shape of a family for samples of a shape: all of its sizes, or its sizes in several widths.

    Args:
        family: ``"wrn"``, ``"resnet"``, ``"plain"``, or a pattern such as ``"wrn-<size>"``.
        sample: the shape of a sample, such as (3, 32, 32).
        settings: of all networks, besides their width.

    >>> sorted({shape.depth for shape in shapes("plain", (3, 32, 32), 10)})
    [2, 3, 4, 5, 6, 7, 8, 9, 10]
    """
    sized = Sized.of(family)
    if not sized.published:
        raise UserError(f"family {family!r} has no list of sizes: advice takes plain, resnet, wrn and others with one")
    if len(sample) != 3:
        raise UserError(f"the families with sizes are networks of images, and a sample has the shape {list(sample)}")
    for size in sized.published if sized.widths else (*sized.published, *sized.others):
        for width in sized.widths or ({},):
            spec = sized.network(size, {**(settings or {}), **width})
            with contextlib.suppress(UserError):  # images too small for this one
                depth = re.search(r"\d+", str(size))
                assert depth is not None
                yield Shape(spec, int(depth[0]), parameters(spec, sample, classes))


def widest(
    families: Sequence[str],
    limits: Limits,
    sample: tuple[int, ...],
    classes: int,
    measure: Measure,
    *,
    settings: Mapping[str, object] | None = None,
    seconds: float = 2.0,
) -> list[Shape]:
    """At each depth of each family the widest shape within the limits, with its latency, from deep to shallow.

    What is clearly too slow is left out after a short measurement. The others take turns in one measurement, so that
    their latencies compare.

    Args:
        measure: measures the latencies of networks, in so many seconds for all of them.
        settings: of all networks, besides their width.
    """
    groups: dict[tuple[str, int], list[Shape]] = {}
    for family in families:
        for shape in shapes(family, sample, classes, settings):
            if limits.parameters is None or shape.parameters <= limits.parameters:
                groups.setdefault((family, shape.depth), []).append(shape)
    near = [list(_near(group, limits, sample, classes, measure)) for group in groups.values()]
    networks = {str(shape): _built(shape, sample, classes) for of_depth in near for shape in of_depth}
    times = measure(networks, seconds) if networks else {}
    chosen = []
    for of_depth in near:
        timed = [replace(shape, latency=times[str(shape)]) for shape in of_depth]
        fitting = [shape for shape in timed if limits.latency_ms is None or shape.cost(limits) <= limits.latency_ms]
        chosen += [shape.counted(sample, classes) for shape in fitting[-1:]]
    if not chosen:
        thin = sorted((shape for group in groups.values() for shape in group), key=lambda shape: shape.parameters)[:1]
        told = ""
        if thin and limits.latency_ms is not None:
            found = measure({str(thin[0]): _built(thin[0], sample, classes)}, seconds)[str(thin[0])]
            told = f"; {thin[0]} takes {found.p50:.3g} ms. {found.warning}".rstrip(". ")
        raise UserError(f"no shape of {', '.join(families)} fits ({limits}): give a larger budget{told}")
    return sorted(chosen, key=lambda shape: -shape.depth)


def _near(
    group: Sequence[Shape], limits: Limits, sample: tuple[int, ...], classes: int, measure: Measure
) -> Sequence[Shape]:
    """Of shapes of one depth, from thin to wide, the last one that clearly fits and the wider ones that may fit."""
    ordered = sorted(group, key=lambda shape: shape.parameters)
    if limits.multiplications is not None:
        most = limits.multiplications
        ordered = list(takewhile(lambda shape: _multiplies(shape, sample, classes) <= most, ordered))
    if limits.latency_ms is None:
        return ordered[-1:]
    near = list[Shape]()
    for shape in ordered:
        short = measure({str(shape): _built(shape, sample, classes)}, SHORT)[str(shape)].p50
        if short > SLACK * limits.latency_ms:
            break
        if SLACK * short <= limits.latency_ms:
            near.clear()  # thinner ones fit as well, and are not the widest
        near.append(shape)
    return near


def _multiplies(shape: Shape, sample: tuple[int, ...], classes: int) -> int:
    return shape.counted(sample, classes).multiplications or 0


def _built(shape: Shape, sample: tuple[int, ...], classes: int) -> nn.Module:
    return shape.network.build(classes, sample[0], sample[-1])


def at_equal_cost(found: Sequence[Shape], limits: Limits, most: int) -> list[Shape]:
    """At most ``most`` shapes that cost about the same, evenly chosen from deep to shallow, both ends among them.

    >>> deep, shallow, tiny = (Shape(NetworkSpec(f"plain{n}"), n, n * 100, 1) for n in (8, 6, 2))
    >>> [str(shape) for shape in at_equal_cost([deep, shallow, tiny], Limits(parameters=1000), 3)]
    ['plain8', 'plain6']
    """
    largest = max((shape.cost(limits) for shape in found), default=0.0)
    near = [shape for shape in found if shape.cost(limits) >= NEAR * largest]
    if most == 1 or len(near) <= most:
        return near[:most]
    return [near[round(place * (len(near) - 1) / (most - 1))] for place in range(most)]
