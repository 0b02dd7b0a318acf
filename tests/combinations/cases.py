"""Settings in random combinations: a task, a method that fits it, and how it is trained, on tiny networks.

Each case trains twice: at once, and stopped at some step and run again, some of them with trainings that take turns and
share their teacher's answers. Both must have the same students, bit for bit, and the run folder has a report. A
``UserError`` before the first step is a refusal; later ones are failures.
"""

import random
import signal
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

import understudy
from tests.methods.test_methods import ATTENTION, OF_UNLABELLED
from tests.tasks.test_every_method import DATA, FITTING, PARTLY, Attending, Net
from understudy import Callback, Settings, StoredAnswers, UserError, optimizers, schedules
from understudy.config.train import TrainConfig
from understudy.data import Augmentation
from understudy.data.augmentation import Crop
from understudy.data.colour import Blur, Erase, Jitter
from understudy.data.policies import RandAugment, TrivialAugment
from understudy.data.token_noise import TokenNoise
from understudy.data.turns import Turn
from understudy.errors import FailedTrainingError
from understudy.report import write_report

OPTIMIZERS = (
    optimizers.SGD(lr=0.01),
    optimizers.SGD(lr=0.01, momentum=0.0, nesterov=False),
    optimizers.AdamW(lr=1e-3),
    optimizers.Adagrad(lr=0.01),
    optimizers.RMSProp(lr=1e-3),
    optimizers.TorchOptimizer("torch:Adam", lr=1e-3),
)
SCHEDULES = (
    schedules.Cosine(),
    schedules.Cosine(warmup=0.3),
    schedules.OneCycle(),
    schedules.Step(at=(0.5,)),
    schedules.Linear(),
    schedules.Constant(),
)
OF_IMAGES: dict[str, tuple[object, ...]] = {
    "crop": (Crop(), Crop(scale=(0.5, 1.0))),
    "shift": (1, 2),
    "flip": (True,),
    "policy": (RandAugment(), TrivialAugment()),
    "jitter": (Jitter(),),
    "grey": (0.5,),
    "blur": (Blur(),),
    "solarise": (0.5,),
    "mixup": (0.4,),
    "cutmix": (1.0,),
    "cutout": (3,),
    "erase": (Erase(),),
}
OF_PLACES = {"shift": (1, 2), "flip": (True,), "crop": OF_IMAGES["crop"]}  # those that move targets with their pixels


