"""ExecuTorch, for phones and small machines: XNNPACK's kernels, one sample at a time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from understudy.errors import OptionalPackageError, UserError
from understudy.export.format import Format, Material, Opened, not_followed, not_ours, quiet, taken
from understudy.export.proof import Tolerance
from understudy.nested import Nested

METADATA = "understudy"  # a method of the program that answers with the description


def write(material: Material, path: Path) -> dict[str, object]:
    """For one sample, since ExecuTorch plans its memory when the program is made."""
    try:
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower
    except ModuleNotFoundError as error:
        raise OptionalPackageError("executorch", "executorch", "export to ExecuTorch") from error
    try:
        with quiet():
            traced = material.traced()
            program = torch.export.export(traced.network, tuple(tensor[:1] for tensor in traced.inputs.values()))
            edge = to_edge_transform_and_lower(
                program,
                partitioner=[XnnpackPartitioner()],
                constant_methods={METADATA: material.description},
            )
            lowered = edge.to_executorch()
    except Exception as error:  # the two raise many types of errors
        raise not_followed(error) from error
    path.write_bytes(lowered.buffer)
    return {"batch": 1, "backend": "xnnpack"}


def read(path: Path) -> Opened:
    try:
        from executorch.runtime import Runtime
    except ModuleNotFoundError as error:
        raise OptionalPackageError("executorch", "executorch", f"running {path.name}") from error
    try:
        data = path.read_bytes()
        program = Runtime.get().load_program(data)
        names = program.method_names
        description = program.load_method(METADATA).execute([])[0] if METADATA in names else None
        method = program.load_method("forward")
    except Exception as error:  # there is no specific error for a damaged program
        raise UserError(f"{path} is damaged or no ExecuTorch program") from error
    if description is None:
        raise not_ours(path)
    return Opened(_OneByOne(method, held=(program, data)), str(description))


class Executable(Protocol):
    """The part of a loaded ExecuTorch method that is used."""

    def execute(self, inputs: Sequence[Tensor]) -> Sequence[Tensor]: ...


class _OneByOne(nn.Module):
    """``held`` keeps the objects alive that the method reads from."""

    def __init__(self, method: Executable, held: object):
        super().__init__()
        self.method, self.held = method, held

    def forward(self, *tensors: Nested, **named: Nested) -> Tensor:
        samples = zip(*(tensor.split(1) for tensor in taken(tensors, named).values()), strict=True)
        return torch.cat([self.method.execute([one.contiguous() for one in sample])[0].clone() for sample in samples])


FORMAT = Format(
    "executorch",
    ".pte",
    "an ExecuTorch program, for phones and small machines",
    write,
    read,
    Tolerance(),
    packages=("executorch",),
)
