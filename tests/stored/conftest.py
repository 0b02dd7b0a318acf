"""One short training, with stored answers and without."""

import pytest
import torch

from tests.conftest import Stopper
from understudy import StoredAnswers
from understudy.config.optimizers import SGD
from understudy.config.schedules import Cosine
from understudy.config.settings import Settings
from understudy.config.train import TrainConfig
from understudy.data import Augmentation
from understudy.methods import find
from understudy.objective import Objective
from understudy.training.interrupt import Stopped, StopRequest
from understudy.training.loop import Training

EVERY = Augmentation(shift=1, flip=True, cutout=2, mixup=1.0)
CONFIG = TrainConfig(epochs=4, batch=16, optimizer=SGD(lr=0.05), schedule=Cosine(), augmentation=EVERY, keep="last")
FITNETS = {"pair": "conv -> conv2", "hint_epochs": 2}


@pytest.fixture
def asked(monkeypatch):
    """How often the teachers were asked with a whole batch, to train on or to validate."""
    counted = []
    ask = Objective.ask

    def counting(self, inputs):
        if len(inputs) == CONFIG.batch:
            counted.append(len(inputs))
        return ask(self, inputs)

    monkeypatch.setattr(Objective, "ask", counting)
    return counted


@pytest.fixture
def train(small):
    """One training; answers with its student's weights and what was noted, or with no weights where it was stopped."""

    def session(
        stored=None,
        *,
        method="kd",
        config=CONFIG,
        settings=None,
        after=0,
        out=None,
        seed=3,
        teacher=None,
        teachers=None,
        data=None,
        **own,
    ):
        usual, student = small.networks()
        stop = StopRequest()
        notes = Stopper(stop, after)
        stages = method if isinstance(method, list) else find(method)(config, **own)
        training = Training(
            student,
            teachers or [teacher or usual],
            stages,
            data or small.data(),
            seed=seed,
            settings=settings or Settings(device="cpu"),
            checkpoint_folder=out and out / "checkpoints",
            stored=stored,
            callback=notes,
            stop=stop,
            every=1e9,
        )
        try:
            training.run()
        except Stopped:
            return None, notes.notes
        return {name: value.clone() for name, value in training.student.state_dict().items()}, notes.notes

    return session


@pytest.fixture
def at(tmp_path):
    """Stored answers in a folder of this test's."""

    def options(views=CONFIG.epochs, folder="stored", **others):
        return StoredAnswers(views=views, folder=str(tmp_path / folder), **others)

    return options


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def files(folder):
    return sorted(folder.rglob("*.answers"))
