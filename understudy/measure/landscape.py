"""The loss around a trained network, in two random directions: how flat is the place where the training ended?

Filter-normalised as in Li et al., "Visualizing the Loss Landscape of Neural Nets", NeurIPS 2018: a direction is
Gaussian, and each of its filters has the norm of the network's own filter, since the same step means more to small
weights than to large ones. What has one dimension (biases, a norm's scale and shift) does not move, as in the paper's
code (``ignore="biasbn"``). Batch norms use the statistics that they have learned.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from understudy.errors import UserError
from understudy.objective import evaluating
from understudy.randomness import derived_seed
from understudy.taps import logits_in

RING, POINTS = 0.5, 16  # where the rise is measured: on a circle of this radius, at so many points
_TINY = 1e-10  # as in the paper's code

Direction = Mapping[str, Tensor]


@dataclass(frozen=True)
class Landscape:
    """Losses on a square around a network, whose half side is one filter's norm times ``axis[-1]``.

    Args:
        axis: the positions along both directions; the network is at 0.
        losses: ``losses[i][j]`` is the loss ``axis[i]`` along the first direction and ``axis[j]`` along the second.
        centre: the network's own loss.
        sharpness: the mean rise above it on a circle of radius 0.5.
    """

    axis: tuple[float, ...]
    losses: tuple[tuple[float, ...], ...]
    centre: float
    sharpness: float


def landscape(
    network: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    grid: int = 21,
    radius: float = 1.0,
    seed: int = 0,
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
    batch: int = 500,
    progress: Callable[[int, int], None] | None = None,
) -> Landscape:
    """The surface of the loss on these samples; the network is not changed.

    Networks of the same architecture move in the same random directions for the same ``seed``, each scaled to its own
    filters, so that their surfaces can be compared. Two directions of many are still a picture and no proof.

    Args:
        network: any module that answers with logits, or with something that has a field ``logits``.
        inputs, labels: the samples, on the network's device.
        grid: points along each side; odd, so that the network itself is one of them.
        radius: half a side, in norms of the filters.
        loss: the mean loss of a batch from logits and labels.
        progress: called with (points done, points in all).
    """
    if grid < 3 or grid % 2 == 0:
        raise UserError(f"grid = {grid}: an odd number from 3 on, so that the network stands in the middle")
    if not len(inputs):
        raise UserError("a landscape needs samples to measure the loss on")
    directions = [direction(network, seed, number) for number in (1, 2)]
    axis = [radius * (2 * place / (grid - 1) - 1) for place in range(grid)]
    places = [(a, b) for a in axis for b in axis] + list(_circle())

    def measured() -> Iterator[float]:
        with torch.no_grad(), evaluating(network):
            for done, place in enumerate(places, 1):
                yield _loss(network, _moved(network, directions, place), inputs, labels, loss, batch)
                if progress is not None:
                    progress(done, len(places))

    values = list(measured())
    centre = values[grid * grid // 2]
    rises = [value - centre for value in values[grid * grid :]]
    rows = [tuple(values[row * grid : (row + 1) * grid]) for row in range(grid)]
    return Landscape(tuple(axis), tuple(rows), centre, sum(rises) / len(rises))


def direction(network: nn.Module, seed: int, number: int) -> Direction:
    """Random filters with the norms of the network's own: a function of the seed, of names and of shapes."""
    directions = {}
    for name, parameter in network.named_parameters():
        if parameter.ndim < 2:
            continue  # biases and norms stay where they are
        generator = torch.Generator().manual_seed(derived_seed(seed, "landscape", number, name))
        random = torch.randn(parameter.shape, generator=generator).to(parameter)
        directions[name] = random * (_norms(parameter.detach()) / (_norms(random) + _TINY))
    if not directions:
        raise UserError("the network has no weights of two dimensions or more to move")
    return directions


def _norms(filters: Tensor) -> Tensor:
    """Of each filter, in a shape that spreads over it."""
    norms: Tensor = filters.flatten(1).norm(dim=1)
    return norms.view(-1, *[1] * (filters.ndim - 1))


def _circle() -> Iterator[tuple[float, float]]:
    for point in range(POINTS):
        angle = 2 * math.pi * point / POINTS
        yield RING * math.cos(angle), RING * math.sin(angle)


def _moved(network: nn.Module, directions: list[Direction], place: tuple[float, float]) -> dict[str, Tensor]:
    """The weights at a place."""
    own = dict(network.named_parameters())
    return {
        name: own[name] + sum(step * towards[name] for step, towards in zip(place, directions, strict=True))
        for name in directions[0]
    }


def _loss(
    network: nn.Module,
    weights: dict[str, Tensor],
    inputs: Tensor,
    labels: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor],
    batch: int,
) -> float:
    total = 0.0
    for x, y in zip(inputs.split(batch), labels.split(batch), strict=True):
        answer = logits_in(functional_call(network, weights, (x,)))
        total += loss(answer.float(), y).item() * len(x)
    return total / len(inputs)
