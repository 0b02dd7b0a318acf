"""People or not: CIFAR-100's five classes of people against the rest, in the size of FitNets' networks for faces.

FitNets' own data (AFLW) are faces and other patches of 16 x 16; this set stands for them where AFLW cannot be had.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F

from understudy import randomness
from understudy.bounds import Interval
from understudy.data.dataset import Access, Contents, DataSet
from understudy.data.sets.cifar import CIFAR100_FILES
from understudy.data.sets.cifar import read as read_cifar
from understudy.data.sources import InMemory
from understudy.tasks.multilabel import Binary

PEOPLE = (2, 11, 35, 46, 98)  # baby, boy, girl, man, woman
SIDE = 16


@dataclass(frozen=True)
class PeopleSettings:
    """Which of the other images are taken.

    Args:
        others: how many for each image of people, drawn at random, always the same ones.
    """

    others: Annotated[int, Interval(ge=1, le=19)] = 1


def read(settings: PeopleSettings, access: Access) -> Contents:
    """CIFAR-100 in its official binary version, halved in size."""
    contents = read_cifar(CIFAR100_FILES, access)
    assert contents.open_test is not None
    whole_test = contents.open_test
    train = _people(contents.train, settings.others)
    task = Binary.of(train.targets, names=("other", "people"))
    return Contents(train, lambda: _people(whole_test(), settings.others), task=task, facts=contents.facts)


def _people(source: object, others: int) -> InMemory:
    assert isinstance(source, InMemory)
    images, labels = source.samples, source.targets
    assert isinstance(images, torch.Tensor)
    assert isinstance(labels, torch.Tensor)
    people = torch.isin(labels, torch.tensor(PEOPLE))
    rest = randomness.shuffled(0, 0, (~people).nonzero().flatten(), "others")[: others * int(people.sum())]
    chosen = torch.cat((people.nonzero().flatten(), rest)).sort().values
    small = F.avg_pool2d(images[chosen].float(), images.shape[2] // SIDE).round().to(torch.uint8)
    return InMemory(small, people[chosen].long())


CIFAR100_PEOPLE = DataSet("cifar100-people", "people or not, of CIFAR-100, 16 x 16, colour", read, PeopleSettings)
