"""Copies that stand in for teachers: they answer alike, or are not used; the teacher stays as it is."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from understudy.answers import StoredAnswers
from understudy.config.optimizers import SGD
from understudy.config.settings import Settings
from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.errors import UserError
from understudy.methods import find
from understudy.models import NetworkSpec, Normalized
from understudy.objective import Objective
from understudy.taps import CLASSIFICATION, Answer, Tap, TappedNetwork
from understudy.teacher import stand_in as teaching
from understudy.teacher.folding import copied, fold
from understudy.teacher.stand_in import StandIns
from understudy.terms import CE, KD, GradientAT, Hint
from understudy.training.loop import Training
from understudy.training.stage_state import StageState

CPU, TAP = Settings(device="cpu"), Tap("conv")
CONFIG = TrainConfig(epochs=2, batch=16, optimizer=SGD(lr=0.05), keep="last")
NETWORKS = {
    "resnet": ("resnet8", {"widths": [4, 4, 8]}, ["layer1", "layer2.0.bn1", "layer2.0.conv2", "layer3.0.bn1:input"]),
    "wide resnet": ("wrn-10-1", {}, ["block1", "block2.0.conv1", "block2.0.bn2"]),
    "plain": ("plain2", {}, []),
}


def experienced(network):
    """With statistics and scales that leave no batch norm an identity."""
    generator = torch.Generator().manual_seed(1)
    for name, value in (*network.named_buffers(), *network.named_parameters()):
        if name.endswith(("running_mean", "running_var")) or value.ndim == 1:
            value.data.copy_(torch.rand(value.shape, generator=generator) + 0.5)
    return network.eval()


def built(kind, size=8):
    name, settings, taps = NETWORKS[kind]
    torch.manual_seed(0)
    return experienced(NetworkSpec(name, settings).build(3, 3, size)), taps


def norms(network):
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def notes_of(terms, teacher, small, settings=CPU, stand_ins=None):
    """How the teacher is asked for these terms, and what is noted on the way."""
    notes: list[str] = []
    data, (_, student) = small.data(), small.networks()
    example = data.example(2, torch.device("cpu"))
    objective = Objective(terms, student=student, teacher=teacher, example=example)
    return objective, (stand_ins or StandIns()).use(objective, [teacher], data, settings, notes.append), notes


@pytest.mark.parametrize("kind", ["resnet", "wide resnet"])
def test_a_folded_network_answers_alike_at_every_tap_and_has_fewer_batch_norms(kind):
    network, taps = built(kind)
    x = torch.rand(5, 3, 8, 8)
    copy = copied(network)
    folded = fold(copy, lambda: TappedNetwork(copy, taps)(x).values())
    with torch.no_grad():
        before, after = TappedNetwork(network, taps)(x), TappedNetwork(copy, taps)(x)
    assert folded
    assert norms(copy) == norms(network) - len(folded)
    torch.testing.assert_close(after.logits, before.logits, rtol=1e-4, atol=1e-5)
    for tap in before:
        torch.testing.assert_close(after[tap], before[tap], rtol=1e-4, atol=1e-5)


def test_a_layer_whose_own_output_is_read_is_not_folded():
    network, _ = built("resnet")
    for taps, spared in (((), 0), (("layer2.0.conv1",), 1), (("layer2.0.bn1:input",), 1), (("layer2.0.bn1",), 0)):
        copy = copied(network)
        fold(copy, lambda taps=taps, copy=copy: TappedNetwork(copy, taps)(torch.rand(2, 3, 8, 8)).values())
        assert norms(copy) == spared


def test_layers_that_somebody_hung_something_on_and_norms_without_statistics_are_let_be():
    hooked, weighed = nn.Conv2d(3, 4, 1), nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 1))
    hooked.register_forward_hook(lambda module, args, output: 2 * output)
    own = nn.BatchNorm2d(4, track_running_stats=False)
    layers = [hooked, nn.BatchNorm2d(4), weighed, nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1), own]
    network = experienced(nn.Sequential(*layers))
    assert fold(network, lambda: [network(torch.rand(2, 3, 4, 4))]) == []


class Twice(nn.Module):
    """Reads a layer's output before and behind its batch norm."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.head = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Linear(4, 3)

    def forward(self, x):
        x = self.conv(x)
        return self.head((x + self.bn(x)).mean((2, 3)))


class Overwriting(Twice):
    def forward(self, x):
        x = self.conv(x)
        x += 1
        return self.head(self.bn(x).mean((2, 3)))


class OtherwiseForMany(Twice):
    """Looks like a network that can be folded as long as it is shown few samples."""

    def forward(self, x):
        few, x = len(x) < 5, self.conv(x)
        return self.head((self.bn(x) if few else x + self.bn(x)).mean((2, 3)))


