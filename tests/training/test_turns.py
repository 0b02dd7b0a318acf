"""Trainings in turn: each ends as it would alone, and passes of the teacher are shared by whoever may share them."""

from dataclasses import replace

import pytest
import torch

from understudy import Augmentation, Settings, TrainConfig, optimizers
from understudy.data.parts import Batch
from understudy.methods import find
from understudy.teacher import shared as sharing
from understudy.teacher.shared import SharedPasses
from understudy.training import checkpoints
from understudy.training.interleaved import Interleaved
from understudy.training.loop import Training

CONFIG = TrainConfig(
    epochs=3, batch=24, optimizer=optimizers.SGD(lr=0.05), augmentation=Augmentation(flip=True), keep="last"
)
STEPS = 9  # of 72 samples
KNOWN = 1  # time that each training asks a teacher to know it again


def trainings(small, kinds, shared=None):
    """One for each (config, seed, temperature), all from one teacher and on one data set."""
    teacher, data = small.networks()[0], small.data()
    return [
        Training(
            small.networks(seed)[1],
            [teacher],
            find("kd")(config, temperature=temperature),
            data,
            seed=seed,
            settings=Settings(device="cpu"),
            shared=shared,
        )
        for config, seed, temperature in kinds
    ]


def weights(training):
    return {name: value.tolist() for name, value in training.student.state_dict().items()}


def in_turn(small, kinds, first=0):
    """All of them together, the first one ``first`` steps ahead."""
    begun = trainings(small, kinds, SharedPasses(len(kinds)))
    turns = Interleaved()
    for number, training in enumerate(begun):
        turns.add(training)
        if number == 0:
            ahead = turns._under_way[0][1]
            for _ in range(first):
                next(ahead)
    for _ in begun:
        turns.until_one_ends()
    return begun


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ([(CONFIG, 0, 1.0), (CONFIG, 0, 4.0), (CONFIG, 0, 8.0)], STEPS),
        ([(CONFIG, 0, 4.0), (CONFIG, 1, 4.0)], 2 * STEPS),
        ([(replace(CONFIG, order_seed=5), 0, 4.0), (replace(CONFIG, order_seed=5), 1, 4.0)], STEPS),
        ([(CONFIG, 0, 4.0), (replace(CONFIG, augmentation=Augmentation()), 0, 4.0)], 2 * STEPS),
        ([(CONFIG, 0, 4.0), (replace(CONFIG, epochs=2), 0, 4.0)], STEPS),
    ],
    ids=["temperatures", "seeds", "seeds-in-one-order", "views", "lengths"],
)
def test_each_ends_as_alone_and_the_teacher_answers_once_where_batches_are_alike(small, asked, kinds, expected):
    together = in_turn(small, kinds)
    assert len(asked) == expected + KNOWN * len(kinds)
    alone = trainings(small, kinds)
    for training in alone:
        training.run()
    assert [weights(one) for one in together] == [weights(one) for one in alone]
    assert weights(together[0]) != weights(together[1])


def test_whoever_comes_later_goes_with_the_others_who_do(small, asked):
    waiting = trainings(small, [(CONFIG, 0, temperature) for temperature in (1.0, 2.0, 4.0, 8.0)], SharedPasses(2))
    turns = Interleaved()
    for training in waiting[:2]:
        turns.add(training)
    ended = []
    for following in (*waiting[2:], None, None):
        ended.append(turns.until_one_ends())
        if following:
            turns.add(following)
    assert ended == waiting
    assert len(asked) == 2 * STEPS + 4 * KNOWN


def test_two_teachers_of_equal_weights_are_not_mistaken_for_each_other(small, asked):
    class Scaled(small.Teacher):
        factor = 1.0

        def forward(self, x):
            return self.factor * super().forward(x)

    found = trainings(small, [(CONFIG, 0, 4.0), (CONFIG, 0, 4.0)], SharedPasses(2))
    teachers = [Scaled(), Scaled()]
    teachers[1].load_state_dict(teachers[0].state_dict())
    teachers[1].factor = 0.5
    turns = Interleaved()
    for training, teacher in zip(found, teachers, strict=True):
        training.teachers = [training.settings.place(teacher)]
        turns.add(training)
    for _ in found:
        turns.until_one_ends()
    assert len(asked) == 2 * (STEPS + KNOWN)
    assert weights(found[0]) != weights(found[1])


def test_a_teacher_that_draws_answers_each_one_anew(small, asked):
    class Drawing(small.Teacher):
        def forward(self, x):
            return super().forward(x) + torch.rand(())

    found, turns = trainings(small, [(CONFIG, 0, 4.0), (CONFIG, 0, 8.0)], SharedPasses(2)), Interleaved()
    teacher = Drawing()
    for training in found:
        training.teachers = [training.settings.place(teacher)]
        turns.add(training)
    for _ in found:
        turns.until_one_ends()
    assert len(asked) == 2 * (STEPS + KNOWN)


def test_those_that_cannot_save_do_not_keep_others_from_it(small, tmp_path):
    begun, told = trainings(small, [(CONFIG, 0, 1.0), (CONFIG, 0, 4.0)]), []
    turns = Interleaved()
    for number, training in enumerate(begun):
        training.checkpoint_folder = tmp_path / str(number)
        training.callback.note = told.append
        turns.add(training)
    for _, steps in turns._under_way:
        for _ in range(2):
            next(steps)
    begun[0].sums.fill_(float("nan"))
    turns.leave()
    assert len(told) == 1
    assert "no longer a number" in told[0]
    assert checkpoints.newest(tmp_path / "1").state["place"]["steps"] == 2


def test_who_is_behind_catches_up_and_then_shares(small, asked):
    in_turn(small, [(CONFIG, 0, 1.0), (CONFIG, 0, 4.0)], first=4)
    assert len(asked) == 4 + STEPS + 2 * KNOWN


@pytest.mark.parametrize(("device", "seconds"), [("cpu", 2.0), ("meta", 0.0)])
def test_seconds_are_spared_where_the_clock_sees_the_work(monkeypatch, device, seconds):
    now = iter([1.0, 3.0])
    monkeypatch.setattr(sharing.time, "monotonic", lambda: next(now))
    numbers = torch.arange(2)
    batch = Batch(torch.zeros(2, 3, device=device), numbers, numbers, numbers=numbers)
    shared = SharedPasses(1)
    assert [shared.answers("alike", batch, tuple)[1] for _ in range(2)] == [0.0, seconds]
