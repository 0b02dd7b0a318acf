"""What this machine has and can do: cores, native bfloat16, how far it rounds, and how long a call takes."""

import ctypes
import os
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container: so many microseconds of computing in each period
_CPU_BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16", "arm_bf16", "sve_bf16")  # as ``torch.cpu.get_capabilities`` has it
_AMPERE = 8  # the first CUDA compute capability with bfloat16 units
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # as glibc's malloc.h numbers them
_KEPT = 1 << 30
_ROUNDING = {"float32": 1e-4, "float16": 5e-3, "bfloat16": 3e-2}


def cores() -> int:
    """The number of cores that this process may use, a container's quota included.

    >>> cores() >= 1
    True
    """
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = _QUOTA.read_text(encoding="utf-8").split()
        return max(1, min(available, int(quota) // int(period)))
    except (OSError, ValueError):  # no container, or one without a quota
        return available


def threads_each(workers: int = 1) -> int:
    """The number of threads of each of several trainings that share the cores.

    It is never more than PyTorch's own choice for one process, which ``OMP_NUM_THREADS`` sets.

    >>> threads_each(workers=10**6)
    1
    """
    return max(1, min(torch.get_num_threads(), cores() // workers))


@cache
def keep_freed_memory() -> bool:
    """Let the C library keep freed memory, up to 1 GiB, for the next step instead of getting it from the system anew.

    A step frees what it has allocated, and memory from the system is cleared page by page. Once for a process, and
    only with glibc; where the user has set malloc by its environment variables, nothing is changed.

    >>> keep_freed_memory() == keep_freed_memory()
    True
    """
    if sys.platform != "linux" or any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
    return mallopt is not None and all(mallopt(which, _KEPT) == 1 for which in (_TRIM_THRESHOLD, _MMAP_THRESHOLD))


def return_freed_memory() -> None:
    """Return the memory to the system that this process has freed and the C library has kept.

    >>> return_freed_memory()
    """
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)


def computes_in_bfloat16(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16, and does not emulate it.

    >>> computes_in_bfloat16(torch.device("meta"))
    False
    """
    if device.type == "cpu":
        capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # not every torch has it
        native = any(capabilities.get(name) for name in _CPU_BFLOAT16)
        return native and bool(torch.backends.mkldnn.is_available())
    if device.type == "cuda":
        if torch.version.hip:
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
        return torch.cuda.get_device_capability(device)[0] >= _AMPERE
    return False


def rounding(kind: str, device: torch.device) -> float:
    """By how much two answers about one sample may differ, of the largest value: sums depend on the batch.

    GPUs may compute float32 convolutions in TF32, which has the mantissa of float16.

    >>> rounding("float32", torch.device("cpu"))
    0.0001
    """
    return _ROUNDING.get("float16" if (kind, device.type) == ("float32", "cuda") else kind, 0.0)


def relative_difference(one: Tensor, other: Tensor) -> float:
    """The largest difference between two tensors, as a share of the largest value of ``other``.

    >>> relative_difference(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0]))
    0.5
    """
    largest = other.abs().max().item()
    return (one - other).abs().max().item() / (largest or 1.0)


def timed(run: Callable[[], object], device: torch.device, repeats: int = 1) -> float:
    """Seconds of one call, over several, the accelerator's work included."""
    synchronize(device)
    began = time.perf_counter()
    for _ in range(repeats):
        run()
    synchronize(device)
    return (time.perf_counter() - began) / repeats


def synchronize(device: torch.device) -> None:
    """Wait until an accelerator has done all its work; on a CPU nothing is pending."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
