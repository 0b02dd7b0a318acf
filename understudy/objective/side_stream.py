"""A queue of its own, on a GPU, for work that need not wait for what is done beside it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Beside:
    """Work in ``with beside():`` runs beside what comes after it, until ``join``. Without a GPU, all is as ever.

    The queue begins each time with what was asked of the device before, so that memory which one queue gave back is
    never taken by the other one while it is in use.
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
        """What comes from here on waits for that work."""
        if self._stream is not None:
            torch.cuda.current_stream(self._device).wait_stream(self._stream)
