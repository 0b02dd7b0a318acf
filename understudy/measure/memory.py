"""How much memory was needed at most."""

import sys

import torch


def peak_memory(device: torch.device) -> int:
    """Bytes: of the accelerator since its peak was last reset, else of the whole process since it began."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource  # not on every system

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most
