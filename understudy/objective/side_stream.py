"""A CUDA stream for work that runs in parallel to the current stream."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Beside:
    """Work in ``with beside():`` runs in parallel to the code after it, until ``join``. Without CUDA it runs in line.

    The stream first waits for the current stream, so that memory freed in one stream is not reused by the other
    while it is in use.
    """

    def __init__(self, device: torch.device):
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    @contextmanager
    def __call__(self) -> Iterator[None]:
        if self._stream is None:
            yield
            return
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            yield

    def join(self) -> None:
        """The current stream waits for that work."""
        if self._stream is not None:
            torch.cuda.current_stream(self._device).wait_stream(self._stream)
