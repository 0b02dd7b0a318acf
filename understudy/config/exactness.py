"""Which algorithms a device may choose, and the numbers in which it multiplies: flags that hold for a while."""

import contextlib
import os
from collections.abc import Iterator

import torch
import torch.utils.deterministic

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"  # read once, when cuBLAS is first used; without it sums of matrices may vary


def prepare(device: torch.device) -> None:
    """Let cuBLAS add up in a fixed order, unless the user says otherwise; before anything runs on the device."""
    if device.type == "cuda":
        os.environ.setdefault(WORKSPACE, ":4096:8")


@contextlib.contextmanager
def algorithms(device: torch.device, *, exact: bool, tf32: bool | None) -> Iterator[None]:
    """The choice of algorithms: with ``exact`` the same bits at every run, else what is fastest.

    An operation of a GPU that has no exact algorithm warns once, and names itself. ``tf32`` of None changes nothing.

    >>> with algorithms(torch.device("cpu"), exact=False, tf32=None):
    ...     torch.backends.cudnn.benchmark
    True
    """
    cudnn = torch.backends.cudnn  # its ``flags`` would switch it off, where it is not told otherwise
    before = cudnn.deterministic, cudnn.benchmark
    cudnn.deterministic, cudnn.benchmark = exact, not exact
    try:
        with contextlib.ExitStack() as stack:
            if device.type == "cuda":
                if exact:
                    stack.enter_context(_deterministic())
                if tf32 is not None:
                    stack.enter_context(_multiplying("tf32" if tf32 else "ieee"))
            yield
    finally:
        cudnn.deterministic, cudnn.benchmark = before


@contextlib.contextmanager
def _deterministic() -> Iterator[None]:
    """Deterministic algorithms wherever there are some. Fresh memory is not filled, which would take time."""
    mode = torch.get_deterministic_debug_mode()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with _changed(torch.utils.deterministic, "fill_uninitialized_memory", False):
            yield
    finally:
        torch.set_deterministic_debug_mode(mode)


@contextlib.contextmanager
def _multiplying(numbers: str) -> Iterator[None]:
    """The numbers in which float32 matrices are multiplied, in layers of all kinds."""
    places: list[object] = [torch.backends.cuda.matmul]
    places += [getattr(torch.backends.cudnn, layers) for layers in ("conv", "rnn")]
    with contextlib.ExitStack() as stack:
        for place in places:
            stack.enter_context(_changed(place, "fp32_precision", numbers))
        yield


@contextlib.contextmanager
def _changed(place: object, name: str, value: object) -> Iterator[None]:
    """A context in which an attribute has another value."""
    before = getattr(place, name)
    setattr(place, name, value)
    try:
        yield
    finally:
        setattr(place, name, before)
