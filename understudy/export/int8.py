"""ONNX in 8 bits: ONNX Runtime's static quantisation after training, calibrated on the training part.

Weights are int8 with a scale for each channel, activations uint8 with a scale for each tensor (on processors of the
x86 family the faster pair by far), both between quantise and dequantise nodes, as many runtimes read them. The rule
for what stays in floating point is the usual one: the front, the first and the last layer with weights, and norms
that no convolution takes up. They hold a small part of the work, and the most of the error. On x86 processors without
VNNI (before 2019, roughly) sums of such products may saturate: prove the file there if that is where it will run.
"""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from understudy import randomness
from understudy.data import Part
from understudy.errors import OptionalPackageError, UserError
from understudy.export import onnx as floating
from understudy.export.format import Format, Material, by_name
from understudy.export.proof import Tolerance
from understudy.models import LocalContrast, Whitened

CALIBRATION = 512  # samples
BATCH = 64
_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def write(material: Material, path: Path) -> dict[str, object]:
    try:
        import onnx
        from onnxruntime import quantization
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ModuleNotFoundError as error:
        raise OptionalPackageError(error.name or "onnxruntime", "export", "export to int8") from error

    class Calibration(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches = _batches(material.train)

        def get_next(self) -> dict[str, NDArray[np.generic]] | None:
            return next(self.batches, None)

    with tempfile.TemporaryDirectory() as scratch:
        whole, prepared = Path(scratch) / "whole.onnx", Path(scratch) / "prepared.onnx"
        facts = floating.write(material, whole)
        quant_pre_process(
            whole, prepared, skip_symbolic_shape=True
        )  # it fails for some preprocessing, and the exporter has written the shapes
        layers, floating_nodes = _divided(onnx.load(prepared).graph.node, _of_front(material.network))
        if not layers:
            raise UserError("int8 keeps the first and the last layer in floating point, and this student has no other")
        quantization.quantize_static(
            prepared,
            path,
            Calibration(),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            nodes_to_exclude=floating_nodes,
        )
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {floating.METADATA: material.description})
    onnx.save(model, path)
    return facts | {
        "calibrated_on": min(CALIBRATION, len(material.train)),
        "layers": {"int8": len(layers), "floating_point": 2},
    }


class Node(Protocol):
    """The part of an ONNX node that is used."""

    name: str
    op_type: str


def _of_front(network: nn.Module) -> int:
    """How many of the first nodes with weights are those of the preprocessing."""
    if not isinstance(network, Whitened):
        return 0
    return 2 if isinstance(network.whitening, LocalContrast) else 1


def _divided(nodes: Sequence[Node], first: int) -> tuple[list[str], list[str]]:
    """The layers for int8, and every node that stays in floating point, of nodes in the order of their work.

    ``first`` is the number of nodes with weights that come before the network's own.
    """
    layers = [node.name for node in nodes if node.op_type in _WEIGHTED][first:]
    names = [node.name for node in nodes]
    front = names[: names.index(layers[0])] if layers else names
    norms = [node.name for node in nodes if node.op_type.endswith("Normalization")]
    return layers[1:-1], [*front, *layers[:1], *layers[-1:], *norms]


def _batches(train: Part) -> Iterator[dict[str, NDArray[np.generic]]]:
    ids = randomness.shuffled(0, 0, train.ids, "calibration")[:CALIBRATION]
    for batch in Part(train.source, ids).in_order(BATCH, torch.device("cpu")):
        yield {name: tensor.numpy() for name, tensor in by_name(batch.inputs).items()}


FORMAT = Format(
    "int8",
    ".int8.onnx",
    "ONNX in 8 bits, quantised after training",
    write,
    floating.read,
    Tolerance(difference=None, agreement=0.99, loss=0.5),
    packages=floating.FORMAT.packages,
)