@pytest.mark.parametrize("kind", [Twice, Overwriting])
def test_a_layer_that_others_read_too_is_not_folded(small, kind):
    torch.manual_seed(0)
    teacher = experienced(kind())
    objective, forms, notes = notes_of(KD(), teacher, small)
    assert (forms, notes) == (["float32"], [])
    x = small.data().example(4, torch.device("cpu"))
    assert torch.equal(objective.ask(x)[0].logits, teacher(x))


def test_where_folding_changes_the_answers_it_is_undone_and_told(small):
    torch.manual_seed(0)
    teacher = experienced(OtherwiseForMany())
    objective, forms, notes = notes_of(KD(), teacher, small)
    assert forms == ["float32"]
    assert len(notes) == 1
    assert "batch norms as they are: folded, its answers differ by" in notes[0]
    x = small.data().example(8, torch.device("cpu"))
    assert torch.equal(objective.ask(x)[0].logits, teacher(x))


def test_low_precision_is_used_where_the_answers_stay_the_same_and_refused_with_figures_where_not(small):
    low = replace(CPU, teacher_precision="bfloat16")
    for scale, accepted in ((30.0, True), (3000.0, False)):
        torch.manual_seed(0)
        teacher = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
        teacher[4].weight.data.mul_(scale)
        _, forms, notes = notes_of(KD(), teacher, small, low)
        assert forms == ["bfloat16" if accepted else "float32"]
        assert accepted == (notes == [])
        if not accepted:
            assert "asked in float32: in bfloat16, its answers differ by a KL of" in notes[0]
    with torch.no_grad():
        teacher[4].weight.mul_(1e30)
    _, _, notes = notes_of(Hint("0 -> conv1"), teacher, small, low)
    assert notes == []  # of a stage of hints, only the hidden values count


@pytest.mark.parametrize(("apart", "looked_at", "changed"), [(0.005, 2, False), (0.015, 4, False), (0.03, 4, True)])
def test_a_few_samples_speak_for_low_precision_only_where_they_leave_no_doubt(apart, looked_at, changed):
    asked = []

    def copy_of_it(inputs):
        asked.append(inputs)
        return Answer(None, {TAP: inputs * (1 + apart)}, CLASSIFICATION)

    batches = [torch.rand(4, 3) for _ in range(4)]
    full = lambda inputs: Answer(None, {TAP: inputs}, CLASSIFICATION)  # noqa: E731
    assert bool(teaching._changed_by(copy_of_it, full, batches)) is changed  # 2 % of the length are allowed
    assert len(asked) == looked_at


def test_the_teacher_stays_as_it_is_and_terms_still_see_it(small):
    network, _ = built("resnet")
    teacher = Normalized(network, [0.5] * 3, [0.2] * 3).eval()
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    count, where = norms(teacher), {name: id(value) for name, value in teacher.named_parameters()}
    terms = CE() + KD() + Hint("layer2 -> conv2")
    objective, forms, _ = notes_of(terms, teacher, small, replace(CPU, teacher_precision="bfloat16"))
    assert forms[0].startswith("bfloat16, without ")
    data = small.data()
    reading = objective.read(data.example(8, torch.device("cpu")), data.train.targets[:8])
    objective.judge(reading).loss.backward()
    assert reading.teacher_network is teacher
    values = reading.teacher["layer2"]
    assert values.dtype == torch.float32  # for what learns in float32, though it was answered in less
    assert torch.equal(values.bfloat16().float(), values)
    assert norms(teacher) == count
    assert {name: id(value) for name, value in teacher.named_parameters()} == where
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_a_copy_of_a_teacher_that_learns_on_is_not_asked_for_its_twin(small):
    teacher, _ = small.networks()
    twin = copy.deepcopy(teacher)
    inputs = small.data().example(4, torch.device("cpu"))
    kept, _, _ = notes_of(KD(), teacher, small, CPU)
    with torch.no_grad():
        teacher.scale.mul_(0.5)
    objective, _, _ = notes_of(KD(), twin, small, CPU)
    assert torch.allclose(objective.ask(inputs)[0].logits, twin(inputs))
    assert torch.allclose(kept.ask(inputs)[0].logits, teacher(inputs))


@pytest.mark.parametrize("terms", [CE() + GradientAT("layer2 -> conv2"), KD()])
def test_gradients_through_the_teacher_and_plain_settings_ask_the_teacher_itself(small, terms):
    teacher, _ = built("resnet")
    settings = CPU if terms != KD() else replace(CPU, teacher="plain")
    called = []
    teacher.register_forward_hook(lambda *_: called.append(1))
    objective, forms, _ = notes_of(terms, teacher, small, settings)
    called.clear()
    objective.ask(small.data().example(4, torch.device("cpu")))
    assert called == [1]
    assert forms == ["float32"]


