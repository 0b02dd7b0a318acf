"""What ``SideBySide`` gains on a CPU: seeds of a student that learn by kd, one after another and as one program.

    python scripts/seeds_side_by_side.py

A line has the student, the number of seeds, milliseconds of processor time that a step of all seeds takes in both ways
on one thread, the gain, and how far the weights are apart after ten steps, relative to their norm. A step has 64 images
of 28 x 28 for each seed, and the teacher's answers are there already.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from understudy import losses
from understudy.models import SideBySide, build

BATCH, CLASSES, STEPS, ROUNDS = 64, 10, 10, 9
STUDENTS: dict[str, Callable[[], nn.Module]] = {
    "perceptron, 32 hidden": lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 32), nn.ReLU(), nn.Linear(32, CLASSES)),
    "resnet8, widths 4, 8, 16": lambda: build("resnet8", channels=1, widths=[4, 8, 16]),
    "resnet8, widths 16, 32, 64": lambda: build("resnet8", channels=1, widths=[16, 32, 64]),
}
SEEDS = (4, 16)
LEAST = 0.1  # seconds of a round


class Seeds:
    """Students of several seeds, and the steps that train them on samples of their own."""

    def __init__(self, made: list[nn.Module]):
        self.students = SideBySide(made)
        self.optimizer = torch.optim.SGD(self.students.parameters(), lr=0.01, momentum=0.9)
        generator, each = torch.Generator().manual_seed(0), (len(made), BATCH)
        self.images = torch.rand(*each, 1, 28, 28, generator=generator)
        self.labels = torch.randint(CLASSES, each, generator=generator)
        self.answers = torch.randn(*each, CLASSES, generator=generator)

    def side_by_side(self) -> None:
        self._step(self.students(self.images, each=True))

    def one_by_one(self) -> None:
        networks = self.students.networks
        self._step(torch.stack([network(x) for network, x in zip(networks, self.images, strict=True)]))

    def _step(self, logits: Tensor) -> None:
        rows = logits.flatten(0, 1)
        soft = losses.kd(rows, self.answers.flatten(0, 1), temperature=4)
        loss = (losses.cross_entropy(rows, self.labels.flatten()) + 0.9 * soft).view(len(logits), -1).mean(1)
        self.optimizer.zero_grad()
        loss.sum().backward()
        self.optimizer.step()


def made(name: str, count: int) -> list[nn.Module]:
    networks = list[nn.Module]()
    for seed in range(count):
        torch.manual_seed(seed)
        networks.append(STUDENTS[name]())
    return networks


def apart(one: nn.Module, other: nn.Module) -> float:
    first, second = (torch.cat([p.detach().flatten() for p in seeds.parameters()]) for seeds in (one, other))
    return float((first - second).norm() / second.norm())


def row(name: str, count: int) -> str:
    networks = made(name, count)
    both = [Seeds(copy.deepcopy(networks)) for _ in range(2)]
    for _ in range(STEPS):
        both[0].one_by_one()
        both[1].side_by_side()
    off = apart(both[0].students, both[1].students)
    calls = max(1, round(LEAST / seconds(both[0].one_by_one, 1)))
    rounds = [(seconds(both[0].one_by_one, calls), seconds(both[1].side_by_side, calls)) for _ in range(ROUNDS)]
    taken = " | ".join(f"{1e3 * statistics.median(way):.1f}" for way in zip(*rounds, strict=True))
    gain = statistics.median(one / side for one, side in rounds)
    return f"| {name} | {count} | {taken} | {gain:.2f} | {off:.0e} |"


def seconds(step: Callable[[], None], calls: int) -> float:
    """Processor time of a call."""
    began = time.process_time()
    for _ in range(calls):
        step()
    return (time.process_time() - began) / calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(STUDENTS), default=list(STUDENTS))
    torch.set_num_threads(1)
    for name in parser.parse_args().only:
        for count in SEEDS:
            print(row(name, count), flush=True)


if __name__ == "__main__":
    main()
