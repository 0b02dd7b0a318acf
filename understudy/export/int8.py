"""ONNX in 8 bits: ONNX Runtime's static quantisation after training, calibrated on the training part.

Weights are int8 with a scale for each channel, activations uint8 with a scale for each tensor (on processors of the
x86 family the faster pair by far), both between quantise and dequantise nodes, as many runtimes read them. The rule
for what stays in floating point is the usual one: the front, the first and the last layer with weights, norms that no
convolution takes up, and softmaxes. They hold a small part of the work, and the most of the error. On x86 processors
without VNNI (before 2019, roughly) sums of such products may saturate: prove the file there if it will run there.
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
from understudy.export.format import Format, Material, not_followed, taken
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
        try:
            # its symbolic shapes fail for some preprocessing, and the exporter has written the shapes
            quant_pre_process(whole, prepared, skip_symbolic_shape=True)
            layers, floating_nodes = _divided(onnx.load(prepared).graph.node, _of_front(material.network))
            if not layers:
                raise UserError(
                    "int8 keeps the first and the last layer in floating point, and this student has no other"
                )
            with np.errstate(invalid="ignore"):  # it computes a scale of what stays in floating point, too
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
        except Exception as error:  # ONNX Runtime raises many types of errors
            raise not_followed(error, "ONNX Runtime cannot quantise") from error
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
    input: Sequence[str]
    output: Sequence[str]


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
    return layers[1:-1], [*front, *layers[:1], *layers[-1:], *norms, *_masked(nodes)]


def _masked(nodes: Sequence[Node]) -> list[str]:
    """Every softmax and what leads to it from the products before it and from a mask.

    A mask has infinite values, of which 8 bits have no range.
    """
    made_by = {output: node for node in nodes for output in node.output}
    names, waiting = list[str](), [node for node in nodes if node.op_type == "Softmax"]
    while waiting:
        node = waiting.pop()
        if node.op_type not in _WEIGHTED and node.name not in names:
            names.append(node.name)
            waiting += [made_by[name] for name in node.input if name in made_by]
    return names


def _batches(train: Part) -> Iterator[dict[str, NDArray[np.generic]]]:
    ids = randomness.shuffled(0, 0, train.ids, "calibration")[:CALIBRATION]
    for batch in Part(train.source, ids).in_order(BATCH, torch.device("cpu")):
        yield {name: tensor.numpy() for name, tensor in taken((batch.inputs,), {}).items()}


FORMAT = Format(
    "int8",
    ".int8.onnx",
    "ONNX in 8 bits, quantised after training",
    write,
    floating.read,
    Tolerance(difference=None, agreement=0.99, loss=0.5),
    packages=floating.FORMAT.packages,
)
