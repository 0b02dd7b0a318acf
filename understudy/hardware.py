"""How long a call takes, with all that it asked of an accelerator."""

import time
from collections.abc import Callable

import torch


def timed(run: Callable[[], object], device: torch.device, repeats: int = 1) -> float:
    """Seconds of one call, over several."""
    synchronize(device)
    began = time.perf_counter()
    for _ in range(repeats):
        run()
    synchronize(device)
    return (time.perf_counter() - began) / repeats


def synchronize(device: torch.device) -> None:
    """Wait for all that the device was asked to do; the CPU has done it already."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