@dataclass(frozen=True)
class Case:
    """One combination, a function of its seed."""

    task: str
    method: str
    config: TrainConfig
    settings: Settings
    answers: StoredAnswers | None
    seeds: int
    baseline: bool
    stop: float  # the share of all steps after which the run is stopped
    weights: int
    together: bool  # whether trainings of the stopped run take turns
    unlabelled: bool  # whether there are samples without labels, too

    @classmethod
    def of(cls, seed: str) -> "Case":
        draw = random.Random(seed)
        task, method = draw.choice(FITTING)
        config = TrainConfig(
            epochs=draw.randint(1, 3),
            batch=draw.choice((8, 12, 16)),
            optimizer=draw.choice(OPTIMIZERS),
            schedule=draw.choice(SCHEDULES),
            **_views(draw, task),
            order_seed=draw.choice((None, None, 5)),
            patience=draw.choice((None, None, None, 1)),
            keep=draw.choice(("best", "last")),
            ema=draw.choice((None, None, 0.9)),
            lr_scale=draw.choice(({}, {}, {"maps1*": 0.1})),
            max_norm=draw.choice(({}, {}, {}, {"maps2*": 0.5})),
        )
        several = draw.choice(
            ({}, {}, {"teacher_batches": 2}, {"teacher_batches": 3}, {"microbatch": 4, "batch_norm": "process"})
        )
        settings = Settings(
            device="cpu",
            precision=draw.choice(("float32", "bfloat16")),
            teacher_precision=draw.choice((None, None, "float32", "bfloat16")),
            teacher=draw.choice(("lean", "plain")),
            channels_last=draw.random() < 0.5,
            threads=1,
            **several,
        )
        answers = None
        if draw.random() < 0.6:
            answers = StoredAnswers(
                views=draw.randint(1, 3) * (config.repeats or 1),
                seed=draw.choice((None, 3)),
                taps=draw.choice(("live", "exact", "bfloat16")),
                logits=draw.choice(("exact", "exact", "float16")),
                clean=draw.random() < 0.2,
            )
        return cls(
            task, method, config, settings, answers, draw.choice((1, 1, 2)), draw.random() < 0.2,
            draw.random(), draw.randrange(1000), draw.random() < 0.4,
            method in OF_UNLABELLED or (task in PARTLY and draw.random() < 0.3),
        )  # fmt: skip

    def networks(self) -> tuple[nn.Module, nn.Module]:
        kind = Attending if self.method in ATTENTION else Net
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.weights)
            data = DATA[self.task]
            stride = 2 if self.task.startswith("detection") else 4
            return kind(data, 6).eval(), kind(data, 3, stride=stride)

    def distill(self, folder: Path, callback: Callback, *, together: bool = False) -> understudy.Distilled:
        teacher, student = self.networks()
        more = PARTLY[self.task].train.source.samples if self.unlabelled else None
        return understudy.distill(
            teacher, student, DATA[self.task], unlabelled=more, method=self.method, config=self.config,
            settings=self.settings, answers=self.answers, seeds=self.seeds, accept_weak=True, out=folder,
            baseline=self.baseline and self.method != "alone", callback=callback, together=together,
        )  # fmt: skip

    def run(self, folder: Path) -> str:
        """``"accepted"``, ``"diverged"``, or ``"refused: "`` and the reason.

        Raises:
            AssertionError: a run that went on is not the one that was never stopped.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            steps = Stops(None)
            try:
                self.distill(folder / "whole", steps)
            except FailedTrainingError:
                return "diverged"
            except UserError as error:
                if steps.done:
                    raise
                return f"refused: {error}"
            stops = Stops(max(1, int(self.stop * steps.done)))
            try:
                self.distill(folder / "stopped", stops, together=self.together)
            except KeyboardInterrupt:
                self.distill(folder / "stopped", Stops(None), together=self.together)
            students = [_students(folder / name) for name in ("whole", "stopped")]
            assert students[0], "there is no student"
            assert students[0].keys() == students[1].keys()
            assert students[0] == students[1], [name for name, old in students[0].items() if old != students[1][name]]
            assert write_report(folder / "whole").exists()
        return "accepted"


@dataclass
class Stops(Callback):
    """Counts the steps, and sends a signal after so many."""

    after: int | None
    done: int = field(default=0)

    def step(self, done: int, loss: float | None) -> None:
        self.done += 1
        if self.done == self.after:
            signal.raise_signal(signal.SIGTERM)


def _views(draw: random.Random, task: str) -> dict[str, Any]:
    """The augmentation, and how many views a batch holds."""
    if task == "links":
        return {}
    by_length = {}
    if task in ("text", "tags"):
        by_length = {"group_by_length": draw.choice((None, 2))}
        noise = TokenNoise(mask=draw.choice((0.1, 0.3)), drop=draw.choice((0.0, 0.3)), span=draw.choice((0.0, 0.5)))
        augmentation = Augmentation(tokens=draw.choice((None, noise)))
    elif task == "detection-3d":
        augmentation = Augmentation(turn=draw.choice((None, Turn())))
    else:
        moved = task in ("segmentation", "detection", "landmarks")
        possible = {**OF_PLACES, "jitter": OF_IMAGES["jitter"]} if moved and draw.random() < 0.8 else OF_IMAGES
        chosen = draw.sample(sorted(possible), draw.randint(0, min(4, len(possible))))
        augmentation = Augmentation(**{name: draw.choice(possible[name]) for name in chosen})
    repeats = draw.choice((None, None, 2)) if augmentation != Augmentation() else None
    return {"augmentation": augmentation, "repeats": repeats, **by_length}


def _students(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("student*.safetensors")}
