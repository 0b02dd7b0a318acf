"""ONNX, by PyTorch's exporter, read by ONNX Runtime and many others."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from understudy.errors import OptionalPackageError, UserError
from understudy.export.format import Format, Material, Opened, not_followed, not_ours, quiet, taken
from understudy.export.proof import Tolerance
from understudy.measure.latency import NO_WAITING
from understudy.nested import Nested

OPSET = 18  # the newest that PyTorch's exporter writes without a conversion, and that runtimes have read for years


class Named(Protocol):
    """An input or a node of an ONNX graph, by its name."""

    name: str


METADATA = "understudy"  # the key under which the description travels


def write(material: Material, path: Path) -> dict[str, object]:
    """The student for any batch, with its front, in one file; names and descriptions of its maker's code stay out."""
    try:
        import onnxscript  # noqa: F401 - PyTorch's exporter needs it
        from onnx_ir.passes.common import ClearMetadataAndDocStringPass
    except ModuleNotFoundError as error:
        raise OptionalPackageError(error.name or "onnx", "export", "export to ONNX") from error
    try:
        with quiet():
            traced = material.traced()
            program = torch.onnx.export(
                traced.network,
                tuple(traced.inputs.values()),
                dynamo=True,
                opset_version=OPSET,
                dynamic_shapes=traced.shapes,
                input_names=list(traced.inputs),
                output_names=[traced.output],
                verbose=False,
            )
    except Exception as error:  # PyTorch raises many types of errors
        raise not_followed(error) from error
    assert program is not None
    ClearMetadataAndDocStringPass()(program.model)  # nodes hold the paths of the source files
    program.model.metadata_props[METADATA] = material.description
    program.save(path, external_data=False)
    return {"opset": OPSET, "inputs": list(traced.inputs), "output": traced.output}


def read(path: Path) -> Opened:
    """The file in ONNX Runtime, on the CPU, with as many threads as PyTorch has."""
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise OptionalPackageError("onnxruntime", "export", f"running {path.name}") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry(*NO_WAITING)
    options.log_severity_level = 3  # errors
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has an exception for each kind of damage
        reason = str(error).splitlines()[0]
        raise UserError(f"{path} is damaged or no ONNX file: {reason}") from error
    description = session.get_modelmeta().custom_metadata_map.get(METADATA)
    if description is None:
        raise not_ours(path)
    return Opened(_InOnnxRuntime(session), description)


class Session(Protocol):
    """The part of ``onnxruntime.InferenceSession`` that is used."""

    def get_inputs(self) -> Sequence[Named]: ...

    def run(self, outputs: None, inputs: Mapping[str, NDArray[np.generic]]) -> Sequence[NDArray[np.generic]]: ...


class _InOnnxRuntime(nn.Module):
    def __init__(self, session: Session):
        super().__init__()
        self.session = session
        self.inputs = [one.name for one in session.get_inputs()]

    def forward(self, *tensors: Nested, **named: Nested) -> Tensor:
        given = taken(tensors, named)
        if len(given) == len(self.inputs) == 1:  # whatever it is called
            given = dict(zip(self.inputs, given.values(), strict=True))
        if set(given) != set(self.inputs):
            raise UserError(f"the file takes {', '.join(self.inputs)}, and is given {', '.join(given)}")
        arrays = {name: np.ascontiguousarray(tensor.numpy()) for name, tensor in given.items()}
        return torch.from_numpy(self.session.run(None, arrays)[0])


FORMAT = Format(
    "onnx",
    ".onnx",
    "ONNX in floating point, for ONNX Runtime and others",
    write,
    read,
    Tolerance(),
    packages=("onnx", "onnxruntime", "onnxscript"),
)
