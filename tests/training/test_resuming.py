"""A training that was stopped ends with the same student, bit for bit, as one that was not."""

import hashlib
import json
import random
import threading
from dataclasses import replace

import pytest
import torch

from tests.conftest import Stopper
from understudy.config.optimizers import SGD, Adagrad, AdamW, RMSProp
from understudy.config.schedules import Cosine, OneCycle
from understudy.config.settings import Settings
from understudy.config.train import TrainConfig
from understudy.data import Augmentation
from understudy.errors import UserError
from understudy.methods import find
from understudy.models import student as product
from understudy.training import checkpoints, saving
from understudy.training.interrupt import Stopped, StopRequest
from understudy.training.loop import Training

PLAIN = TrainConfig(epochs=5, batch=16, optimizer=SGD(lr=0.05), schedule=Cosine(warmup=0.5), keep="last")
STEPS = 4 * PLAIN.epochs  # 72 training samples
CONFIGS = {
    "sgd, every view, averaged weights, best kept": replace(
        PLAIN, augmentation=Augmentation(shift=1, flip=True, cutout=2, mixup=0.4), ema=0.9, keep="best"
    ),
    "adamw, one cycle, schedules of single layers": replace(
        PLAIN, optimizer=AdamW(lr=0.01), schedule=OneCycle(), lr_scale={"conv1*": 0.1}, ema=0.99
    ),
    "rmsprop, bounded kernels, patience": replace(
        PLAIN, optimizer=RMSProp(lr=0.003), max_norm={"conv*": 0.5}, patience=2, keep="best"
    ),
    "a momentum for each term": replace(
        PLAIN, optimizer=SGD(lr=0.05, momentum=0.8, momentum_gap=0.1), lr_scale={"conv1*": 0.1}
    ),
    "adagrad": replace(PLAIN, optimizer=Adagrad(lr=0.02)),
}
METHODS = {"fitnets": {"pair": "conv -> conv2", "hint_epochs": 2}, "fitnets-joint": {"pair": "conv -> conv2"}}


@pytest.fixture
def train(small, tmp_path):
    """One session of a training; answers with its student, or None where it was stopped."""

    def session(config, *, method="fitnets", after=0, folder=None, channels_last=True, every=1e9, notes=None):
        teacher, student = small.networks()
        stop = StopRequest()
        stopper = Stopper(stop, after)
        training = Training(
            student,
            [teacher],
            find(method)(config, **METHODS[method]),
            small.data(),
            seed=3,
            settings=Settings(channels_last=channels_last, device="cpu"),
            checkpoint_folder=folder and folder / "checkpoints",
            metrics=folder and folder / "metrics.jsonl",
            callback=stopper,
            stop=stop,
            every=every,
        )
        try:
            ended = training.run()
        except Stopped:
            return None
        finally:
            if notes is not None:
                notes += stopper.notes
        return training, ended

    return session


def same(one, other):
    (a, a_ended), (b, b_ended) = one, other
    assert a.student.state_dict().keys() == b.student.state_dict().keys()
    for name, value in a.student.state_dict().items():
        assert torch.equal(value, b.student.state_dict()[name]), name
    for name, value in a.last.items():
        assert torch.equal(value, b.last[name]), name
    assert a_ended.stages == b_ended.stages
    return True


def without_seconds(path):
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in path.read_text().splitlines()]


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_training_stopped_at_random_steps_ends_like_an_unbroken_one(train, tmp_path, name, channels_last):
    config, dice = CONFIGS[name], random.Random(name)
    unbroken = train(config, channels_last=channels_last, folder=tmp_path / "unbroken")
    stops = [dice.randint(1, 7), dice.randint(1, 5), dice.randint(1, 4), dice.randint(1, 3), 1]  # in both stages
    for after in stops:
        found = train(config, channels_last=channels_last, folder=tmp_path / "broken", after=after)
        if found:
            break
    else:
        found = train(config, channels_last=channels_last, folder=tmp_path / "broken")
    assert same(found, unbroken)
    for folder, (training, _) in {"unbroken": unbroken, "broken": found}.items():
        product.save_weights(tmp_path / folder / product.WEIGHTS, training.student.state_dict())
    written = [(tmp_path / folder / product.WEIGHTS).read_bytes() for folder in ("unbroken", "broken")]
    assert written[0] == written[1]
    assert without_seconds(tmp_path / "unbroken/metrics.jsonl") == without_seconds(tmp_path / "broken/metrics.jsonl")


def test_every_single_step_of_both_stages_can_be_the_last_of_a_session(train, tmp_path):
    config = CONFIGS["sgd, every view, averaged weights, best kept"]
    unbroken = train(config)
    sessions = 0
    while not (found := train(config, folder=tmp_path, after=1)):
        sessions += 1
    assert sessions == STEPS
    assert same(found, unbroken)


def test_saving_and_folders_change_nothing(train, tmp_path):
    config = CONFIGS["adamw, one cycle, schedules of single layers"]
    assert same(
        train(config, method="fitnets-joint"), train(config, method="fitnets-joint", folder=tmp_path, every=0.0)
    )


