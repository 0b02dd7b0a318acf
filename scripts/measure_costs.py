"""Measure what a training step of every method costs against one of the student alone, and write it into the package.

Usage: python scripts/measure_costs.py [--rounds 9] [--threads N] [--note TEXT] [METHOD ...]

ResNet-56 teaches ResNet-8 on images of 3 x 32 x 32, batch 64, channels-last, bfloat16; the weights and the images are
drawn, which costs as much as real ones would. In every round each method takes a step right after a plain one, and the
figure is the median of the ratios, so that a machine whose speed changes does not change it. A method of several stages
is the mean over its config. With METHODs named, only theirs are measured, and the other figures stay. Methods that do
not fit this pair (of boxes, of attention) are not measured. Run it on a machine that does nothing else: five minutes of
a core.
"""

import argparse
import datetime
import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

from understudy.config.settings import Settings
from understudy.config.train import TrainConfig
from understudy.data import Data, from_tensors
from understudy.data.parts import Batch
from understudy.errors import UserError
from understudy.measure.machine import command, machine, versions
from understudy.methods import METHODS
from understudy.methods.costs import FILE
from understudy.models import build
from understudy.plans.stages import method_stages as stages
from understudy.training.stage_state import StageState

BATCH, SAMPLES, CLASSES = 64, 45_000, 10
CONFIG = TrainConfig(epochs=30, batch=BATCH)
SETTINGS = Settings(precision="bfloat16")
PAIR = "ResNet-56 teaches ResNet-8, 3 x 32 x 32, batch 64, channels-last, bfloat16"
WARM_UP = 2  # steps before the first that counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", default=[name for name in METHODS if METHODS[name].family != "own"])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--note", default="")
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    known = json.loads(FILE.read_text())["methods"] if FILE.exists() else {}
    known = {name: cost for name, cost in known.items() if name not in given.methods}  # none of a former machine
    known |= _measured(given.methods, given.rounds)
    content = {
        "pair": PAIR,
        "rounds": given.rounds,
        "date": datetime.date.today().isoformat(),
        "command": command(),
        "machine": machine(),
        "versions": versions(),
        "note": given.note,
        "not_measured": [name for name in METHODS if METHODS[name].family != "own" and name not in known],
        "methods": {name: known[name] for name in METHODS if name in known},
    }
    FILE.write_text(json.dumps(content, indent=2) + "\n")
    print(f"{FILE}: {len(content['methods'])} methods")


def _measured(names: list[str], rounds: int) -> dict[str, dict[str, object]]:
    """The median ratio of every stage, and their mean over the config."""
    torch.manual_seed(0)
    teacher = SETTINGS.place(build("resnet56", classes=CLASSES)).eval()
    data = from_tensors((torch.randint(256, (SAMPLES, 3, 32, 32), dtype=torch.uint8), torch.arange(SAMPLES) % CLASSES))
    batch = _batch(data, teacher)
    (plain,) = _steps("alone", teacher, data, batch)
    ratios: dict[str, list[list[float]]] = {}
    learning: dict[str, list[Callable[[], float]]] = {}
    for name in names:
        try:
            learning[name] = _steps(name, teacher, data, batch)
        except UserError as error:  # of another task, or of networks with other parts
            print(f"{name} is not measured: {error}")
            continue
        ratios[name] = [[] for _ in learning[name]]
    for number in range(rounds + WARM_UP):
        for name, steps in learning.items():
            for found, step in zip(ratios[name], steps, strict=True):
                base = plain()
                found += [step() / base] * (number >= WARM_UP)
        print(f"round {number + 1} of {rounds + WARM_UP}", flush=True)
    return {name: _summary(name, found) for name, found in ratios.items()}


def _summary(name: str, ratios: list[list[float]]) -> dict[str, object]:
    medians = [statistics.median(found) for found in ratios]
    student, teacher = build("resnet8", classes=CLASSES), build("resnet56", classes=CLASSES)
    data = from_tensors((torch.zeros(4, 3, 32, 32), torch.arange(4) % CLASSES))
    epochs = [stage.config.epochs for stage in stages(name, CONFIG, {}, student, teacher, data)]
    config = sum(ratio * count for ratio, count in zip(medians, epochs, strict=True)) / sum(epochs)
    return {"config": round(config, 2), "stages": [round(ratio, 2) for ratio in medians]}


def _steps(name: str, teacher: nn.Module, data: Data, batch: Batch) -> list[Callable[[], float]]:
    """For every stage of a method a function that takes one step of it, and answers with the seconds."""
    student = build("resnet8", classes=CLASSES)
    found = stages(name, CONFIG, {}, student, teacher, data)
    SETTINGS.place(student).train()
    return [_step(StageState(stage, student, [teacher], data, SETTINGS), batch) for stage in found]


def _step(stage_state: StageState, batch: Batch) -> Callable[[], float]:
    def step() -> float:
        began = _now()
        loss, _ = stage_state.losses(batch, stage_state.stage.config.epochs / 2)
        stage_state.step(loss)
        return _now() - began

    return step


def _batch(data: Data, teacher: nn.Module) -> Batch:
    """One batch whose labels the teacher gets right, since some methods look only at such samples."""
    device = SETTINGS.torch_device
    batch = next(
        data.train.epoch(0, seed=0, batch=BATCH, augmentation=CONFIG.augmentation, task=data.task, device=device)
    )
    with torch.no_grad():
        labels = teacher(SETTINGS.prepare(batch.inputs)).argmax(1)
    return Batch(batch.inputs, labels, batch.ids)


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


if __name__ == "__main__":
    main()
