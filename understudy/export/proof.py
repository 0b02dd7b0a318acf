"""The proof of an exported student: a comparison of both networks on the same samples."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor, nn

from understudy import nested
from understudy.config.settings import Settings
from understudy.data import Data, Part
from understudy.errors import UserError, did_you_mean
from understudy.measure import Latency, latencies
from understudy.nested import Nested
from understudy.runs import broken
from understudy.tasks import Figure, Task, Values
from understudy.training.evaluate import Measured, measured, walk_together

ON_CPU = Settings(device="cpu")
THROUGHPUT_BATCH = 128


@dataclass(frozen=True)
class Tolerance:
    """How far an exported student may be from the one in PyTorch.

    Args:
        difference: the largest difference of any value, as a share of the largest. None: it does not matter.
        agreement: the least share of samples with the same first choice, of tasks that measure it.
        loss: by how much the task's first figure may get worse: points of a share, or percent of any other figure.
    """

    difference: float | None = 1e-4
    agreement: float = 1.0
    loss: float = 0.0

    def changed(self, changes: Mapping[str, float]) -> "Tolerance":
        known = ("difference", "agreement", "loss")
        for key in changes:
            if key not in known:
                raise UserError(f"a tolerance has no {key!r}{did_you_mean(key, known)}")
        return replace(self, **changes)


@dataclass(frozen=True)
class Compared:
    """PyTorch and the exported file on the same samples, by the first figure of the task."""

    samples: int
    largest_difference: float
    largest_value: float
    agreement: float | None  # the share of samples with the same choice; None of a task without choices
    figure: Figure
    before: float
    after: float

    @property
    def lost(self) -> float:
        """By how much the figure is worse: in points of a share, in percent of any other."""
        worse = self.figure.gain(self.before, self.after)
        return round(100 * worse if self.figure.unit == "share" else 100 * worse / max(abs(self.before), 1e-12), 6)

    def _rounding(self, tolerance: Tolerance) -> float:
        """The allowed change of a figure: none of a count of choices, a small one of a distance."""
        if self.agreement is not None or tolerance.difference is None:
            return 0.0
        return 100 * tolerance.difference * (abs(self.before) if self.figure.unit == "share" else 1.0)

    def beyond(self, tolerance: Tolerance) -> str | None:
        """The exceeded tolerances, in words."""
        if self.agreement is not None and self.agreement < tolerance.agreement:
            return (
                f"it agrees with PyTorch on {100 * self.agreement:.2f} % of {self.samples:,} samples, and at least "
                f"{100 * tolerance.agreement:.2f} % are asked (--tolerance agreement={tolerance.agreement:g})"
            )
        if not self.lost <= tolerance.loss + self._rounding(tolerance):  # NaN is beyond everything
            unit = "points" if self.figure.unit == "share" else "%"
            return (
                f"it loses {self.lost:.2f} {unit} of {self.figure.title} on {self.samples:,} samples, and at most "
                f"{tolerance.loss:g} may be lost (--tolerance loss={tolerance.loss:g})"
            )
        share = self.largest_difference / max(self.largest_value, 1e-12)
        if tolerance.difference is not None and not share <= tolerance.difference:
            return (
                f"a value differs by {self.largest_difference:.3g}, which is {share:.2g} of the largest, and at most "
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

    def as_dict(self) -> dict[str, object]:
        compared = asdict(self.compared)
        figure = {when: compared.pop(when) for when in ("before", "after")}
        return {
            "measured_on": self.measured_on,
            "figure": compared.pop("figure"),
            "value": figure,
            **compared,
            "lost": self.compared.lost,
            "bytes": self.bytes,
            "latency_ms": {name: asdict(found) for name, found in self.latency_ms.items()},
            "throughput_ms": {name: asdict(found) for name, found in self.throughput_ms.items()},
            "speedup": {"over_pytorch": self.speedup("before"), "over_teacher": self.speedup("teacher")},
            "tolerance": asdict(self.tolerance),
        }


def proving_part(data: Data) -> tuple[Part, str]:
    """The test part, or the validation part if there is none."""
    measured_on, part = data.measured
    if part is data.train:
        raise UserError(f"{data.name} has neither a test nor a validation part: an export could not be proved on it")
    return part, measured_on


def answers_of(network: nn.Module, part: Part, task: Task) -> Measured:
    """The student in PyTorch on every sample of a part, on the CPU."""
    return measured(network, part, task, ON_CPU)


def useless(expected: Measured, part: Part, task: Task) -> list[str]:
    """Why a student with these answers is of no use; see ``runs.broken``."""
    figure = task.selecting
    return broken.reasons(
        figure,
        expected.figures[figure.name],
        task.luck(figure, len(part)),
        constant=task.commonest(expected.kept),
        usual=broken.commonest(task, expected.targets),
        largest=expected.largest / task.magnitude(expected.targets),
    )


def compare(before: nn.Module, expected: Measured, after: nn.Module, part: Part, task: Task) -> Compared:
    """The exported student beside the one in PyTorch on every sample of a part."""
    after_export = measured(after, part, task, ON_CPU)
    if reason := task.fits(after_export.kept, expected.kept):
        raise UserError(f"the exported student does not answer as the one in PyTorch: {reason}")
    difference, largest = _apart(before, after, part, task)
    figure = task.selecting
    return Compared(
        samples=len(part),
        largest_difference=difference,
        largest_value=largest,
        agreement=task.compared(after_export.kept, expected.kept, expected.targets).get("agreement"),
        figure=figure,
        before=expected.figures[figure.name],
        after=after_export.figures[figure.name],
    )


def _apart(before: nn.Module, after: nn.Module, part: Part, task: Task) -> tuple[float, float]:
    """The largest difference of any value of two networks, and the largest value, batch by batch."""
    differences, values = list[Tensor](), list[Tensor]()

    def update(answers: Sequence[Values], batch: Nested) -> None:
        expected, found = answers
        if reason := task.fits(found, expected):
            raise UserError(f"the exported student does not answer as the one in PyTorch: {reason}")
        for name in task.values:
            one, other = found[name].float(), expected[name].float()
            differences.append((one - other).abs().amax())
            values.append(other.abs().amax())

    walk_together([before, after], part, task, ON_CPU, update)
    return torch.stack(differences).amax().item(), torch.stack(values).amax().item()


def placed(network: nn.Module) -> nn.Module:
    """A copy in the memory format in which runs measure their networks, too."""
    return ON_CPU.place(copy.deepcopy(network))


def timed(networks: Mapping[str, nn.Module], data: Data, seconds: float) -> tuple[dict[str, Latency], ...]:
    """Latencies of one sample and of a batch for throughput, on the CPU, calls interleaved."""
    example = ON_CPU.prepare(data.example(THROUGHPUT_BATCH, torch.device("cpu")))
    single = ON_CPU.prepare(nested.chosen(example, slice(0, 1)))
    return tuple(latencies(networks, batch, seconds=seconds) for batch in (single, example))
