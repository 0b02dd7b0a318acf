"""The proof of an exported student: the same samples through both, and what came out."""

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from understudy.data import Data, Part
from understudy.errors import UserError, did_you_mean
from understudy.measure import Latency, latencies
from understudy.settings import Settings
from understudy.training.evaluate import answers

ON_CPU = Settings(device="cpu")
THROUGHPUT_BATCH = 128


@dataclass(frozen=True)
class Tolerance:
    """How far an exported student may be from the one in PyTorch.

    Args:
        difference: the largest difference of any logit, as a share of the largest logit. None: it does not matter.
        agreement: the least share of samples with the same first choice.
        accuracy: the most points of accuracy that may be lost.
    """

    difference: float | None = 1e-4
    agreement: float = 1.0
    accuracy: float = 0.0

    def changed(self, changes: Mapping[str, float]) -> "Tolerance":
        known = ("difference", "agreement", "accuracy")
        for key in changes:
            if key not in known:
                raise UserError(f"a tolerance has no {key!r}{did_you_mean(key, known)}")
        return replace(self, **changes)


@dataclass(frozen=True)
class Compared:
    """PyTorch and the exported file on the same samples; accuracies and agreement are shares."""

    samples: int
    largest_difference: float
    largest_logit: float
    agreement: float
    accuracy_before: float
    accuracy_after: float

    @property
    def accuracy_lost(self) -> float:
        """In points."""
        return round(100 * (self.accuracy_before - self.accuracy_after), 6)

    def beyond(self, tolerance: Tolerance) -> str | None:
        """What is worse than it may be, in words."""
        if self.agreement < tolerance.agreement:
            return (
                f"it agrees with PyTorch on {100 * self.agreement:.2f} % of {self.samples:,} samples, and at least "
                f"{100 * tolerance.agreement:.2f} % are asked (--tolerance agreement={tolerance.agreement:g})"
            )
        if self.accuracy_lost > tolerance.accuracy:
            return (
                f"it loses {self.accuracy_lost:.2f} points of accuracy on {self.samples:,} samples, and at most "
                f"{tolerance.accuracy:g} may be lost (--tolerance accuracy={tolerance.accuracy:g})"
            )
        share = self.largest_difference / max(self.largest_logit, 1e-12)
        if tolerance.difference is not None and not share <= tolerance.difference:  # NaN is beyond everything
            return (
                f"a logit differs by {self.largest_difference:.3g}, which is {share:.2g} of the largest, and at most "
                f"{tolerance.difference:g} may be (--tolerance difference={tolerance.difference:g})"
            )
        return None


@dataclass(frozen=True)
class Proof:
    """Everything that was measured of an exported file. ``before`` is PyTorch, ``after`` the file."""

    compared: Compared
    measured_on: str
    bytes: dict[str, int]
    latency_ms: dict[str, Latency]  # of one sample, calls interleaved
    throughput_ms: dict[str, Latency]
    tolerance: Tolerance

    def speedup(self, over: str) -> float | None:
        """How many times faster than ``before`` or ``teacher`` one sample is answered."""
        slower = self.latency_ms.get(over)
        return round(slower.p50 / self.latency_ms["after"].p50, 2) if slower else None

    def as_dict(self) -> dict[str, Any]:
        compared = asdict(self.compared)
        accuracy = {when: compared.pop(f"accuracy_{when}") for when in ("before", "after")}
        return {
            "measured_on": self.measured_on,
            **compared,
            "accuracy": accuracy,
            "accuracy_lost_points": self.compared.accuracy_lost,
            "bytes": self.bytes,
            "latency_ms": {name: asdict(found) for name, found in self.latency_ms.items()},
            "throughput_ms": {name: asdict(found) for name, found in self.throughput_ms.items()},
            "speedup": {"over_pytorch": self.speedup("before"), "over_teacher": self.speedup("teacher")},
            "tolerance": asdict(self.tolerance),
        }


def proving_part(data: Data) -> tuple[Part, str]:
    """The test part, or the validation part where there is none."""
    measured_on, part = data.measured
    if part is data.train:
        raise UserError(f"{data.name} has neither a test nor a validation part: an export could not be proved on it")
    return part, measured_on


def compare(before: nn.Module, after: nn.Module, part: Part) -> Compared:
    expected, labels = answers(before, part, ON_CPU)
    found, _ = answers(after, part, ON_CPU)
    if found.shape != expected.shape:
        raise UserError(
            f"the exported student answers with {_shape(found)}, the one in PyTorch with {_shape(expected)}"
        )
    choices, expected_choices = found.argmax(1), expected.argmax(1)
    return Compared(
        samples=len(labels),
        largest_difference=(found - expected).abs().max().item(),
        largest_logit=expected.abs().max().item(),
        agreement=_share(choices == expected_choices),
        accuracy_before=_share(expected_choices == labels),
        accuracy_after=_share(choices == labels),
    )


def placed(network: nn.Module) -> nn.Module:
    """A copy in the memory format in which runs measure their networks, too."""
    return ON_CPU.place(copy.deepcopy(network))


def timed(networks: Mapping[str, nn.Module], data: Data, seconds: float) -> tuple[dict[str, Latency], ...]:
    """Latencies of one sample and of a batch for throughput, on the CPU, calls interleaved."""
    example = ON_CPU.prepare(data.example(THROUGHPUT_BATCH, torch.device("cpu")))
    return tuple(latencies(networks, batch, seconds=seconds) for batch in (ON_CPU.prepare(example[:1]), example))


def _share(right: Tensor) -> float:
    return right.double().mean().item()


def _shape(logits: Tensor) -> str:
    return " x ".join(map(str, logits.shape))
