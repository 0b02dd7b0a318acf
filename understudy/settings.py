"""How the arithmetic is done: device, precision, memory format, threads."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal, cast, get_args

import torch
from torch import Tensor, nn

from understudy import nested
from understudy.bounds import STRICT, Interval
from understudy.errors import UserError

Choosable = Literal["precision", "teacher_precision", "channels_last", "threads", "teacher_batches", "compile"]
CHOOSABLE: tuple[Choosable, ...] = get_args(Choosable)


@dataclass(frozen=True)
class Settings:
    """Where and in which numbers the networks run.

    Args:
        device: ``"auto"`` takes an accelerator where there is one.
        precision: ``"bfloat16"`` runs the networks under autocast; losses and weights stay float32.
        teacher_precision: the teacher's, where it differs; it often stands less than a student that learns.
        teacher: ``"lean"`` asks a copy of the teacher with folded batch norms, in low precision only where its answers
            stay the same (checked on the data); ``"plain"`` asks the teacher as it is, in the precision that is said.
        teacher_batches: the teacher answers the batches of so many steps at once; by the image, small ones cost more.
        channels_last: the memory format in which convolutions are fastest on most hardware.
        threads: of the CPU, for this process; None leaves PyTorch's choice.
        compile: run the networks through ``torch.compile`` while they train; the first step then takes up to a minute.
        auto: those of the settings that a short measurement chooses at the start of a run; until then, and wherever
            nothing is measured, they have the values above.
    """

    device: str = "auto"
    precision: Literal["float32", "bfloat16"] = "float32"
    teacher_precision: Literal["float32", "bfloat16"] | None = None
    teacher: Literal["lean", "plain"] = "lean"
    teacher_batches: Annotated[int, Interval(ge=1)] = 1
    channels_last: bool = True
    threads: Annotated[int, Interval(ge=1)] | None = None
    compile: bool = False
    auto: tuple[Choosable, ...] = ()
    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    @property
    def plain(self) -> "Settings":
        """The same with nothing left to be chosen."""
        return replace(self, auto=())

    @property
    def of_teacher(self) -> "Settings":
        """The same, in the teacher's precision."""
        return replace(self, precision=self.teacher_precision or self.precision)

    @property
    def torch_device(self) -> torch.device:
        if self.device == "auto":
            accelerator = torch.accelerator.current_accelerator(check_available=True)
            return accelerator or torch.device("cpu")
        try:
            device = torch.device(self.device)
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"settings.device = {self.device!r} cannot be used here: {reason}") from error
        return device

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
        """The generator that networks draw from. On a CPU that alone: asking every device takes as long as a layer."""
        if self.torch_device.type == "cpu":
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.torch_device.type, torch.bfloat16, enabled=self.precision == "bfloat16")

    @contextlib.contextmanager
    def in_force(self) -> Iterator[None]:
        """Threads and cuDNN's choice of algorithms, set for a while: a resumed run must repeat an unbroken one."""
        cudnn = torch.backends.cudnn  # its ``flags`` would switch it off, where it is not told otherwise
        before = torch.get_num_threads(), cudnn.deterministic, cudnn.benchmark
        cudnn.deterministic, cudnn.benchmark = True, False
        if self.threads:
            torch.set_num_threads(self.threads)
        try:
            with self._kept_graphs():
                yield
        finally:
            threads, cudnn.deterministic, cudnn.benchmark = before
            torch.set_num_threads(threads)

    def _kept_graphs(self) -> contextlib.AbstractContextManager[Any]:
        """What is compiled may be gone through backwards twice, for a term's share of the gradient and for the step."""
        if not self.compile:
            return contextlib.nullcontext()
        import torch._functorch.config as functorch  # here, since it is slow to import

        return functorch.patch(donated_buffer=False)  # type: ignore[no-any-return]
