"""A teacher that is asked about several batches at once answers as it would to each, wherever a training begins."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.conftest import Stopper
from understudy import Augmentation, Settings, TrainConfig, optimizers
from understudy.methods import find
from understudy.teacher.shared import SharedPasses
from understudy.training.interleaved import Interleaved
from understudy.training.interrupt import Stopped, StopRequest
from understudy.training.loop import Training

CONFIG = TrainConfig(
    epochs=2, batch=16, optimizer=optimizers.SGD(lr=0.05), augmentation=Augmentation(flip=True, mixup=0.3), keep="last"
)
CPU = Settings(device="cpu")
METHODS = {"kd": {}, "fitnets": {"pair": "conv -> conv2", "hint_epochs": 1}}


@pytest.fixture
def train(small, tmp_path):
    """One session of a training of four steps an epoch, which may be stopped; answers with it."""

    def session(together, method="kd", *, after=0, teacher=None, keep=False):
        stop = StopRequest()
        training = Training(
            small.networks()[1],
            [teacher or small.networks()[0]],
            find(method)(CONFIG, **METHODS[method]),
            small.data(),
            settings=replace(CPU, teacher_batches=together),
            checkpoint_folder=tmp_path / f"{method}{together}" if keep else None,
            callback=Stopper(stop, after),
            stop=stop,
        )
        if after:
            with pytest.raises(Stopped):
                training.run()
        else:
            training.run()
        return training

    return session


def of_batches(asked):
    """Without the few samples by which a teacher is tried or known again."""
    return [size for size in asked if size >= CONFIG.batch]


def weights(training):
    return training.student.state_dict()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("together", "epoch"), [(1, [16] * 4), (2, [32, 32]), (3, [48, 16]), (4, [64]), (9, [64])], ids=str
)
def test_the_student_learns_the_same_from_fewer_questions(train, asked, method, together, epoch):
    found = weights(train(together, method))
    assert of_batches(asked)[: len(epoch)] == epoch  # what comes after a hint stage's first epoch may be validation
    torch.testing.assert_close(found, weights(train(1, method)))


@pytest.mark.parametrize("after", range(1, 8))
def test_a_training_that_goes_on_asks_what_it_would_have_asked(train, asked, after):
    whole = weights(train(3))
    train(3, after=after, keep=True)
    asked.clear()
    place = after % 4
    found = weights(train(3, keep=True))
    rest = [[48, 16], [48, 16], [48, 16], [16]][place] + ([48, 16] if after < 4 else [])
    assert of_batches(asked) == rest
    assert all(torch.equal(found[name], value) for name, value in whole.items())


class OfItsBatch(nn.Module):
    """Its answers depend on who shares the batch."""

    def __init__(self, teacher):
        super().__init__()
        self.teacher = teacher

    def forward(self, inputs):
        return self.teacher(inputs - inputs.mean(0))


class Undecided(OfItsBatch):
    """Its answers depend on chance."""

    def forward(self, inputs):
        return self.teacher(inputs + torch.randn_like(inputs))


class Drawing(OfItsBatch):
    """It draws for nothing, and who draws after it gets other numbers."""

    def forward(self, inputs):
        torch.rand(1)
        return self.teacher(inputs)


@pytest.mark.parametrize("kind", [OfItsBatch, Undecided, Drawing])
def test_a_teacher_that_would_answer_otherwise_is_asked_batch_by_batch(train, asked, small, kind):
    training = train(4, teacher=kind(small.networks()[0]))
    assert of_batches(asked) == [16] * 8
    assert "the teacher is asked about one batch at a time" in " ".join(training.callback.notes)


def test_trainings_in_turn_share_what_was_asked_ahead(small, asked):
    shared, turns = SharedPasses(2), Interleaved()
    trainings = [
        Training(
            small.networks()[1],
            [small.networks()[0]],
            find("kd")(replace(CONFIG, epochs=epochs), temperature=temperature),
            small.data(),
            settings=replace(CPU, teacher_batches=3),
            shared=shared,
        )
        for epochs, temperature in ((1, 2.0), (2, 4.0))
    ]
    teacher, student = small.networks()
    stages = find("kd")(CONFIG, temperature=4.0)
    by_itself = Training(student, [teacher], stages, small.data(), settings=trainings[0].settings)
    for training in trainings:
        turns.add(training)
    for _ in trainings:
        turns.until_one_ends()
    assert of_batches(asked) == [48, 16] * 2
    by_itself.run()
    assert all(torch.equal(weights(trainings[1])[name], value) for name, value in weights(by_itself).items())
