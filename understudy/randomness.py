"""Random numbers as functions of (seed, epoch, sample id), without a hidden state.

From the key, the number can be computed again: in a resumed run, another worker, on a GPU, for a stored answer.
The generator is SplitMix64's finaliser over a chain of keys, in 64-bit integers that wrap alike on every device.
"""

import math
from hashlib import blake2b
from typing import TypeAlias
from zlib import crc32

import torch
from torch import Tensor

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit integer
_FIRST = -4658895280553007687  # 0xBF58476D1CE4E5B9
_SECOND = -7723592293110705685  # 0x94D049BB133111EB
_ALL = (1 << 64) - 1

# The number of an epoch or a view: one for all ids, or one for each.
Number: TypeAlias = int | Tensor


def _shift_right(x: Tensor, n: int) -> Tensor:
    return (x >> n) & ((1 << (64 - n)) - 1)


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift_right(x, 30)) * _FIRST
    x = (x ^ _shift_right(x, 27)) * _SECOND
    return x ^ _shift_right(x, 31)


def _mixed(x: int) -> int:
    """``_mix`` of a single number, on the CPU: it is the same for all ids."""
    x &= _ALL
    x = (x ^ (x >> 30)) * _FIRST & _ALL
    x = (x ^ (x >> 27)) * _SECOND & _ALL
    return x ^ (x >> 31)


def bits(seed: int, epoch: Number, ids: Tensor, purpose: str) -> Tensor:
    """64 random bits (int64) for every id; ``purpose`` names an independent stream."""
    stream = _mixed(seed * _GOLDEN + crc32(purpose.encode())) * _GOLDEN
    key = _signed(_mixed(stream + epoch)) if isinstance(epoch, int) else _mix(epoch + _signed(stream))
    return _mix(_mix(ids.to(torch.int64) * _GOLDEN + key) + key)


def uniform(seed: int, epoch: Number, ids: Tensor, purpose: str) -> Tensor:
    """A float32 in [0, 1) for every id: the top 24 bits, so the same value on every device."""
    return _shift_right(bits(seed, epoch, ids, purpose), 40).to(torch.float32) / (1 << 24)


def integers(seed: int, epoch: Number, ids: Tensor, purpose: str, low: int, high: int) -> Tensor:
    """An int64 in [low, high) for every id (ranges far below 2**40, so that no value is favoured)."""
    return low + _shift_right(bits(seed, epoch, ids, purpose), 24) % (high - low)


def shuffled(seed: int, epoch: int, ids: Tensor, purpose: str = "order") -> Tensor:
    """``ids`` in the random order of this epoch."""
    return ids[torch.argsort(bits(seed, epoch, ids, purpose), stable=True)]


def beta(seed: int, epoch: Number, ids: Tensor, purpose: str, alpha: float) -> Tensor:
    """A Beta(alpha, alpha) value for every id, from two Gamma values."""
    if alpha == 1:
        return uniform(seed, epoch, ids, purpose)
    a = _log_gamma(seed, epoch, ids, f"{purpose}/a", alpha)
    b = _log_gamma(seed, epoch, ids, f"{purpose}/b", alpha)
    return torch.sigmoid(a - b)  # a / (a + b) of values that may be too small for a float


def _log_gamma(seed: int, epoch: Number, ids: Tensor, purpose: str, alpha: float, tries: int = 8) -> Tensor:
    """The logarithm of a Gamma(alpha) value: Marsaglia and Tsang's method with a fixed number of tries.

    All of them fail with a chance below 1e-10.
    """
    boost = uniform(seed, epoch, ids, f"{purpose}/boost").clamp_min(1e-7).log() / alpha if alpha < 1 else 0.0
    d = (alpha + 1 if alpha < 1 else alpha) - 1 / 3
    value = torch.full(ids.shape, d, dtype=torch.float32, device=ids.device)
    for attempt in reversed(range(tries)):
        key = f"{purpose}/{attempt}"
        x = _normal(seed, epoch, ids, key)
        v = (1 + x / math.sqrt(9 * d)) ** 3
        u = uniform(seed, epoch, ids, f"{key}/u")
        accepted = (v > 0) & (u.log() < 0.5 * x * x + d - d * v + d * v.clamp_min(1e-30).log())
        value = torch.where(accepted, d * v, value)
    return value.log() + boost


def _normal(seed: int, epoch: Number, ids: Tensor, purpose: str) -> Tensor:
    radius = uniform(seed, epoch, ids, f"{purpose}/r").clamp_min(1e-7).log().mul(-2).sqrt()
    return radius * torch.cos(2 * math.pi * uniform(seed, epoch, ids, f"{purpose}/phi"))


def derived_seed(seed: int, *keys: str | int) -> int:
    """A seed for a state-based generator (weights, dropout), itself a function of ``seed`` and what it is for."""
    digest = blake2b("/".join(map(str, (seed, *keys))).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def _signed(seed: int) -> int:
    return (seed + (1 << 63)) % (1 << 64) - (1 << 63)
