"""Where the time of a step goes: the trainer's own functions, with a watch around each."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from understudy.hardware import synchronize
from understudy.training.apparatus import Apparatus

PARTS = ("data", "teacher", "student", "losses", "rivals", "backward", "optimizer", "loop")


class Parts:
    """Seconds of each part; what runs within another part counts for itself alone."""

    def __init__(self, device: torch.device):
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self._device = device
        self._open: list[str] = []
        self._since = 0.0

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        self._charge()
        self._open.append(name)
        try:
            yield
        finally:
            self._charge()
            self._open.pop()

    def watch(self, apparatus: Apparatus) -> None:
        """From here on, every step of ``apparatus`` is split."""
        objective, optimizers = apparatus.objective, [apparatus.optimizer, apparatus.rivals]
        objective._student = (_Watched(objective._student[0], self, "student"),)  # type: ignore[assignment]
        owners: list[tuple[Any, dict[str, str]]] = [
            (objective, {"read": "teacher", "judge": "losses", "learn": "optimizer"}),
            (apparatus, {"step": "backward", "_step_rivals": "rivals"}),
            (apparatus.stored, {"answers": "teacher"}),
            (apparatus.bounds, {"apply": "optimizer"}),
            (apparatus.average, {"update": "optimizer"}),
            *((optimizer, {"step": "optimizer", "zero_grad": "optimizer"}) for optimizer in optimizers),
        ]
        for owner, functions in owners:
            for function, name in functions.items() if owner is not None else ():
                setattr(owner, function, _Watched(getattr(owner, function), self, name))

    def _charge(self) -> None:
        """What has passed belongs to the innermost part that is open."""
        synchronize(self._device)
        now = time.perf_counter()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._since = now


class _Watched:
    """Something that is called, with its time taken; in all else it is what it was."""

    def __init__(self, called: Callable[..., Any], parts: Parts, name: str):
        self._called, self._parts, self._name = called, parts, name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with self._parts.part(self._name):
            return self._called(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._called, name)
