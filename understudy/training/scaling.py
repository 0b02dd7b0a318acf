"""The scale of the loss in float16, whose smallest gradients would be zero; a step that overflows is left out."""

import math

import torch
from torch import Tensor

from understudy.config.settings import Settings
from understudy.errors import UserError
from understudy.objective import Objective


class Scaling:
    """PyTorch's gradient scaler where the precision is float16, and nothing else."""

    def __init__(self, settings: Settings):
        self._scaler = torch.amp.GradScaler(settings.torch_device.type) if settings.precision == "float16" else None
        self._before = self.scale

    @property
    def scale(self) -> float:
        """The factor of the loss, for which the host waits for the device."""
        return 1.0 if self._scaler is None else float(self._scaler.get_scale())

    def left_out(self) -> int:
        """How many steps overflowed since the last call, at least: each one halved the scale."""
        if self._scaler is None:
            return 0
        before, self._before = self._before, self.scale
        return max(0, round(math.log2(before / self._before))) if self._before else 0

    def scaled(self, loss: Tensor) -> Tensor:
        return loss if self._scaler is None else self._scaler.scale(loss)

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """A step by gradients of the scaled loss; none where they overflowed."""
        if self._scaler is None:
            optimizer.step()
        else:
            self._scaler.step(optimizer)

    def end_step(self) -> None:
        """The scale of the next step, after all optimizers have stepped."""
        if self._scaler is not None:
            self._scaler.update()

    def state(self) -> dict[str, float] | None:
        return self._scaler.state_dict() if self._scaler else None

    def restore(self, state: dict[str, float] | None) -> None:
        if self._scaler is not None and state:
            self._scaler.load_state_dict(state)
            self._before = self.scale


def check_float16(objective: Objective, settings: Settings, *, termwise: bool) -> None:
    """A UserError where gradients are taken that no scale protects."""
    if settings.precision != "float16":
        return
    reads = objective.terms.reads
    reasons = {
        "a term takes gradients within the loss": reads.gradients or reads.input_gradients,
        "auto() measures the terms' gradients": objective.balance is not None,
        "each term has a momentum of its own": termwise,
        'settings.parallel = "fsdp" has parts of the gradients': settings.parallel == "fsdp",
    }
    for reason, holds in reasons.items():
        if holds:
            raise UserError(
                f'settings.precision = "float16": {reason}, and small gradients would become zero: take "bfloat16" or '
                '"float32"'
            )
