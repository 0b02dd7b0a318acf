"""How fast networks answer, side by side in one run, so that the speed-up is a ratio and not two moods of a machine."""

import contextlib
import io
import logging
import os
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor, nn

from understudy import nested
from understudy.config.hardware import timed
from understudy.errors import OptionalPackageError, UserError
from understudy.measure.machine import ProcessorTime
from understudy.models.preprocessing import OwnTokens
from understudy.nested import Nested
from understudy.objective import evaluating
from understudy.taps import call, inner, layers
from understudy.tasks.words import of_table

WARM_UP = 3  # calls that are not counted
LEAST = 0.2  # seconds in which other programs are looked for: the kernel counts their time in steps of 10 ms
# ONNX Runtime's threads wait for work with a busy core between two calls; in between, others are timed.
NO_WAITING = "session.force_spinning_stop", "1"


@dataclass(frozen=True)
class Latency:
    """Milliseconds for one call."""

    p50: float
    p95: float
    batch: int
    threads: int
    others: float = 0.0  # cores that other programs took meanwhile, if they left fewer than ``threads``

    @property
    def warning(self) -> str:
        """A sentence if other programs took part of the time.

        >>> Latency(2.1, 2.4, batch=1, threads=2, others=1.3).warning
        'Other programs took 1.3 cores meanwhile: the latencies are longer than on a quiet machine.'
        """
        if not self.others:
            return ""
        return f"Other programs took {self.others} cores meanwhile: the latencies are longer than on a quiet machine."


def latencies(
    networks: Mapping[str, Callable[..., object]], example: Nested, *, seconds: float = 1.0
) -> dict[str, Latency]:
    """The latency of each on ``example``, calls interleaved, after a warm-up; ``seconds`` for all of it.

    Args:
        networks: modules, or other functions of a batch, such as ``onnx_runtime(network, example)``.
    """
    times: dict[str, list[float]] = {name: [] for name in networks}
    with torch.inference_mode(), contextlib.ExitStack() as stack:
        for network in networks.values():
            if isinstance(network, nn.Module):
                stack.enter_context(evaluating(network))
            for _ in range(WARM_UP):
                _timed(network, example)
        before, began = ProcessorTime.now(), time.perf_counter()
        while time.perf_counter() < began + seconds or len(next(iter(times.values()))) < 5:
            for name, network in networks.items():
                times[name].append(_timed(network, example))
        others = _others(before, time.perf_counter() - began)
    return {name: _summary(values, nested.count(example), others) for name, values in times.items()}


def onnx_runtime(network: nn.Module, example: Nested) -> Callable[..., object]:
    """The network as ONNX Runtime runs it on the CPU, for batches as large as ``example``, with PyTorch's threads."""
    onnxruntime = need_onnx_runtime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.add_session_config_entry(*NO_WAITING)
    table = next((layer.table for layer in layers(network) if isinstance(layer, OwnTokens)), "")
    example = of_table(example, table) if isinstance(example, Mapping) else example
    session = onnxruntime.InferenceSession(_exported(network, example), options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]

    def answers(*tensors: Tensor, **named: Tensor) -> object:
        given = of_table(named, table) or dict(zip(names, tensors, strict=True))
        return session.run(None, {name: tensor.cpu().contiguous().numpy() for name, tensor in given.items()})

    return answers


def need_onnx_runtime() -> ModuleType:
    """The package, or a line on how to get it."""
    try:
        import onnxruntime
        import onnxscript  # noqa: F401 - the exporter's own need
    except ImportError as error:
        raise OptionalPackageError(error.name or "onnxruntime", "export", "ONNX Runtime's latency") from error
    module: ModuleType = onnxruntime
    return module


def _exported(network: nn.Module, example: Nested) -> bytes:
    home = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    inputs = nested.each(lambda tensor: tensor.cpu().contiguous(), example)
    named = dict(inputs) if isinstance(inputs, Mapping) else {}
    placed = (inputs,) if isinstance(inputs, Tensor) else () if named else tuple(inputs)
    with evaluating(network), _quietly():
        try:
            program = torch.onnx.export(network.cpu(), placed, kwargs=named, dynamo=True, verbose=False)
        except Exception as error:  # the exporter raises many types of errors
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise UserError(f"{type(inner(network)).__name__} cannot be exported to ONNX: {reason}") from error
        finally:
            network.to(home)
    assert program is not None
    return bytes(program.model_proto.SerializeToString())


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Suppresses the exporter's output, which is meant for its developers."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _timed(network: Callable[..., object], example: Nested) -> float:
    return 1000 * timed(lambda: call(network, example), nested.device(example) or torch.device("cpu"))


def _others(before: ProcessorTime | None, seconds: float) -> float:
    """Cores that other programs took, or 0 where each thread had a core of its own."""
    if before is None or seconds < LEAST:
        return 0.0
    others = round(before.others(seconds), 1)
    return others if torch.get_num_threads() + others > (os.cpu_count() or 1) + 0.25 else 0.0


def _summary(values: list[float], batch: int, others: float) -> Latency:
    values = sorted(values)
    p95 = values[min(len(values) - 1, int(0.95 * len(values)))]
    return Latency(round(statistics.median(values), 4), round(p95, 4), batch, torch.get_num_threads(), others)