@pytest.mark.parametrize("method", ["kd", "fitnets"])
def test_a_training_with_a_lean_teacher_ends_beside_that_with_the_plain_one(small, method):
    ends = []
    for how in ("lean", "plain"):
        teacher, _ = built("resnet")
        _, student = small.networks()
        own = {"pair": "layer2 -> conv2", "hint_epochs": 1} if method == "fitnets" else {}
        stages = find(method)(CONFIG, **own)
        Training(student, [teacher], stages, small.data(), settings=replace(CPU, teacher=how)).run()
        ends.append(student.state_dict())
    for name, value in ends[0].items():
        torch.testing.assert_close(value, ends[1][name], rtol=1e-2, atol=1e-3)


class Counted(nn.Conv2d):
    """Counts its calls, those of its copies too."""

    calls: dict[str, int] = {}  # noqa: RUF012

    def __init__(self, name, *arguments):
        super().__init__(*arguments)
        self.name = name

    def forward(self, x):
        self.calls[self.name] = self.calls.get(self.name, 0) + 1
        return super().forward(x)


def chain(role):
    layers = [Counted(f"{role} {n}", 3, 3, 3, 1, 1) for n in range(4)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def test_a_stage_of_hints_runs_neither_network_deeper_than_its_deepest_tap(small):
    data = small.data(validation=0)
    stage = Stage("hints", Hint("1 -> 2") + Hint("0 -> 0"), CONFIG)
    stage_state = StageState(stage, chain("student"), [chain("teacher")], data, CPU)
    (batch, *_) = stage_state.batches(0)
    Counted.calls.clear()
    loss, _ = stage_state.losses(batch, 0.0)
    stage_state.step(loss)
    assert Counted.calls == {"teacher 0": 1, "teacher 1": 1, "student 0": 1, "student 1": 1, "student 2": 1}


class Scaled(nn.Module):
    """What it does depends on a number that neither its weights nor its layers show."""

    def __init__(self, network, by):
        super().__init__()
        self.network, self.by = network, by

    def forward(self, images):
        return self.by * self.network(images)


def test_a_teacher_is_compared_once_in_a_run_and_one_that_answers_otherwise_anew(small, monkeypatch):
    judged = []
    judge, stand_ins = teaching._judged, StandIns()
    monkeypatch.setattr(teaching, "_judged", lambda *args: judged.append(args) or judge(*args))
    forms = []
    for by in (1.0, 1.0, 2.0):
        network, _ = built("resnet")
        objective, form, _ = notes_of(KD(), Scaled(network, by), small, replace(CPU, precision="bfloat16"), stand_ins)
        images = small.data().example(4, torch.device("cpu"))
        (answer,) = objective.ask(images)
        torch.testing.assert_close(answer.logits.float(), by * network(images), rtol=0.05, atol=0.05)
        forms.append(form)
    assert len(judged) == 2
    assert forms[0] == forms[1] == forms[2]


def test_a_teacher_that_is_yet_to_be_trained_runs_in_low_precision_without_a_comparison(small):
    torch.manual_seed(0)
    teacher = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    teacher[4].weight.data.mul_(3000.0)
    low = replace(CPU, teacher_precision="bfloat16")
    assert notes_of(KD(), teacher, small, low)[1] == ["float32"]
    stand_ins = StandIns()
    assert notes_of(KD(), stand_ins.untrained(teacher), small, low, stand_ins)[1:] == (["bfloat16"], [])
    assert "has_learned" not in vars(teacher)  # nothing is written onto a user's module


class Lost(nn.Module):
    """A teacher that answers with NaN or infinity to dark images."""

    def __init__(self, network, value):
        super().__init__()
        self.network, self.value = network, value

    def forward(self, x):
        answer = self.network(x)
        dark = x.mean((1, 2, 3)) < x.mean()
        return torch.where(dark.unsqueeze(1), self.value, answer)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("stored", [None, "stored"])
def test_a_teacher_that_answers_with_nan_ends_the_training_and_is_named(small, tmp_path, value, stored):
    """Soft targets of NaN counted as none at all."""
    teacher, student = small.networks()
    answers = stored and StoredAnswers(folder=str(tmp_path / stored))
    stages = [Stage("only", CE() + KD(), CONFIG)]
    training = Training(student, [Lost(teacher, value)], stages, small.data(), settings=CPU, stored=answers)
    with pytest.raises(
        UserError, match=r"the teacher answers with NaN or infinity \(stage 'only', epoch 1.*'logits', sa"
    ):
        training.run()
