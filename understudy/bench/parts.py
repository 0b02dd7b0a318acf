"""Where the time of a step goes: the trainer's own functions, each of them timed."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps

import torch

from understudy.config.hardware import synchronize
from understudy.training.stage_state import StageState

PARTS = ("data", "teacher", "student", "losses", "adversaries", "backward", "optimizer", "loop")


class Parts:
    """Seconds of each part; a part that runs within another one counts for itself alone."""

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

    def watch(self, stage_state: StageState) -> None:
        """From here on, every step of ``stage_state`` is split."""
        objective, optimizers = stage_state.objective, [stage_state.optimizer, stage_state.adversaries]
        owners: list[tuple[object, dict[str, str]]] = [
            (objective, {"read": "teacher", "answer": "student", "judge": "losses", "learn": "optimizer"}),
            (stage_state, {"step": "backward", "_step_adversaries": "adversaries"}),
            (stage_state.stored, {"answers": "teacher"}),
            (stage_state.bounds, {"apply": "optimizer"}),
            (stage_state.average, {"update": "optimizer"}),
            *((optimizer, {"step": "optimizer", "zero_grad": "optimizer"}) for optimizer in optimizers),
        ]
        for owner, functions in owners:
            for function, name in functions.items() if owner is not None else ():
                setattr(owner, function, self._timed(getattr(owner, function), name))

    def _timed(self, called: Callable[..., object], name: str) -> Callable[..., object]:
        """The same function with its time charged to a part."""

        @wraps(called)
        def timed(*args: object, **kwargs: object) -> object:
            with self.part(name):
                return called(*args, **kwargs)

        return timed

    def _charge(self) -> None:
        """Charge the time that has passed to the innermost part that is open."""
        synchronize(self._device)
        now = time.perf_counter()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._since = now
