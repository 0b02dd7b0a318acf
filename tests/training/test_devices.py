"""What concerns accelerators, as far as it shows without one: compiled networks, and the order of a GPU's queues."""

import functools
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch

from tests.refusing import Refusing, without_autocast
from understudy import Augmentation, Objective, Settings
from understudy.config import settings as settings_module
from understudy.config.optimizers import SGD
from understudy.config.train import TrainConfig
from understudy.methods import find
from understudy.objective.side_stream import Beside
from understudy.sharding import sharded
from understudy.teacher import stand_in as teaching
from understudy.teacher.folding import copied
from understudy.terms import CE, KD
from understudy.training.callbacks import Callback
from understudy.training.loop import Training
from understudy.training.progress import Progress


@pytest.mark.parametrize(("method", "own"), [("kd", {}), ("fitnets", {"pair": "conv -> conv1", "hint_epochs": 1})])
def test_a_compiled_training_does_what_a_plain_one_does(small, monkeypatch, method, own):
    compiled = []

    def compile(network):
        compiled.append(network)
        return torch_compile(network)

    torch_compile = functools.partial(torch.compile, backend="aot_eager")
    monkeypatch.setattr(settings_module.torch, "compile", compile)
    ends = []
    for settings in (Settings(), Settings(compile=True)):
        teacher, student = small.networks()
        stages = find(method)(TrainConfig(epochs=2, batch=36, optimizer=SGD(lr=0.01)), **own)
        Training(student, [teacher], stages, small.data(), settings=settings).run()
        ends.append(student.state_dict())
    assert student in compiled
    assert not any(name.startswith("_orig_mod") for name in ends[1])
    for name, value in ends[0].items():
        torch.testing.assert_close(ends[1][name], value)


def test_a_network_that_is_sharded_is_on_the_device_before_anything_runs_there():
    devices = []

    def stop(network):
        devices.append(next(network.parameters()).device.type)
        raise LookupError

    with pytest.raises(LookupError):
        sharded(torch.nn.Linear(2, 2), torch.rand(1, 2), torch.device("meta"), prepare=stop)
    assert devices == ["meta"]


def test_settings_in_force_leave_cudnn_switched_on_and_its_numbers_as_they_are():
    names = ("enabled", "allow_tf32", "benchmark_limit", "deterministic", "benchmark")
    before = [getattr(torch.backends.cudnn, name) for name in names]
    with Settings(device="cpu").in_force():
        inside = [getattr(torch.backends.cudnn, name) for name in names]
    assert before[0]
    assert inside == [*before[:3], True, False]
    assert [getattr(torch.backends.cudnn, name) for name in names] == before


def test_the_teacher_works_beside_the_student_and_is_waited_for(small, monkeypatch):
    done = []

    class Stream:
        def __init__(self, name):
            self.name = name

        def wait_stream(self, other):
            done.append(f"{self.name} waits for {other.name}")

    @contextmanager
    def stream(queue):
        done.append(f"to {queue.name}")
        yield
        done.append("back")

    main = Stream("main")
    cuda = SimpleNamespace(Stream=lambda device: Stream("side"), current_stream=lambda device: main, stream=stream)
    monkeypatch.setattr("understudy.objective.side_stream.torch", SimpleNamespace(cuda=cuda))
    queue = Beside(torch.device("cuda"))
    teacher, student = small.networks()
    for name, network in (("teacher", teacher), ("student", student)):
        network.register_forward_pre_hook(lambda *_, name=name: done.append(name))
    objective = Objective(CE() + KD(), student=student, teacher=teacher, queue=queue)
    done.clear()
    objective(torch.rand(2, 3, 8, 8), torch.tensor([0, 1]))
    assert done == ["side waits for main", "to side", "teacher", "back", "student", "main waits for side"]


VIEWS = Augmentation(shift=1, flip=True, cutout=2)
STEP = TrainConfig(epochs=2, batch=12, optimizer=SGD(lr=0.01), augmentation=VIEWS, ema=0.9, max_norm={"conv*": 1.0})


@pytest.mark.parametrize(
    ("method", "own", "batches"),
    [("kd", {}, 2), ("fitnets", {"pair": "conv -> conv1", "hint_epochs": 1}, 1), ("can", {}, 1)],
)
def test_a_whole_step_asks_nothing_of_the_device(small, monkeypatch, method, own, batches):
    def copy_of(self, number, teacher, inputs, settings, note):
        return teaching.StandIn(copied(teacher.network), teacher, settings)  # judged before the stage, by its values

    monkeypatch.setattr(teaching.StandIns, "_of", copy_of)
    monkeypatch.setattr("understudy.teacher.batching.company_matters", lambda *_: None)
    settings = Settings(device="meta", teacher_batches=batches)
    teacher, student = small.networks()
    stages, told = find(method)(STEP, **own), Callback()
    losses = []
    told.step = lambda done, loss: losses.append(loss)
    training = Training(student, [teacher], stages, small.data(), settings=settings, callback=told)
    without_autocast(monkeypatch)
    for number, stage in enumerate(stages):
        training.place = Progress(stage=number)
        training.open(stage)
        feed = training.batches(stage)
        training.advance(stage, next(feed), 0.0)  # the first step may fill what is kept
        with Refusing():
            for _ in range(2):  # an epoch has more
                training.advance(stage, next(feed), 0.0)
    assert losses == [None] * 3 * len(stages)
