"""A program of ``torch.export``, which PyTorch runs without the student's code."""

from pathlib import Path

import torch
from torch import Tensor, nn

from understudy.errors import UserError
from understudy.export.format import Format, Material, Opened, not_followed, not_ours, quiet, taken
from understudy.export.proof import Tolerance
from understudy.nested import Nested

METADATA = "understudy.json"


def write(material: Material, path: Path) -> dict[str, object]:
    try:
        with quiet():
            traced = material.traced()
            inputs = tuple(traced.inputs.values())
            program = torch.export.export(traced.network, inputs, dynamic_shapes=traced.shapes)
            torch.export.save(program, path, extra_files={METADATA: material.description})
    except Exception as error:  # PyTorch raises many types of errors
        raise not_followed(error) from error
    return {"inputs": list(traced.inputs), "output": traced.output}


def read(path: Path) -> Opened:
    """PyTorch may unpickle parts of such a file, so only one that the user trusts is opened."""
    extra = {METADATA: ""}
    try:
        with quiet():
            program = torch.export.load(path, extra_files=extra)
    except Exception as error:  # PyTorch has no specific error for a damaged archive
        raise UserError(f"{path} is damaged or no program of torch.export") from error
    if not extra[METADATA]:
        raise not_ours(path)
    return Opened(_Program(program.module()), extra[METADATA])


class _Program(nn.Module):
    """Programs have no ``train()`` and ``eval()``: the mode is fixed at export."""

    def __init__(self, program: nn.Module):
        super().__init__()
        self.program = program

    def train(self, mode: bool = True) -> "_Program":
        return self

    def forward(self, *tensors: Nested, **named: Nested) -> Tensor:
        answer: Tensor = self.program(*taken(tensors, named).values())
        return answer


FORMAT = Format(
    "torch",
    ".pt2",
    "a program of torch.export, for PyTorch without the student's code",
    write,
    read,
    Tolerance(),
    runs_code=True,
)
