"""What every test shares: one thread, a small data set, two small networks, and a workplace for recipes."""

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, settings
from PIL import Image
from torch import Tensor, nn

from understudy import data as datasets
from understudy import recipe as recipes
from understudy.config import hardware
from understudy.data import Data
from understudy.measure.machine import ProcessorTime
from understudy.objective import Objective
from understudy.runs import Run
from understudy.taps import Answer
from understudy.training.callbacks import Callback
from understudy.training.interrupt import StopRequest
from understudy.training.loop import Training
from understudy.training.records import Epoch

CLASSES = 3

# A property is tried on the same examples in every run; `--hypothesis-profile=default` draws new ones.
# A busy machine is no failure, so that nothing is timed.
settings.register_profile("same", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("same")


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNDERSTUDY_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _float32_by_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings by rule are the same on every machine on which the tests run."""
    monkeypatch.setattr(hardware, "computes_in_bfloat16", lambda device: False)


@pytest.fixture(autouse=True)
def _no_other_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests run side by side, which is no part of what latencies say in them."""
    monkeypatch.setattr(ProcessorTime, "now", lambda: None)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)  # what is tested is small, and cores are shared


class Student(nn.Module):
    """Everything that makes resuming hard: batch norm, dropout, convolutions in channels_last."""

    def __init__(self, width: int = 4, dropout: float = 0.2):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.bn2 = nn.BatchNorm2d(2 * width)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(2 * width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn1(self.conv1(x)).relu()
        x = self.bn2(self.conv2(x)).relu()
        logits: Tensor = self.head(self.drop(x.mean((2, 3))))
        return logits


class Teacher(nn.Module):
    """Right by construction: of these pictures, the brightest channel is the class."""

    def __init__(self, scale: float = 30.0):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.scale = nn.Parameter(torch.tensor([scale]))

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.conv(x)  # what a hint can be taken from
        return self.scale * x.mean((2, 3)) + 0 * hidden.mean((1, 2, 3))[:, None]


def pictures(count: int, seed: int, size: int = 8) -> tuple[Tensor, Tensor]:
    """Noise in three channels, of which one is a little brighter: the class."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    images = generator.integers(0, 160, (count, 3, size, size))
    images[np.arange(count), labels] += 90
    return torch.from_numpy(images.astype(np.uint8)), torch.from_numpy(labels)


def make_data(count: int = 90, *, validation: int | float = 18, test: bool = True) -> Data:
    """A fresh data set, since one that was opened stays open."""
    return datasets.from_tensors(pictures(count, 0), pictures(30, 1) if test else None, validation=validation)


def make_networks(seed: int = 0) -> tuple[nn.Module, nn.Module]:
    """A teacher and a student, the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Teacher(), Student()


@pytest.fixture
def small() -> SimpleNamespace:
    return SimpleNamespace(
        data=make_data, networks=make_networks, pictures=pictures, Student=Student, Teacher=Teacher, classes=CLASSES
    )


class Stopper(Callback):
    """Keeps what is noted, and asks to stop after so many steps of this session."""

    def __init__(self, stop: StopRequest | None = None, after: int = 0):
        self.stop, self.left, self.notes = stop, after, list[str]()

    def step(self, done: int, loss: float | None) -> None:
        self.left -= 1
        if self.left == 0:
            assert self.stop is not None
            self.stop.signal_number = 15

    def note(self, text: str) -> None:
        self.notes.append(text)


class StopsAfter(Callback):
    """Asks to stop after so many epochs."""

    def __init__(self, epochs: int):
        self.left, self.stop = epochs, StopRequest()

    def epoch_ends(self, epoch: Epoch) -> None:
        self.left -= 1
        if not self.left:
            self.stop.signal_number = 15


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Of how many samples each teacher was asked, time by time."""
    sizes: list[int] = []
    ask = Objective.ask

    def counted(self: Objective, inputs: Tensor) -> tuple[Answer, ...]:
        sizes.extend([len(inputs)] * len(self.teachers))
        return ask(self, inputs)

    monkeypatch.setattr(Objective, "ask", counted)
    return sizes


NETWORKS = f"""
import torch
from torch import Tensor, nn

CLASSES = {CLASSES}

{inspect.getsource(Student)}
{inspect.getsource(Teacher)}
def student(width=4):
    return Student(width)

def teacher():
    return Teacher()
"""

PICTURES = """
seeds = [0]
[data]
name = "folder"
root = "pictures"
size = 8
validation = 15
"""

RECIPE = (
    PICTURES
    + """[teacher]
network = "smallnets:teacher"
weights = "teacher.safetensors"
mean = [0, 0, 0]
std = [1, 1, 1]
[student]
network = "smallnets:student"
[train]
epochs = 4
batch = 10
optimizer = { name = "sgd", lr = 0.05 }
[settings]
threads = 1
[methods.fitnets]
pair = "conv -> conv1"
hint_epochs = 2
"""
)

RECIPE_ALONE = (
    PICTURES
    + """[student]
network = "smallnets:student"
[train]
epochs = 1
batch = 10
[settings]
threads = 1
[methods.alone]
"""
)


def make_workplace(folder: Path) -> Path:
    """Pictures in folders, a module with networks, a teacher's weights and a recipe."""
    for part, count, seed in (("train", 60, 0), ("test", 18, 1)):
        images, labels = pictures(count, seed)
        for number, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
            place = folder / "pictures" / part / "abc"[label]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(place / f"{number:03d}.png")
    teacher, _ = make_networks()
    safetensors.torch.save_file(teacher.state_dict(), folder / "teacher.safetensors")
    (folder / "smallnets.py").write_text(NETWORKS)
    (folder / "recipe.toml").write_text(RECIPE)
    return folder


@pytest.fixture(scope="session")
def _workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_workplace(tmp_path_factory.mktemp("workplace"))


@pytest.fixture
def workplace(_workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which commands and recipes are run; its files are shared, so tests do not change them."""
    monkeypatch.chdir(_workplace)
    monkeypatch.syspath_prepend(_workplace)
    return _workplace


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Latencies are measured in a blink."""
    from understudy.runs import result

    measured = result.latencies
    monkeypatch.setattr(result, "latencies", lambda *args, seconds: measured(*args, seconds=0.0))


@pytest.fixture
def make_run(workplace: Path, quick: None, tmp_path: Path) -> Callable[..., Run]:
    """A run of the workplace's recipe, or of another text, with changes as ``--set`` takes them."""

    def make(*changes: str, text: str = RECIPE, out: Path | None = None, **options: object) -> Run:
        recipe = recipes.parse(text, "recipe.toml", changes)
        return Run(recipe, out or tmp_path / "run", trusted=["smallnets"], **options)  # type: ignore[arg-type]

    return make


@pytest.fixture
def diverging(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The names of trainings whose loss is no number."""
    lost, check = set[str](), Training._check_finite

    def checked(self: Training, batch: Any = None) -> None:
        if self.name in lost:
            raise self._diverged("the loss is no longer a number")
        check(self, batch)

    monkeypatch.setattr(Training, "_check_finite", checked)
    return lost
