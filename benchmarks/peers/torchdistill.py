"""torchdistill: its DistillationBox, with the body of ``train_one_epoch`` of its image classification example.

Neither the box nor the example puts the teacher into evaluation mode; that is left as it is.
"""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torchdistill.core.distillation import DistillationBox

from benchmarks.workload import SGD, Loop, Work, each

SOFT_TARGETS = {
    "key": "KDLoss",
    "kwargs": {
        "student_module_path": ".",
        "student_module_io": "output",
        "teacher_module_path": ".",
        "teacher_module_io": "output",
        "temperature": 4.0,
        "alpha": 0.1,
        "reduction": "batchmean",
    },
}


def loops(work: Work) -> dict[str, Callable[[], Loop]]:
    logging.disable(logging.INFO)
    tap = work.pair.tap
    hint = {"key": "MSELoss", "kwargs": {"reduction": "mean"}}
    wrapped = {
        "key": "SimpleLossWrapper",
        "kwargs": {
            "input": {"is_from_teacher": False, "module_path": tap, "io": "output"},
            "target": {"is_from_teacher": True, "module_path": tap, "io": "output"},
        },
    }
    hooked = {"forward_hook": {"input": [], "output": [tap]}}
    return {
        "kd": partial(_loop, work, {"criterion": SOFT_TARGETS, "weight": 1.0}, {}),
        "hint": partial(_loop, work, {"criterion": hint, "criterion_wrapper": wrapped, "weight": 1.0}, hooked),
    }


def _loop(work: Work, term: dict[str, Any], hooks: dict[str, Any]) -> Loop:
    config = {
        "num_epochs": 1,
        "teacher": {"requires_grad": False, "forward_proc": "forward_batch_only", **hooks},
        "student": {"forward_proc": "forward_batch_only", **hooks},
        "optimizer": {"key": "SGD", "kwargs": dict(SGD)},
        "criterion": {"key": "WeightedSumLoss", "kwargs": {"sub_terms": {"term": term}}},
    }
    box = DistillationBox(work.teacher(), work.student(), {}, config, torch.device("cpu"), None, False, 1)
    process = {name: getattr(type(box), name) for name in ("pre_epoch_process", "post_forward_process")}

    def step(images: Tensor, labels: Tensor) -> None:
        loss = box.forward_process(images, labels, None)
        process["post_forward_process"](box, loss=loss)
        loss.item()

    def epoch() -> None:
        process["pre_epoch_process"](box, epoch=0)
        each(work.loader, step)

    process["pre_epoch_process"](box, epoch=0)
    return Loop(lambda: step(*work.batch), epoch)
