"""Whose samples lead a FitNet's second stage: the curriculum view of FitNets (section 2.3), into results/curriculum.md.

Usage: python scripts/curriculum.py --weights resnet56-4bfd9763.th [--root DATA] [--seeds 3] [--out FILE]

ResNet-56 teaches the 11-layer network of FitNets' depth experiment on 2,000 images of CIFAR-10, by the method `fitnets`
with the paper's temperature and weights. After every epoch of the second stage, the gradient of the loss with respect
to the student's logits is taken for each of these images, and its length is summed over the quarters of the images in
the order of the teacher's confidence. Some minutes on one core.
"""

import argparse
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from understudy import data as datasets
from understudy.answers import StoredAnswers
from understudy.config.optimizers import AdamW
from understudy.config.schedules import Cosine
from understudy.config.settings import Settings
from understudy.config.train import TrainConfig
from understudy.data import Augmentation, Data
from understudy.data.parts import fewer
from understudy.measure.machine import machine, versions
from understudy.models import NetworkSpec, Normalized, load_weights
from understudy.plans.stages import method_stages
from understudy.training.callbacks import Callback
from understudy.training.evaluate import answers
from understudy.training.loop import Training
from understudy.training.records import Epoch

ROOT = Path(__file__).resolve().parent.parent
SAMPLES, QUARTERS, TEMPERATURE, FIRST, LAST = 2_000, 4, 3.0, 4.0, 1.0
CONFIG = TrainConfig(
    epochs=40,
    batch=50,
    optimizer=AdamW(lr=0.002, weight_decay=0.05),
    schedule=Cosine(warmup=2),
    augmentation=Augmentation(shift=4, flip=True),
    keep="last",
)
SETTINGS = Settings(precision="bfloat16", threads=1)
METHOD = {"pair": "layer3 -> conv6", "temperature": TEMPERATURE, "weight": FIRST, "final_weight": LAST}
SHOWN = (1, 8, 16, 24, 32)  # epochs of the second stage


@dataclass(frozen=True)
class Shares:
    """Of one epoch: each quarter's share of the gradients, of its loss and of labels alone, and its accuracy."""

    weight: float
    whole: tuple[float, ...]
    labels: tuple[float, ...]
    accuracy: tuple[float, ...]


class Curriculum(Callback):
    """Measures the shares after each epoch of the second stage."""

    def __init__(self, student: nn.Module, data: Data, teacher_logits: Tensor, epochs: int):
        self.student, self.data, self.teacher_logits, self.epochs = student, data, teacher_logits, epochs
        self.found: list[Shares] = []
        self.counts = False

    def stage_begins(self, name: str, objective: str, epochs: int, epoch: int) -> None:
        self.counts = epochs == self.epochs

    def epoch_ends(self, epoch: Epoch) -> None:
        if self.counts:
            logits, labels = answers(self.student, self.data.train, SETTINGS)
            weight = FIRST + (LAST - FIRST) * (len(self.found) + 1) / self.epochs
            self.found.append(shares(logits, self.teacher_logits, labels, weight))
            self.student.train()


