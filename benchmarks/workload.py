"""What everybody trains: two pairs of networks, random images of 100 classes, batches of 64, SGD with momentum."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from understudy import models
from understudy.data import Data, from_tensors

CLASSES, BATCH, SIZE = 100, 64, 32
MEAN, STD = (0.507, 0.487, 0.441), (0.267, 0.256, 0.276)
SGD = {"lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4}
WORKERS = 2


@dataclass(frozen=True)
class Pair:
    """A teacher, a student, and the module of both whose output the hint is."""

    name: str
    teacher: str
    student: str
    tap: str


PAIRS = {
    "a": Pair("ResNet-56 -> ResNet-20", "resnet56", "resnet20", "layer2"),
    "b": Pair("WRN-40-2 -> WRN-16-2", "wrn-40-2", "wrn-16-2", "block2"),
}


@dataclass(frozen=True)
class Loop:
    """One library's training: a step on a batch that lies ready, and an epoch with its data."""

    step: Callable[[], object]
    epoch: Callable[[], object]


@dataclass(frozen=True)
class Work:
    """A pair with its data; networks are new at every call, with the same weights."""

    pair: Pair
    images: int

    def teacher(self) -> nn.Module:
        return self._network(self.pair.teacher, 0)

    def student(self) -> nn.Module:
        return self._network(self.pair.student, 1)

    @cached_property
    def pixels(self) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (self.images, 3, SIZE, SIZE), dtype=torch.uint8, generator=generator)
        return images, torch.randint(0, CLASSES, (self.images,), generator=generator)

    @cached_property
    def data(self) -> Data:
        """For Understudy, in memory; nothing is kept back for validation."""
        return from_tensors(self.pixels, validation=0, classes=CLASSES)

    @cached_property
    def batch(self) -> tuple[Tensor, Tensor]:
        """For the others: normalised images, which lie ready."""
        images, labels = self.pixels
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (MEAN, STD))
        return (images[:BATCH].float() / 255 - mean) / std, labels[:BATCH]

    @cached_property
    def loader(self) -> Any:
        """For the others: torchvision's pipeline, as their examples have it; the workers stay between epochs."""
        from torch.utils.data import DataLoader

        return DataLoader(
            _Pictures(*self.pixels),
            BATCH,
            shuffle=True,
            drop_last=True,
            num_workers=WORKERS,
            persistent_workers=True,
        )

    def _network(self, name: str, seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return models.build(name, classes=CLASSES)


class _Pictures(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """As torchvision's CIFAR-100: arrays that become pictures, are cropped, mirrored and normalised one by one."""

    def __init__(self, images: Tensor, labels: Tensor):
        from torchvision import transforms

        self.arrays = images.permute(0, 2, 3, 1).contiguous().numpy()
        self.labels = labels.tolist()
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(SIZE, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        from PIL import Image

        return self.transform(Image.fromarray(self.arrays[index])), self.labels[index]


def each(loader: Any, step: Callable[[Tensor, Tensor], object]) -> None:
    """An epoch of a loop that is the user's own."""
    batches: Iterator[tuple[Tensor, Tensor]] = iter(loader)
    for images, labels in batches:
        step(images, labels)
