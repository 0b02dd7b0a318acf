"""What accelerators need, tried on a CPU: float16 with a scaler, exact algorithms, too little memory, few calls."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from tests.conftest import StopsAfter
from tests.training.test_microbatch import trained
from understudy import TrainConfig, UserError
from understudy.config import exactness
from understudy.config.optimizers import SGD, ClampedRMSprop, MaxNorm
from understudy.config.settings import Settings
from understudy.data import from_tensors
from understudy.errors import FailedTrainingError
from understudy.methods import find
from understudy.plans.key import arithmetic
from understudy.taps import CLASSIFICATION
from understudy.training.averaging import Average
from understudy.training.callbacks import Callback
from understudy.training.evaluate import figures
from understudy.training.interrupt import Stopped
from understudy.training.loop import Training


def test_in_float16_a_training_ends_near_that_in_float32():
    whole = trained()
    for name, value in trained(precision="float16").items():
        torch.testing.assert_close(value, whole[name], rtol=0.1, atol=0.02)
    in_parts = trained(precision="float16", microbatch=5)
    assert all(torch.isfinite(value).all() for value in in_parts.values())


def run(folder: Path, method: str = "can", **how: object) -> Training:
    torch.manual_seed(0)
    networks = [nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)) for _ in range(2)]
    data = from_tensors((torch.randn(60, 6), torch.arange(60) % 3), validation=12)
    stages = find(method)(TrainConfig(epochs=3, batch=12, optimizer=SGD(lr=0.05)))
    settings = Settings(device="cpu", precision="float16")
    training = Training(networks[0], networks[1:], stages, data, settings=settings, checkpoint_folder=folder, **how)
    training.run()
    return training


def test_the_scale_of_the_loss_is_a_part_of_the_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made = torch.amp.GradScaler
    monkeypatch.setattr(torch.amp, "GradScaler", lambda device: made(device, init_scale=4.0, growth_interval=3))
    whole = run(tmp_path / "whole")
    assert whole.stage_state.scaling.state()["scale"] == 4.0 * 2 ** (3 * 4 // 3)
    stops = StopsAfter(1)
    with pytest.raises(Stopped):
        run(tmp_path / "run", callback=stops, stop=stops.stop)
    resumed = run(tmp_path / "run")
    assert resumed.stage_state.scaling.state() == whole.stage_state.scaling.state()
    for name, value in whole.student.state_dict().items():
        assert torch.equal(resumed.student.state_dict()[name], value)


def test_steps_that_overflow_are_left_out_and_told_and_the_scale_halved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    made = torch.amp.GradScaler
    monkeypatch.setattr(torch.amp, "GradScaler", lambda device: made(device, init_scale=2.0**120))
    torch.manual_seed(0)
    before = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).state_dict()
    notes: list[str] = []
    callback = Callback()
    monkeypatch.setattr(callback, "note", notes.append)
    training = run(tmp_path, "kd", callback=callback)
    assert training.stage_state.scaling.state()["scale"] == 2.0 ** (120 - 3 * 4)
    assert [note.split(": ")[0].split(", epoch ")[1] for note in notes] == ["1", "2", "3"]
    assert all("4 of 4 steps were left out, since their gradients overflowed" in note for note in notes)
    for name, value in training.student.state_dict().items():
        assert torch.equal(value, before[name])


def test_gradients_that_overflow_at_any_scale_end_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(nn.Tanh, "forward", lambda self, x: x + (0 * x).sqrt())  # its gradient is no number
    made = torch.amp.GradScaler
    monkeypatch.setattr(torch.amp, "GradScaler", lambda device: made(device, init_scale=8.0))
    with pytest.raises(FailedTrainingError, match=r"epoch 1: 4 of 4 steps were left out, .* precision = \"bfloat16\""):
        run(tmp_path, "kd")


@pytest.mark.parametrize(
    ("method", "reason"),
    [("at-gradient", "within the loss"), ("inputs", "within the loss"), ("dot", "of its own"), ("auto", "auto")],
)
def test_gradients_that_no_scale_protects_are_refused(method: str, reason: str):
    from understudy.training.scaling import check_float16

    reads = SimpleNamespace(gradients=method == "at-gradient", input_gradients=method == "inputs")
    objective = SimpleNamespace(terms=SimpleNamespace(reads=reads), balance=1 if method == "auto" else None)
    settings = Settings(device="cpu", precision="float16")
    with pytest.raises(UserError, match=reason):
        check_float16(objective, settings, termwise=method == "dot")
    check_float16(objective, Settings(device="cpu"), termwise=True)


def flags() -> tuple[object, ...]:
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    mode = torch.get_deterministic_debug_mode(), torch.utils.deterministic.fill_uninitialized_memory
    return (*mode, cudnn.deterministic, cudnn.benchmark, matmul.fp32_precision, cudnn.conv.fp32_precision)


@pytest.mark.parametrize(
    ("exact", "tf32", "inside"),
    [
        (True, None, (1, False, True, False, "none", "tf32")),
        (False, True, (0, True, False, True, "tf32", "tf32")),
        (True, False, (1, False, True, False, "ieee", "ieee")),
    ],
)
def test_exact_and_tf32_set_the_flags_of_a_gpu_for_a_while(exact: bool, tf32: bool | None, inside: tuple[object, ...]):
    before = flags()
    with exactness.algorithms(torch.device("cuda"), exact=exact, tf32=tf32):
        assert flags() == inside
    assert flags() == before
    with exactness.algorithms(torch.device("cpu"), exact=exact, tf32=tf32):
        assert flags()[0] == before[0]


def test_cublas_adds_up_in_a_fixed_order_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(exactness.WORKSPACE, raising=False)
    exactness.prepare(torch.device("cpu"))
    assert exactness.WORKSPACE not in os.environ
    exactness.prepare(torch.device("cuda"))
    assert os.environ[exactness.WORKSPACE] == ":4096:8"
    monkeypatch.setenv(exactness.WORKSPACE, ":16:8")
    exactness.prepare(torch.device("cuda"))
    assert os.environ[exactness.WORKSPACE] == ":16:8"


def test_settings_of_gpus_are_in_the_keys_of_trainings_on_gpus_alone(monkeypatch: pytest.MonkeyPatch):
    other = {"exact": False, "tf32": True}
    assert arithmetic(Settings(device="cpu", **other), True) == arithmetic(Settings(device="cpu"), True)
    monkeypatch.setattr(Settings, "torch_device", property(lambda self: torch.device("cuda")))
    monkeypatch.setattr("understudy.plans.key.processor", lambda device: ["a GPU"])
    assert arithmetic(Settings(), True).keys().isdisjoint(other)
    assert other.items() <= arithmetic(Settings(**other), True).items()


class Small(nn.Linear):
    """A network on a device that holds so many samples."""

    def __init__(self, most: int):
        super().__init__(6, 3)
        self.most, self.seen = most, list[int]()

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(len(x))
        if len(x) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return super().forward(x)


def test_an_evaluation_without_memory_enough_takes_smaller_batches():
    torch.manual_seed(0)
    network, data = Small(60), from_tensors((torch.randn(1120, 6), torch.arange(1120) % 3), validation=1100)
    assert data.validation is not None
    measured = figures(network, data.validation, CLASSIFICATION, Settings(device="cpu"))
    assert network.seen[:5] == [500, 250, 125, 63, 32]
    assert (max(network.seen[5:]), sum(network.seen[4:])) == (32, 1100)
    network.most = 500
    assert measured == pytest.approx(figures(network, data.validation, CLASSIFICATION, Settings(device="cpu")))
    network.most = 0
    with pytest.raises(torch.OutOfMemoryError):
        figures(network, data.validation, CLASSIFICATION, Settings(device="cpu"))


def test_a_step_without_memory_enough_says_which_microbatch_to_take(monkeypatch: pytest.MonkeyPatch):
    data = from_tensors((torch.randn(60, 6), torch.arange(60) % 3))
    stages = find("alone")(TrainConfig(epochs=1, batch=20, optimizer=SGD(lr=0.05)))

    def train(**settings: int) -> None:
        Training(Small(5), [], stages, data, settings=Settings(device="cpu", **settings), name="alone-0").run()

    with pytest.raises(UserError, match=r"alone-0, stage .*: cpu has no memory for a step with 20 .*microbatch = 10,"):
        train()
    with pytest.raises(UserError, match=r"with 10 samples: set settings.microbatch = 5,"):
        train(microbatch=10)
    train(microbatch=5)

    def full(self: Small, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            raise torch.OutOfMemoryError("CUDA out of memory")
        return nn.Linear.forward(self, x)

    monkeypatch.setattr(Small, "forward", full)
    with pytest.raises(UserError, match=r"a step with one sample: take a smaller network"):
        train(microbatch=1)


class Counting(TorchDispatchMode):
    def __enter__(self):
        self.calls = 0
        return super().__enter__()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.calls += func.namespace == "aten" and "detach" not in func.name()
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("what", ["average", "rmsprop", "max-norm"])
def test_weights_are_updated_in_as_few_calls_however_many_there_are(what: str):
    def calls(layers: int) -> int:
        network = nn.Sequential(*(nn.Linear(4, 4) for _ in range(layers)))
        for parameter in network.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer = ClampedRMSprop(network.parameters(), 0.1, 0.9, 1e-5, 1e-4)
        optimizer.step()
        updates = {
            "average": Average(network, 0.9).update,
            "rmsprop": optimizer.step,
            "max-norm": MaxNorm(network, {"*.weight": 0.1}).apply,
        }
        with Counting() as counting:
            updates[what]()
        return counting.calls

    per_layer = {"average": 0, "rmsprop": 0, "max-norm": 2}[what]  # the norms of the rows of each kernel
    assert calls(12) - calls(2) == 10 * per_layer