def damaged(path, how):
    data = bytearray(path.read_bytes())
    if how == "flipped":
        data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data[: len(data) // 3] if how == "truncated" else data if how == "flipped" else b""))


@pytest.mark.parametrize("how", ["flipped", "truncated", "empty"])
def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before_and_says_so(train, tmp_path, how):
    config, notes = PLAIN, []
    unbroken = train(config)
    assert train(config, folder=tmp_path, after=11, every=0.0) is None
    newest = sorted((tmp_path / "checkpoints").glob("*.checkpoint"))
    assert len(newest) == 2
    damaged(newest[-1], how)
    assert same(train(config, folder=tmp_path, notes=notes), unbroken)
    assert len(notes) == 1
    assert str(newest[-1]) in notes[0]
    assert "falling back to the one before" in notes[0]


def test_where_all_checkpoints_are_damaged_the_training_starts_anew_and_can_be_stopped_again(train, tmp_path):
    config, notes = CONFIGS["sgd, every view, averaged weights, best kept"], []
    unbroken = train(config, folder=tmp_path / "unbroken")
    folder = tmp_path / "broken"
    assert train(config, folder=folder, after=15, every=0.0) is None
    for path in (folder / "checkpoints").glob("*.checkpoint"):
        damaged(path, "flipped")
    assert train(config, folder=folder, after=6, every=0.0, notes=notes) is None
    assert "starting anew" in notes[-1]
    notes.clear()
    found = train(config, folder=folder, notes=notes)
    assert notes == []  # the damaged ones, from further on, do not stand in the way of the new ones
    assert same(found, unbroken)
    assert without_seconds(folder / "metrics.jsonl") == without_seconds(tmp_path / "unbroken/metrics.jsonl")


def test_two_checkpoints_are_kept_and_hold_what_was_written(tmp_path):
    for number in (1, 2, 5):
        checkpoints.write(tmp_path, number, {"n": number, "x": [torch.arange(number), None, 0.1, {"a": (True, "b")}]})
    assert len(list(tmp_path.iterdir())) == 2
    state = checkpoints.newest(tmp_path).state
    assert state["n"] == 5
    assert state["x"][1:] == [None, 0.1, {"a": [True, "b"]}]
    assert torch.equal(state["x"][0], torch.arange(5))
    with pytest.raises(TypeError, match="cannot hold"):
        checkpoints.write(tmp_path, 6, {"n": object()})
    checkpoints.clear(tmp_path)
    assert not tmp_path.exists()


def test_tensors_of_every_kind_and_layout_come_back_from_a_checkpoint(tmp_path):
    kinds = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int8]
    tensors = [torch.randn(3, 2, 4, 5).mul(9).to(kind) for kind in (*kinds, torch.uint8, torch.bool)]
    tensors += [torch.tensor(7), torch.empty(0, 3), tensors[0].to(memory_format=torch.channels_last), tensors[1].mT]
    back = checkpoints.read(checkpoints.write(tmp_path, 1, tensors))
    assert all(a.dtype == b.dtype and torch.equal(a, b) for a, b in zip(tensors, back, strict=True))


def test_a_checkpoint_of_another_format_and_one_that_makes_no_sense_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "FORMAT", 99)
    path = checkpoints.write(tmp_path, 1, {"x": torch.ones(2)})
    monkeypatch.undo()
    with pytest.raises(UserError, match="has format 99, and this version of Understudy goes on from formats 2 and 3"):
        checkpoints.newest(tmp_path)
    body = path.read_bytes()[:-32].replace(b"[0, 8]", b"[0, 9]")
    path.write_bytes(body + hashlib.sha256(body).digest())
    with pytest.raises(checkpoints.DamagedError, match="outside the file"):
        checkpoints.read(path)


def test_checkpoints_that_take_long_to_write_are_further_apart(train, tmp_path, monkeypatch):
    written, now, write = [], [0.0], checkpoints.write_flat

    def slow(*state):
        written.append(now[0])
        now[0] += 30.0
        return write(*state)

    def clock():
        now[0] += 1.0
        return now[0]

    monkeypatch.setattr("understudy.training.loop.time.monotonic", clock)
    monkeypatch.setattr(checkpoints, "write_flat", slow)
    assert train(replace(PLAIN, epochs=200), folder=tmp_path, every=2.0) is not None
    stages = 2  # each begins with one
    assert stages < len(written) <= stages + now[0] / (30.0 / 0.02)


def test_a_large_state_is_written_beside_the_training_from_a_copy(train, tmp_path, monkeypatch):
    whole = train(PLAIN)
    monkeypatch.setattr(saving, "BESIDE", 0)
    threads, write = set(), checkpoints.write_flat

    def noted(*state):
        threads.add(threading.current_thread().name)
        return write(*state)

    monkeypatch.setattr(checkpoints, "write_flat", noted)
    assert train(PLAIN, folder=tmp_path, every=0.0, after=7) is None  # the last one is waited for
    assert threads == {"checkpoint", threading.current_thread().name}
    assert same(train(PLAIN, folder=tmp_path, every=0.0), whole)


def test_what_is_written_beside_is_the_state_of_its_moment_and_its_error_is_raised(tmp_path, monkeypatch):
    monkeypatch.setattr(saving, "BESIDE", 0)
    saver, value = saving.Saver(tmp_path, 1.0, shares_cores=False), torch.zeros(3)
    begin, write = threading.Event(), checkpoints.write_flat

    def waiting(*state):
        begin.wait()
        return write(*state)

    monkeypatch.setattr(checkpoints, "write_flat", waiting)
    saver.write(1, {"value": value})
    value += 1  # a step of the training
    begin.set()
    saver.finish()
    assert checkpoints.newest(tmp_path).state["value"].tolist() == [0, 0, 0]
    assert saver.until_next == max(1.0, saver.paused / saving.SHARE, 2 * saver.written)

    def full(*state):
        raise UserError("cannot write: no space")

    monkeypatch.setattr(checkpoints, "write_flat", full)
    saver.write(2, {"value": value})
    saver._thread.join()
    assert saver.until_next == 0.0  # the error is raised after the next step
    with pytest.raises(UserError, match="no space"):
        saver.write(3, {"value": value})
    saver.finish()
    monkeypatch.setattr(saving, "usable_memory", lambda: 11)  # a copy takes 12 bytes
    with pytest.raises(UserError, match="no space"):  # at once
        saver.write(4, {"value": value})
