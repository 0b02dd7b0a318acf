"""How the arithmetic is done: device, precision, memory format, threads."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from understudy import nested
from understudy.bounds import STRICT, Interval, Threads
from understudy.config import exactness, hardware
from understudy.errors import UserError

Precision = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class Settings:
    """Where and in which numbers the networks run.

    ``Settings()`` is plain: float32 on the accelerator, if there is one. ``Settings.by_rule()`` follows the hardware.

    Args:
        device: ``"auto"`` is an accelerator where there is one.
        precision: ``"bfloat16"`` runs the networks under autocast; losses and weights stay float32. ``"float16"`` does
            the same for GPUs without bfloat16, and scales the loss, so that small gradients do not become zero.
        teacher_precision: the teacher's, where it differs; it often stands less than a student that learns.
        teacher: ``"lean"`` runs a copy of the teacher with folded batch norms, in low precision only where its answers
            stay the same (checked on the data); ``"plain"`` runs the teacher as it is, in the precision that is set.
        teacher_batches: the teacher answers the batches of so many steps at once; by the sample, small ones cost more.
        channels_last: the memory format in which convolutions are fastest on most hardware.
        threads: of the CPU, for this process; None leaves PyTorch's choice.
        exact: on GPUs, only algorithms that give the same bits at every run; False chooses the fastest ones, so that
            two runs differ by rounding. An operation without an exact algorithm warns. CPUs are always exact.
        tf32: on GPUs, whether float32 layers multiply in TF32; None leaves PyTorch's choice, convolutions alone.
        compile: run the networks through ``torch.compile`` while they train; the first step then takes up to a minute.
        ranks: processes that share each training; a run that torchrun did not start starts them itself.
        parallel: on several processes, ``"ddp"`` keeps the whole student on each; ``"fsdp"`` shards its weights, their
            gradients, the optimizer's state and the moving average (FSDP2), so that each process holds a part.
        teacher_shard: on several processes, each holds a part of the teacher's weights, and layers are gathered when
            they run.
        batch_norm: on several processes, from what batch norms take their statistics: from the whole ``"batch"``, as on
            one process, or from the samples of each ``"process"``. With a microbatch, ``"process"`` means its samples.
        microbatch: each process computes at most so many samples at once; the gradients of a batch add up.

    >>> Settings(precision="bfloat16").of_teacher.precision
    'bfloat16'
    """

    device: str = "auto"
    precision: Precision = "float32"
    teacher_precision: Precision | None = None
    teacher: Literal["lean", "plain"] = "lean"
    teacher_batches: Annotated[int, Interval(ge=1, le=10_000)] = 1
    channels_last: bool = True
    threads: Threads | None = None
    exact: bool = True
    tf32: bool | None = None
    compile: bool = False
    ranks: Annotated[int, Interval(ge=1, le=10_000)] = 1
    parallel: Literal["ddp", "fsdp"] = "ddp"
    teacher_shard: bool = False
    batch_norm: Literal["batch", "process"] = "batch"
    microbatch: Annotated[int, Interval(ge=1, le=1_000_000_000)] | None = None
    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    @classmethod
    def by_rule(cls, **given: Any) -> "Settings":
        """The settings that follow from what the hardware can do; those that are ``given`` stay as they are.

        The precision is bfloat16 on a device that computes in it (a processor with AVX512-BF16, AMX or ARM's BF16, a
        GPU from NVIDIA's Ampere on), the memory format is channels-last on CPUs and CUDA devices, and the threads are
        those of the cores that this process may use. Nothing is measured: the same machine always gets the same.

        >>> Settings.by_rule(device="cpu", precision="float32", threads=2).summary()
        'float32, channels-last, 2 threads'
        """
        settings = cls(**given)
        open_ = {name: value for name, value in settings._rule().items() if name not in given}
        return replace(settings, **open_)

    def _rule(self) -> dict[str, Any]:
        device = self.torch_device
        return {
            "precision": "bfloat16" if hardware.computes_in_bfloat16(device) else "float32",
            "channels_last": device.type in ("cpu", "cuda"),
            "threads": hardware.threads_each(),
        }

    def summary(self) -> str:
        """What decides the speed, in a few words.

        >>> Settings(precision="bfloat16", threads=1).summary()
        'bfloat16, channels-last, 1 thread'
        """
        parts: list[str] = [self.precision]
        if self.of_teacher.precision != self.precision:
            parts.append(f"the teacher in {self.of_teacher.precision}")
        parts.append("channels-last" if self.channels_last else "channels-first")
        if self.threads:
            parts.append(f"{self.threads} thread{'s' if self.threads > 1 else ''}")
        if self.teacher_batches > 1:
            parts.append(f"the teacher on {self.teacher_batches} batches at once")
        chosen = {"fastest algorithms": not self.exact, "in TF32": self.tf32, "compiled": self.compile}
        return ", ".join([*parts, *(name for name, said in chosen.items() if said)])

    @property
    def of_teacher(self) -> "Settings":
        """The same, in the teacher's precision."""
        return replace(self, precision=self.teacher_precision or self.precision)

    @property
    def torch_device(self) -> torch.device:
        return _device(self.device)

    def place(self, network: nn.Module) -> nn.Module:
        network = network.to(self.torch_device)
        volumes = any(t.ndim == 5 for t in (*network.parameters(), *network.buffers()))  # have no such format
        return network.to(memory_format=torch.channels_last) if self.channels_last and not volumes else network  # type: ignore[call-overload]

    def prepare(self, inputs: Any) -> Any:
        """A batch (nested tensors) in the memory format of the networks."""
        if not isinstance(inputs, Tensor):
            return nested.each(self.prepare, inputs)
        if self.channels_last and inputs.ndim == 4:
            return inputs.contiguous(memory_format=torch.channels_last)
        return inputs.contiguous()

    def compiled(self, network: nn.Module) -> nn.Module:
        """The network as it is called while it trains: itself, or compiled around the same weights."""
        return cast(nn.Module, torch.compile(network)) if self.compile else network

    def reseed(self, seed: int) -> None:
        """The generators that networks draw from: the CPU's and the device's; asking every device takes long."""
        torch.default_generator.manual_seed(seed)
        device = self.torch_device
        if device.type == "cuda":
            torch.cuda.init()  # does nothing where it has been done; before it there are no generators
            number = torch.cuda.current_device() if device.index is None else device.index
            torch.cuda.default_generators[number].manual_seed(seed)
        elif device.type not in ("cpu", "meta"):
            torch.get_device_module(device).manual_seed(seed)

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.torch_device.type, self.low, enabled=self.precision != "float32")

    @property
    def low(self) -> torch.dtype:
        """The type of the networks' values under autocast."""
        return torch.float16 if self.precision == "float16" else torch.bfloat16

    @contextlib.contextmanager
    def in_force(self) -> Iterator[None]:
        """Threads and the choice of algorithms, set for a while: a resumed run must repeat an unbroken one."""
        threads = torch.get_num_threads()
        if self.torch_device.type == "cpu":
            hardware.keep_freed_memory()
        if self.threads:
            torch.set_num_threads(self.threads)
        try:
            with exactness.algorithms(self.torch_device, exact=self.exact, tf32=self.tf32), self._kept_graphs():
                yield
        finally:
            torch.set_num_threads(threads)

    def _kept_graphs(self) -> contextlib.AbstractContextManager[Any]:
        """What is compiled may be gone through backwards twice, for a term's share of the gradient and for the step."""
        if not self.compile:
            return contextlib.nullcontext()
        import torch._functorch.config as functorch  # here, since it is slow to import

        return functorch.patch(donated_buffer=False)  # type: ignore[no-any-return]


@cache
def _device(name: str) -> torch.device:
    """The device of a name; found once, since finding it takes a moment and a step needs it several times."""
    if name == "auto":
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        exactness.prepare(accelerator or torch.device("cpu"))
        return accelerator or torch.device("cpu")
    try:
        device = torch.device(name)
        exactness.prepare(device)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"settings.device = {name!r} cannot be used here: {reason}") from error
    return device
