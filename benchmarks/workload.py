"""What everybody trains: two pairs of networks, made-up images of 100 classes, batches of 64, SGD with momentum."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from understudy import models
from understudy.data import Data, from_tensors

CLASSES, BATCH, SIZE = 100, 64, 32
MEAN, STD = (0.507, 0.487, 0.441), (0.267, 0.256, 0.276)
SGD = {"lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4}
WORKERS = 2
CALM = 0.1  # of random weights on residual branches: as they are, each layer doubles the errors of the last
SURE = 10.0  # by which the teacher's answers are sharper than its features


@dataclass(frozen=True)
class Pair:
    """A teacher, a student, the module of both whose output the hint is, and the last layer of a residual branch."""

    name: str
    teacher: str
    student: str
    tap: str
    branch_end: str


PAIRS = {
    "a": Pair("ResNet-56 -> ResNet-20", "resnet56", "resnet20", "layer2", "bn2"),
    "b": Pair("WRN-40-2 -> WRN-16-2", "wrn-40-2", "wrn-16-2", "block2", "conv2"),
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
        """One that knows its classes, as a trained one does: answers at random are ties, which low precision upsets."""
        network = self._network(self.pair.teacher, 0)
        network.load_state_dict(self._knowing)
        return network

    def student(self) -> nn.Module:
        return self._network(self.pair.student, 1)

    @cached_property
    def pixels(self) -> tuple[Tensor, Tensor]:
        """Each class is a pattern of its own, under noise."""
        generator = torch.Generator().manual_seed(0)
        patterns = torch.rand(CLASSES, 3, SIZE // 4, SIZE // 4, generator=generator)
        labels = torch.arange(self.images) % CLASSES
        images = F.interpolate(patterns, scale_factor=4)[labels]
        images = images + 0.03 * torch.randn(images.shape, generator=generator)
        return (255 * images.clamp(0, 1)).byte(), labels

    @cached_property
    def data(self) -> Data:
        """For Understudy, in memory; nothing is kept back for validation."""
        return from_tensors(self.pixels, validation=0, classes=CLASSES)

    @cached_property
    def batch(self) -> tuple[Tensor, Tensor]:
        """For the others: normalised images, which lie ready."""
        images, labels = self.pixels
        return _normalised(images[:BATCH]), labels[:BATCH]

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

    @cached_property
    def _knowing(self) -> dict[str, Tensor]:
        """The teacher's weights: statistics of the images, and a classifier by the nearest mean of a class."""
        images, labels = (values[: 10 * BATCH] for values in self.pixels)
        network = self._network(self.pair.teacher, 0)
        for name, module in network.named_modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None  # the mean of all batches
            if name.endswith(self.pair.branch_end):
                module.weight.data *= CALM
        classifier = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
        features: list[Tensor] = []
        classifier.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0]))
        with torch.no_grad():
            for mode in (True, False):
                features.clear()
                network.train(mode)
                for chunk in images.split(BATCH):
                    network(_normalised(chunk))
            found = torch.cat(features)
            found -= (middle := found.mean(0))
            means = torch.stack([found[labels == label].mean(0) for label in range(CLASSES)])
            classifier.weight.copy_(SURE * means / found.var(0).sum())
            classifier.bias.copy_(-classifier.weight @ middle)
        return network.state_dict()

    def _network(self, name: str, seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return models.build(name, classes=CLASSES)


class Tapped(nn.Module):
    """A network for libraries whose own ones answer with features, too: these are the tap alone."""

    def __init__(self, network: nn.Module, tap: str):
        super().__init__()
        self.network = network
        self.features: list[Tensor] = []
        network.get_submodule(tap).register_forward_hook(lambda *args: self.features.append(args[-1]))

    def both(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits and features."""
        self.features.clear()
        logits = self.network(images)
        return logits, list(self.features)


def _normalised(images: Tensor) -> Tensor:
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (MEAN, STD))
    return (images.float() / 255 - mean) / std


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
