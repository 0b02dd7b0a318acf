"""Trainings of a sharded student, or with a sharded teacher, on each of the two processes."""

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

import understudy
from tests.ranks.cases import PAIR, TERMS, distilled, networks, plain_student, samples
from understudy.config.settings import Settings
from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.data import from_tensors
from understudy.errors import UserError
from understudy.plans.stages import method_stages as stages_of
from understudy.training import checkpoints, saving
from understudy.training.loop import Training

SHARDED: dict[str, dict[str, Any]] = {  # terms or a method, and what differs in config and settings
    "kd, AdamW, an average of the weights": {
        "terms": "kd",
        "config": {"ema": 0.9, "keep": "last", "optimizer": understudy.optimizers.AdamW(lr=0.001)},
    },
    "fitnets, a sharded teacher": {
        "method": "fitnets",
        "keys": {"pair": PAIR, "hint_epochs": 1},
        "settings": {"teacher_shard": True},
    },
    "crd": {"terms": "crd"},
    "can": {"terms": "can"},
    "RMSProp, bounds on kernels": {
        "terms": "hint with batch norm",
        "config": {"optimizer": understudy.optimizers.RMSProp(lr=0.001), "max_norm": {"*weight": 0.5}},
    },
    "microbatches": {"terms": "kd", "settings": {"microbatch": 3, "batch_norm": "process"}},
}


def sharded_training(name: str, folder: str | None = None, **settings: Any) -> Training:
    row = SHARDED[name]
    teacher, _ = networks()
    student, data = plain_student(), from_tensors(samples(), validation=20)
    options = {"epochs": 2, "batch": 16, "optimizer": understudy.optimizers.SGD(lr=0.05)} | row.get("config", {})
    config = TrainConfig(**options)
    if "terms" in row:
        stages = [Stage("one", TERMS[row["terms"]], config)]
    else:
        stages = stages_of(row["method"], config, row["keys"], student, teacher, data)
    arithmetic = Settings(device="cpu", threads=1, **(row.get("settings", {}) | settings))
    kept = Path(folder) if folder else None
    return Training(student, [teacher], stages, data, settings=arithmetic, checkpoint_folder=kept, every=0.0)


def sharded_student(rank: int, name: str, settings: dict[str, Any]) -> tuple[dict[str, Tensor], list[dict[str, float]]]:
    """The weights in the end, of the student that was given, and the figures of each stage."""
    training = sharded_training(name, **settings)
    record = training.run()
    return dict(training.whole.state_dict()), [dict(end.validation or {}) for end in record.stages]


def in_parts(
    rank: int, name: str, folder: str, fails: str, memory: tuple[int, ...] = (0, 0, 0, 0)
) -> tuple[dict[str, Tensor], set[str]] | str:
    """The weights of a sharded student, and the threads that wrote its checkpoints; or what is said of an error.

    After some checkpoints, one rank's disk is full: the second's for "write_part", the first's for "complete".
    ``memory`` is that of the ranks' machines, as far as it is known.
    """
    threads, left = set[str](), [5]

    def counted(place: str, write: Callable[..., object]) -> Callable[..., object]:
        def writing(*args: Any) -> object:
            threads.add(threading.current_thread().name)
            left[0] -= place == fails and rank == {"write_part": 1, "complete": 0}[fails]
            if left[0] == 0:
                raise UserError(f"{place}: no space")
            return write(*args)

        return writing

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saving, "BESIDE", 0)
        patch.setattr(saving, "usable_memory", lambda: memory[rank])
        for place in ("write_part", "complete"):
            patch.setattr(checkpoints, place, counted(place, getattr(checkpoints, place)))
        training = sharded_training(name, folder, parallel="fsdp")
        try:
            training.run()
        except UserError as error:
            return str(error)
    return dict(training.whole.state_dict()), threads


def gone_on(rank: int, out: str, settings: dict[str, Any]) -> dict[str, Tensor] | str:
    """A run that began with other settings, which the first process says."""
    noted = pytest.warns(UserWarning, match="was begun with other code, data, threads or settings")
    with noted if rank == 0 else contextlib.nullcontext():
        return distilled(rank, out, **settings)