def shares(logits: Tensor, teacher_logits: Tensor, labels: Tensor, weight: float) -> Shares:
    """The shares of the quarters, from the least to the most confident one."""
    soft = (teacher_logits / TEMPERATURE).softmax(1)
    hard = logits.softmax(1) - F.one_hot(labels, logits.shape[1])
    whole = hard + weight / TEMPERATURE * ((logits / TEMPERATURE).softmax(1) - soft)
    quarters = soft.amax(1).argsort().chunk(QUARTERS)

    def of(gradient: Tensor) -> tuple[float, ...]:
        lengths = gradient.norm(dim=1)
        return tuple((lengths[quarter].sum() / lengths.sum()).item() for quarter in quarters)

    right = (logits.argmax(1) == labels).float()
    return Shares(weight, of(whole), of(hard), tuple(right[quarter].mean().item() for quarter in quarters))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True, help="of akamaster's ResNet-56")
    parser.add_argument("--root", type=Path, help="the data folder")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "curriculum.md")
    given = parser.parse_args()
    data = fewer(datasets.load("cifar10", given.root, validation=500), SAMPLES)
    network = NetworkSpec("resnet56", {"shortcut": "A"}).build(10, 3, 32)
    load_weights(network, given.weights)
    teacher = Normalized(network, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]).eval()
    teacher_logits, _ = answers(SETTINGS.place(teacher), data.train, SETTINGS)
    with tempfile.TemporaryDirectory() as folder:
        stored = StoredAnswers(folder=folder, views=10, taps="exact", seed=0)
        courses = [course(seed, teacher, data, teacher_logits, stored) for seed in range(given.seeds)]
    confidence = (teacher_logits / TEMPERATURE).softmax(1).amax(1).sort().values.chunk(QUARTERS)
    means = [quarter.mean().item() for quarter in confidence]
    given.out.write_text("\n".join(page(courses, means)) + "\n", encoding="utf-8")
    print(given.out.read_text(encoding="utf-8"))


def course(seed: int, teacher: nn.Module, data: Data, teacher_logits: Tensor, stored: StoredAnswers) -> list[Shares]:
    """The shares after each epoch of the second stage of one training."""
    torch.manual_seed(seed)
    student = Normalized(
        NetworkSpec("fitnet-30m-11", {}).build(10, 3, 32), [0.491, 0.482, 0.447], [0.247, 0.243, 0.262]
    )
    stages = method_stages("fitnets", CONFIG, METHOD, student, teacher, data)
    curriculum = Curriculum(student, data, teacher_logits, stages[1].config.epochs)
    Training(student, [teacher], stages, data, seed=seed, settings=SETTINGS, callback=curriculum, stored=stored).run()
    return curriculum.found


def page(courses: Sequence[Sequence[Shares]], confidence: Sequence[float]) -> Iterator[str]:
    """The page: a table of some epochs, means and standard deviations over the seeds."""
    yield "# The curriculum view of FitNets, measured\n"
    yield "    python scripts/curriculum.py --weights resnet56-4bfd9763.th\n"
    yield (
        f"How the gradient of a FitNet's second stage is divided among {SAMPLES:,} training images of CIFAR-10, in\n"
        "quarters by the teacher's confidence, which is its largest softened probability: the mean of it is\n"
        f"{confidence[0]:.2f} in the least certain quarter and {confidence[-1]:.2f} in the most certain one. The\n"
        "share of an image is the length of its gradient with respect to the logits; of equal images a quarter would\n"
        "have 25 %. "
        f"Mean ± standard deviation over {len(courses)} seeds, in percent.\n"
    )
    yield "| epoch | λ | share, least certain | most certain | by labels alone, least | most | right, least | most |"
    yield "|---:|---:|---:|---:|---:|---:|---:|---:|"
    for epoch in SHOWN:
        of_seeds = [found[epoch - 1] for found in courses]
        columns = [
            [shares.whole[0] for shares in of_seeds],
            [shares.whole[-1] for shares in of_seeds],
            [shares.labels[0] for shares in of_seeds],
            [shares.labels[-1] for shares in of_seeds],
            [shares.accuracy[0] for shares in of_seeds],
            [shares.accuracy[-1] for shares in of_seeds],
        ]
        yield f"| {epoch} | {of_seeds[0].weight:.2f} | " + " | ".join(map(spread, columns)) + " |"
    facts = machine()
    yield (
        f"\nPyTorch {versions()['torch']}, {facts['threads']} thread of an {facts['processor']}, bfloat16.\n"
        "The teacher is a ResNet-56 of akamaster/pytorch_resnet_cifar10."
    )


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation of shares, in percent."""
    deviation = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):.1f}{deviation}"


if __name__ == "__main__":
    main()
