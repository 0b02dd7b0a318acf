"""The environment of a figure: versions and machine."""

import contextlib
import gc
import os
import platform
import shlex
import sys
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

import understudy
from understudy.config.hardware import return_freed_memory


def versions() -> dict[str, str]:
    known = {"understudy": understudy.__version__, "python": platform.python_version()}
    for package in ("torch", "numpy", "safetensors"):
        try:
            known[package] = version(package)
        except PackageNotFoundError:
            continue
    return known


def machine() -> dict[str, str | int]:
    facts: dict[str, str | int] = {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
    }
    if torch.cuda.is_available():
        facts["accelerator"] = torch.cuda.get_device_name()
    return facts


@dataclass(frozen=True)
class ProcessorTime:
    """Seconds for which cores have been busy so far: for all programs, and for this one."""

    everything: float
    own: float

    @classmethod
    def now(cls) -> "ProcessorTime | None":
        """On Linux; None on other systems."""
        try:
            ticks = Path("/proc/stat").read_text().partition("\n")[0].split()[1:]
            user, nice, system, _, _, interrupts, soft_interrupts, *_ = map(int, ticks)
        except (OSError, ValueError):
            return None
        busy = (user + nice + system + interrupts + soft_interrupts) / os.sysconf("SC_CLK_TCK")
        return cls(busy, time.process_time())

    def others(self, seconds: float) -> float:
        """How many cores other programs have kept busy since then."""
        now = ProcessorTime.now()
        if now is None:
            return 0.0
        return max(0.0, (now.everything - self.everything - (now.own - self.own)) / seconds)


def reset_peak_memory(device: torch.device) -> None:
    """Reset ``peak_memory`` to the memory in use; without Linux, the peak of the process is kept."""
    gc.collect()  # earlier objects may still be in reference cycles
    return_freed_memory()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the kernel's word for this


def peak_memory(device: torch.device) -> dict[str, int]:
    """The most bytes that this process has held so far, and that its accelerator has held for it."""
    process = _peak_of_process()
    peaks = {} if process is None else {"process": process}
    if device.type == "cuda":
        peaks["accelerator"] = torch.cuda.max_memory_allocated(device)
    return peaks


def command() -> str:
    """The command line, as a person would type it; empty in a notebook and at Python's prompt, which have none."""
    program, *words = sys.argv or [""]
    path = Path(program)
    if path.name in ("", "-c", "ipykernel_launcher.py"):
        return ""
    named = [path.name]
    if path.suffix == ".py":  # the path of a module that -m found tells of this machine
        named = ["python", path.name if path.is_absolute() else program]
    if path.name == "__main__.py":
        named = ["understudy"] if path.parent.name == "understudy" else ["python", "-m", path.parent.name]
    return shlex.join([*named, *words])


def _peak_of_process() -> int | None:
    """On Linux the kernel's own figure: what ``getrusage`` says there begins with the peak of whoever started this."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    except OSError:
        pass
    try:
        import resource
    except ImportError:  # not on this system
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor()
