"""Export formats, and the input of their writers."""

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from understudy import nested
from understudy.data import Part
from understudy.errors import UserError
from understudy.export.proof import Tolerance
from understudy.nested import Nested
from understudy.taps import call
from understudy.tasks import Task
from understudy.tasks.words import of_table


@dataclass(frozen=True)
class Traced:
    """The input of PyTorch's exporters: a network of plain tensors, with two samples of each by name.

    ``shapes`` leaves the batch dimension of every tensor free; ``output`` is the name of the output tensor.
    """

    network: nn.Module
    inputs: dict[str, Tensor]
    shapes: tuple[object, ...]
    output: str


@dataclass(frozen=True)
class Material:
    """A student to be exported: ``network`` with its front, on the CPU, and the text of its description.

    Args:
        network, description: the student.
        task: the task of its answers.
        inputs: some samples of its data, for their structure, shapes and types.
        train: the part for the calibration of a quantisation.
    """

    network: nn.Module
    description: str
    task: Task
    inputs: Nested
    train: Part

    def example(self) -> Nested:
        """Two samples, since a program that is traced with one takes the batch for a constant.

        Their values are made up, for a program may keep them: numbers from 0 to 1, and of integers the smallest ones.
        """
        generator = torch.Generator().manual_seed(0)

        def made(tensor: Tensor) -> Tensor:
            shape = (2, *tensor.shape[1:])
            if tensor.is_floating_point():
                return torch.rand(shape, generator=generator)
            return torch.full(shape, min(int(tensor.max()), 1), dtype=tensor.dtype)

        return nested.each(made, self.inputs)

    def traced(self) -> Traced:
        """The network as a file holds it: from plain tensors to one, whatever it takes and answers (Hugging Face)."""
        example = self.example()
        with torch.no_grad():
            output = call(self.network, example)
        names = self.task.values
        if len(names) != 1:
            raise UserError(f"an answer of task {self.task.name!r} has {len(names)} tensors; a file answers with one")
        inputs, batch = by_name(example), {0: torch.export.Dim("batch")}
        if isinstance(example, Tensor) and isinstance(output, Tensor):
            return Traced(self.network, inputs, (batch,), names[0])
        plain = _FromTensors(self.network, self.task, example)
        return Traced(plain, inputs, (tuple(batch for _ in inputs),), names[0])


IMAGES = "images"  # the name of an input of a single tensor


def by_name(inputs: Nested) -> dict[str, Tensor]:
    """A network's inputs as a file names and orders them, which depends on their names alone.

    >>> list(by_name({"input_ids": torch.zeros(1, 4), "attention_mask": torch.zeros(1, 4)}))
    ['attention_mask', 'input_ids']
    """
    if isinstance(inputs, Tensor):
        return {IMAGES: inputs}
    prefix = "" if isinstance(inputs, Mapping) else "input_"
    return {f"{prefix}{name.replace('.', '_')}": tensor for name, tensor in sorted(nested.named(inputs))}


def taken(tensors: tuple[Nested, ...], named: Mapping[str, Nested]) -> dict[str, Tensor]:
    """The same of the arguments with which a network is called, without the tokens of further tables."""
    given = named or (tensors[0] if len(tensors) == 1 else tensors)
    return by_name(of_table(given) if isinstance(given, Mapping) else given)


class _FromTensors(nn.Module):
    """A network that is called with the tensors of ``by_name`` in their order, and answers with one tensor."""

    def __init__(self, network: nn.Module, task: Task, example: Nested):
        super().__init__()
        self.network, self.task = network, task
        self.places = [name for name, _ in sorted(nested.named(example))]
        self.structure = example
        self.training = network.training

    def forward(self, *tensors: Tensor) -> Tensor:
        inputs = nested.filled(self.structure, dict(zip(self.places, tensors, strict=True)))
        return self.task.answer(call(self.network, inputs))[self.task.values[0]]


@dataclass(frozen=True)
class Opened:
    """An exported student: a module that is called on the CPU as the student is, and the text of its description."""

    network: nn.Module
    description: str


@dataclass(frozen=True)
class Format:
    """A kind of file: ``write(material, path)`` answers with facts to be stated, ``open(path)`` reads it back.

    Opening a file that ``runs_code`` may run any code: it is opened only if the user names it.
    """

    name: str
    suffix: str
    about: str
    write: Callable[[Material, Path], dict[str, object]]
    open: Callable[[Path], Opened]
    tolerance: Tolerance
    packages: tuple[str, ...] = ()
    runs_code: bool = False


def not_followed(error: Exception, what: str = "PyTorch's exporter cannot follow") -> UserError:
    """The error of a library about a student, in one line; a ``UserError`` as it is."""
    if isinstance(error, UserError):
        return error
    cause = error
    while cause.__cause__ is not None and isinstance(cause.__cause__, Exception):
        cause = cause.__cause__
    reason = next((line.strip() for line in str(cause).splitlines() if line.strip()), "")
    return UserError(f"{what} this student: {type(cause).__name__}: {reason}")


def not_ours(path: Path) -> UserError:
    return UserError(f"{path} was not exported by understudy: it does not say what goes in and what comes out")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppresses messages of the exporters about themselves and their libraries, which no user can change."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # PyTorch copies its own old tree specs while it decomposes a program.
            warnings.filterwarnings("ignore", r".*LeafSpec.* is deprecated", FutureWarning)
            # Every input has the batch as its first axis, and they share one name for it.
            warnings.filterwarnings("ignore", r"# The axis name: batch will not be used", UserWarning)
            # Weights that came from one file share its memory; they are on the CPU, where that does no harm.
            warnings.filterwarnings("ignore", r"No complete tensor found in the group", UserWarning)
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
