"""What a format is, and what every writer of one is handed."""

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from understudy.data import Part
from understudy.errors import UserError
from understudy.export.proof import Tolerance
from understudy.taps import logits_in


@dataclass(frozen=True)
class Material:
    """A student to be exported: ``network`` with its front, on the CPU, and the text of its description."""

    network: nn.Module
    description: str
    shape: tuple[int, ...]
    train: Part  # what a quantisation may look at

    def example(self) -> Tensor:
        """Two samples, since a program that is traced with one takes the batch for a constant."""
        return torch.rand(2, *self.shape, generator=torch.Generator().manual_seed(0))

    def traced(self) -> nn.Module:
        """The network as a file holds it: whatever object it answers with (Hugging Face), the file has its logits."""
        with torch.no_grad():
            answer = self.network(self.example())
        return self.network if isinstance(answer, Tensor) else _LogitsAlone(self.network)


class _LogitsAlone(nn.Module):
    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        self.training = network.training

    def forward(self, images: Tensor) -> Tensor:
        return logits_in(self.network(images))


@dataclass(frozen=True)
class Opened:
    """An exported student: a module that answers batches on the CPU, and the text of its description."""

    network: nn.Module
    description: str


@dataclass(frozen=True)
class Format:
    """A kind of file: ``write(material, path)`` answers with facts to be stated, ``open(path)`` reads it back.

    Opening a file that ``runs_code`` does what its maker wants: it is opened only if the user names it.
    """

    name: str
    suffix: str
    about: str
    write: Callable[[Material, Path], dict[str, Any]]
    open: Callable[[Path], Opened]
    tolerance: Tolerance
    packages: tuple[str, ...] = ()
    runs_code: bool = False


def not_followed(error: Exception) -> UserError:
    cause = error
    while cause.__cause__ is not None and isinstance(cause.__cause__, Exception):
        cause = cause.__cause__
    reason = next((line.strip() for line in str(cause).splitlines() if line.strip()), "")
    return UserError(f"PyTorch's exporter cannot follow this student: {type(cause).__name__}: {reason}")


def not_ours(path: Path) -> UserError:
    return UserError(f"{path} was not exported by understudy: it does not say what goes in and which classes come out")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what the exporters tell about themselves and their libraries, which no user can change."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # PyTorch copies its own old tree specs while it decomposes a program.
            warnings.filterwarnings("ignore", r".*LeafSpec.* is deprecated", FutureWarning)
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
