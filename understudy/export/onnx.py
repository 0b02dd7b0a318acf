"""ONNX, by PyTorch's exporter, read by ONNX Runtime and many others."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from understudy.errors import OptionalPackageError, UserError
from understudy.export.format import Format, Material, Opened, not_followed, not_ours, quiet
from understudy.export.proof import Tolerance

OPSET = 18  # the newest that PyTorch's exporter writes without a conversion, and that runtimes have read for years
INPUT, OUTPUT = "images", "logits"
METADATA = "understudy"  # the key under which the description travels


def write(material: Material, path: Path) -> dict[str, Any]:
    """The student for any batch, with its front, in one file; names and descriptions of its maker's code stay out."""
    try:
        import onnxscript  # noqa: F401 - PyTorch's exporter needs it
        from onnx_ir.passes.common import ClearMetadataAndDocStringPass
    except ModuleNotFoundError as error:
        raise OptionalPackageError(error.name or "onnx", "export", "export to ONNX") from error
    try:
        with quiet():
            program = torch.onnx.export(
                material.traced(),
                (material.example(),),
                dynamo=True,
                opset_version=OPSET,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                input_names=[INPUT],
                output_names=[OUTPUT],
                verbose=False,
            )
    except Exception as error:  # whatever PyTorch says of somebody's network
        raise not_followed(error) from error
    assert program is not None
    ClearMetadataAndDocStringPass()(program.model)  # each node says in which file of which folder it was made
    program.model.metadata_props[METADATA] = material.description
    program.save(path, external_data=False)
    return {"opset": OPSET, "input": INPUT, "output": OUTPUT}


def read(path: Path) -> Opened:
    """The file in ONNX Runtime, on the CPU, with as many threads as PyTorch has."""
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise OptionalPackageError("onnxruntime", "export", f"running {path.name}") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has a class for each kind of damage
        reason = str(error).splitlines()[0]
        raise UserError(f"{path} is damaged or no ONNX file: {reason}") from error
    description = session.get_modelmeta().custom_metadata_map.get(METADATA)
    if description is None or len(session.get_inputs()) != 1:
        raise not_ours(path)
    return Opened(_InOnnxRuntime(session), description)


class _InOnnxRuntime(nn.Module):
    def __init__(self, session: Any):
        super().__init__()
        self.session = session
        self.input = session.get_inputs()[0].name

    def forward(self, images: Tensor) -> Tensor:
        answer = self.session.run(None, {self.input: np.ascontiguousarray(images.numpy())})[0]
        return torch.from_numpy(answer)


FORMAT = Format(
    "onnx",
    ".onnx",
    "ONNX in floating point, for ONNX Runtime and others",
    write,
    read,
    Tolerance(),
    packages=("onnx", "onnxruntime", "onnxscript"),
)
