"""Each finding of the pre-flight, and that it leaves everything as it was."""

import re
from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from tests.tasks.test_tasks import made, networks
from understudy.answers import StoredAnswers
from understudy.config import hardware as clock
from understudy.config.optimizers import SGD
from understudy.config.schedules import Constant, Cosine
from understudy.config.settings import Settings
from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.data import Augmentation, Part, from_tensors
from understudy.errors import UserError
from understudy.methods import find
from understudy.objective.term import Reads
from understudy.objective.weights import linear
from understudy.tasks import Text
from understudy.tasks.text import vocabulary_of
from understudy.terms import CE, KD, PKT, SP, GradientAT, Hint, RKDAngle, RKDDistance, Term, as_sum
from understudy.training import preflight
from understudy.training.loop import Training

CONFIG, CPU = TrainConfig(batch=16), Settings(device="cpu")
ENDS = "conv -> conv2"
RELATIONS = [RKDDistance(ENDS), RKDAngle(ENDS), SP("conv -> conv2"), PKT(ENDS)]


def levels(findings):
    return [finding.level for finding in findings]


def texts(findings, level="error"):
    return " | ".join(f.text for f in findings if f.level == level)


@pytest.fixture
def check(small):
    def check_objective(terms, student=None, teacher=None, data=None):
        own_teacher, own_student = small.networks()
        stage = Stage("only", as_sum(terms), CONFIG)
        teachers = [teacher or own_teacher]
        return list(preflight.check_stage(stage, student or own_student, teachers, data or small.data(), CPU))

    return check_objective


VIEWS = Augmentation(shift=1)
EXCLUDING = [
    (PKT(ENDS), {}, {"microbatch": 4}, None, "term 'pkt' looks at the whole batch"),
    (KD(), {}, {"microbatch": 4, "teacher_batches": 2}, None, "exclude each other"),
    (KD(), {"repeats": 2, "augmentation": VIEWS}, {}, StoredAnswers(views=3), "no multiple of repeats = 2"),
    (
        KD(),
        {"augmentation": Augmentation(mixup=1.0)},
        {},
        StoredAnswers(clean=True),
        "a mixture of two samples has none",
    ),
    (KD(), {}, {}, StoredAnswers(packed=True), "set answers.top"),
    (CE() + GradientAT(ENDS), {}, {"precision": "float16"}, None, "small gradients would become"),
]


@pytest.mark.parametrize(("terms", "config", "settings", "stored", "words"), EXCLUDING)
def test_settings_that_exclude_each_other_are_an_error_of_the_check(small, terms, config, settings, stored, words):
    """A run found out when the stage began, which may be after other trainings."""
    teacher, student = small.networks()
    stage = Stage("only", as_sum(terms), replace(CONFIG, **config))
    found = preflight.check_stage(stage, student, [teacher], small.data(), replace(CPU, **settings), stored=stored)
    assert words in texts(list(found))


def test_stored_values_of_tokens_are_not_grouped_by_length():
    data = made("text")
    teacher, student = networks(data)
    stage = Stage("only", as_sum(Hint(ENDS.replace("conv2", "conv"))), replace(CONFIG, group_by_length=2))
    found = preflight.check_stage(stage, student, [teacher], data, CPU, stored=StoredAnswers(taps="exact"))
    assert "stored values of tokens have one" in texts(list(found))


def test_a_sound_teacher_is_told_with_its_accuracy(small):
    findings = list(preflight.check_teacher(small.Teacher(), small.data(), CPU, declared=0.99))
    assert levels(findings) == ["ok"]
    assert "100.0 % on 18 samples (declared: 99.0 %)" in findings[0].text


def test_a_teacher_that_is_right_on_the_few_samples_there_are_is_no_guesser(small):
    data = small.data()
    few = replace(data, validation=Part(data.train.source, data.train.ids[:2]))
    findings = list(preflight.check_teacher(small.Teacher(), few, CPU))
    assert levels(findings) == ["ok"]


def test_a_teacher_at_chance_level_is_refused_unless_told_otherwise(small):
    network = small.Teacher(scale=0.0)
    findings = list(preflight.check_teacher(network, small.data(), CPU))
    assert "chance level" in texts(findings)
    with pytest.raises(UserError, match="accept_weak"):
        preflight.passes(findings)
    assert levels(preflight.check_teacher(network, small.data(), CPU, accept_weak=True)) == ["warning"]


@pytest.mark.parametrize("option", ["lr_scale", "max_norm"])
def test_a_pattern_that_matches_nothing_is_found_before_the_training(small, option):
    teacher, student = small.networks()
    stage = Stage("only", as_sum(CE() + KD()), replace(CONFIG, **{option: {"konv*": 0.5}}))
    for timed in (True, False):
        said = texts(preflight.check_stage(stage, student, [teacher], small.data(), CPU, timed=timed))
        assert f"{option}: no " in said


def test_a_teacher_far_below_its_declared_accuracy_is_refused(small):
    class Half(small.Teacher):
        def forward(self, x):
            return super().forward(x) * torch.tensor([1.0, 1.0, -1.0])

    findings = list(preflight.check_teacher(Half(), small.data(count=600, validation=300), CPU, declared=0.99))
    assert "far below the 99.0 %" in texts(findings)


@pytest.mark.parametrize(("scale", "samples"), [(1.0, [20]), (0.0, [20, 60])])
def test_more_samples_are_looked_at_only_where_a_few_leave_a_doubt(small, monkeypatch, scale, samples):
    monkeypatch.setattr(preflight.teacher, "GLANCE", 20)
    monkeypatch.setattr(preflight.teacher, "SAMPLE", 60)
    seen = []
    look = preflight.teacher.walk
    monkeypatch.setattr(preflight.teacher, "walk", lambda *args: seen.append(len(args[1])) or look(*args))
    list(preflight.check_teacher(small.Teacher(scale=scale), small.data(validation=0), CPU))
    assert seen == samples


def test_of_a_student_without_parameters_it_is_said_that_nothing_would_train(small):
    stage = Stage("only", as_sum(KD()), CONFIG)
    student = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())  # three channels, three classes
    findings = list(preflight.check_stage(stage, student, [small.Teacher()], small.data(), CPU))
    assert "would train nothing" in texts(findings)


def test_what_takes_steps_is_left_out_where_nobody_reads_it(small):
    teacher, student = small.networks()
    stage = Stage("only", as_sum(CE() + KD()), CONFIG)
    found = {
        timed: [
            finding.subject
            for finding in preflight.check_stage(stage, student, [teacher], small.data(), CPU, timed=timed)
        ]
        for timed in (True, False)
    }
    assert set(found[True]) - set(found[False]) == {"stage 'only'"}


class Forgetful(nn.Module):
    """Right on samples of the validation part alone, or on all but a share of the training part."""

    def __init__(self, small, data, wrong):
        super().__init__()
        self.teacher = small.Teacher()
        (batch,) = data.train.in_order(len(data.train), torch.device("cpu"))
        self.of_train = batch.inputs[: round(wrong * len(data.train))].flatten(1)

    def forward(self, x):
        logits = self.teacher(x)
        unknown = (x.flatten(1)[:, None] == self.of_train).all(2).any(1)
        return torch.where(unknown[:, None], logits.roll(1, 1), logits)


@pytest.mark.parametrize(("wrong", "warned"), [(0.0, False), (0.04, False), (0.5, True)])
def test_a_teacher_that_is_poorer_than_the_labels_is_warned_of(small, wrong, warned):
    data = small.data()
    findings = list(preflight.check_teacher(Forgetful(small, data, wrong), data, CPU))
    assert levels(findings) == ["ok", "warning"][: 1 + warned]
    assert ("training samples, whose labels the student is given" in texts(findings, "warning")) == warned


def test_a_broken_teacher_is_told_apart(small):
    assert "NaN" in texts(preflight.check_teacher(small.Teacher(scale=float("nan")), small.data(), CPU))
    other = nn.Sequential(nn.Flatten(), nn.Linear(192, 5))
    assert "(5,), the data have 3 classes" in texts(preflight.check_teacher(other, small.data(), CPU))


def test_the_sample_that_judges_a_teacher_is_spread_over_files_sorted_by_class(small, monkeypatch):
    monkeypatch.setattr(preflight.teacher, "GLANCE", 60)
    data = small.data(validation=0)  # 90, which is less than twice the sample
    order = torch.argsort(data.train.targets, stable=True)  # as folders of classes are read
    data = replace(data, train=replace(data.train, ids=data.train.ids[order]))
    seen = []
    look = preflight.teacher.walk
    monkeypatch.setattr(preflight.teacher, "walk", lambda *args: seen.append(args[1]) or look(*args))
    list(preflight.check_teacher(small.Teacher(), data, CPU))
    assert set(seen[0].targets.tolist()) == {0, 1, 2}


class Features(nn.Flatten):
    def forward(self, x):
        return {"features": super().forward(x)}


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(192, 4)), "shape (4,), the data have 3 classes"),
        (nn.Linear(5, 3), "does not take samples of shape (3, 8, 8)"),
        (Features(), "no tensor 'logits'"),
    ],
)
def test_a_network_that_does_not_fit_the_data_is_a_finding_and_no_traceback(small, network, said):
    (finding,) = preflight.check_network("student", network, small.data(), CPU)
    assert finding.level == "error"
    assert said in finding.text


def test_every_term_is_told_with_value_weight_gradient_and_what_it_owns(check):
    findings = check(CE() + 0.5 * KD() + Hint("conv -> conv2"))
    assert levels(findings) == ["ok"] * 4
    assert "weight 0.5" in findings[1].text
    assert "through" in findings[2].text
    assert "trains" in findings[3].text


def test_a_tap_that_never_fires_is_an_error(check, small):
    class Idle(small.Student):
        def __init__(self):
            super().__init__()
            self.idle = nn.Conv2d(3, 6, 1)

    assert "'idle' never fired" in texts(check(Hint("conv -> idle"), student=Idle()))
    assert "did you mean 'conv2', 'conv1'?" in texts(check(Hint("conv -> convl")))


@dataclass(frozen=True)
class Silent(Term):
    """A loss that was cut off from the student by mistake."""

    value: float = 1.0

    @property
    def reads(self):
        return Reads(student_logits=True)

    def loss(self, reading, owned):
        return reading.student.logits.detach().sum(1) * 0 + self.value


def test_a_term_without_gradient_is_an_error_also_when_it_is_alone(check, small):
    assert "no gradient" in texts(check(CE() + Silent()))
    assert "no gradient" in texts(check(as_sum(Silent())))
    assert "no gradient" in texts(check(CE() + Silent(0.0)))
    assert "no gradient" in texts(check(CE() + Silent() * linear(0, 1, epochs=5)))
    frozen = small.Student().requires_grad_(False)
    assert "no gradient" in texts(check(as_sum(CE()), student=frozen))
    assert levels(check(CE() + 0.0 * Silent())) == ["ok"] * 3  # weight 0 is on purpose


class Rounded(nn.Module):
    """Its gradient is no number in bfloat16."""

    def forward(self, x):
        return x + (0 * x).sqrt() if x.dtype == torch.bfloat16 else x


def test_a_gradient_that_only_the_arithmetic_breaks_is_told_with_the_way_out(small):
    teacher, student = small.networks()
    student.head = nn.Sequential(student.head, Rounded())
    stage, settings = Stage("only", as_sum(CE()), CONFIG), Settings(device="cpu", precision="bfloat16")
    found = texts(preflight.check_stage(stage, student, [teacher], small.data(), settings))
    assert "not finite on the first batch in bfloat16, and is in float32: set precision" in found
    assert not texts(preflight.check_stage(stage, student, [teacher], small.data(), CPU))


@pytest.mark.parametrize(
    ("schedule", "batch", "warns"),
    [(Cosine(), 100, True), (Constant(warmup=0.5), 100, True), (Cosine(warmup=0), 100, False), (Cosine(), 36, False)],
)
def test_a_single_step_at_rate_0_is_a_warning(small, schedule, batch, warns):
    teacher, student = small.networks()
    config = TrainConfig(epochs=1, batch=batch, schedule=schedule)
    stage, before = Stage("only", as_sum(CE()), config), student.head.weight.clone()
    found = list(preflight.check_stage(stage, student, [teacher], small.data(), CPU))
    assert ("learning rate is 0" in texts(found, "warning")) is warns
    Training(student, [], [stage], small.data(), settings=CPU).run()
    assert torch.equal(student.head.weight, before) is warns


@pytest.mark.parametrize("term", RELATIONS, ids=str)
def test_a_term_that_compares_samples_needs_batches_of_more_than_one(small, term):
    teacher, student = small.networks()
    student.bn1 = nn.Identity()
    for batch, level in ((1, "error"), (4, "ok")):
        stage = Stage("only", CE() + term, TrainConfig(batch=batch))
        findings = list(preflight.check_stage(stage, student, [teacher], small.data(), CPU))
        assert findings[1].level == level, findings
        assert ("batches of one sample" in texts(findings)) == (batch == 1)


def test_values_that_are_no_numbers_are_errors(check, small):
    assert "value is nan" in texts(check(as_sum(Silent(float("nan")))))
    data = small.data()
    data.train.source.samples = data.train.source.samples.float()
    data.train.source.samples[:] = float("nan")
    assert "data hold NaN" in texts(check(as_sum(CE()), data=data))


def test_the_data_are_told_with_what_is_missing(small):
    data = small.data(validation=0, test=False)
    data = replace(data, train=replace(data.train, ids=(data.train.targets != 2).nonzero().flatten()))
    found = texts(preflight.check_data(data, batch=1000), "warning")
    for said in ("no training sample of class 2", "batch 1000", "no validation part", "no test part"):
        assert said in found


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (torch.rand(20, 3, 8, 8), None),
        (torch.rand(20, 1, 8, 1), None),
        (torch.randint(256, (20, 3, 8, 8), dtype=torch.uint8), None),
        (255 * torch.rand(20, 3, 8, 8), "divide by 255"),
        (4 * torch.rand(20, 3, 8, 8) - 2, "if they were normalised, leave that to the networks"),
        (torch.rand(20, 8, 6, 3), "so these have 8 channels of 6 x 3 pixels"),
        (torch.randint(256, (20, 8, 8, 1), dtype=torch.uint8), "if channels stand last, move them"),
        (torch.randn(20, 6), None),
    ],
)
def test_images_in_another_form_are_told(images, said):
    data = from_tensors((images, torch.arange(20) % 2))
    found = [finding.text for finding in preflight.check_data(data, 4) if finding.subject == preflight.ABOUT_IMAGES]
    assert len(found) == (said is not None)
    assert said is None or said in found[0]


@pytest.mark.parametrize("teaches", [False, True])
@pytest.mark.parametrize(
    ("end", "warns"), [(nn.Softmax(1), True), (nn.LogSoftmax(1), False), (nn.Sigmoid(), False), (nn.Identity(), False)]
)
def test_answers_that_are_probabilities_are_a_warning(small, end, warns, teaches):
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 3), end)
    findings = list(preflight.check_network("teacher", network, small.data(), CPU, teaches=teaches))
    assert ("warning" in levels(findings)) == warns
    assert ("they are probabilities" in texts(findings, "warning")) == warns


@pytest.mark.parametrize(("padding", "warned"), [(None, False), (0, False), (1, True), (40, False)])
def test_a_token_of_the_texts_that_is_padding_to_a_network_is_a_warning(padding, warned):
    """As token 1 is to a RoBERTa by name, and in a vocabulary of words it is the unknown one."""
    texts = ["a fine film", "a dull film", "an unknown word"] * 8
    task = Text(("bad", "good"), vocabulary_of(texts[:2]), 6)
    data = from_tensors((task.encode(texts), torch.arange(24) % 2), task=task, validation=4)

    class Bag(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.out = nn.Embedding(50, 4, padding_idx=padding), nn.Linear(4, 2)

        def forward(self, input_ids, attention_mask):
            return self.out((self.words(input_ids) * attention_mask.unsqueeze(2)).sum(1))

    findings = preflight.check_network("student", Bag(), data, Settings(device="cpu"))
    (said,) = [finding.text for finding in findings if finding.level == "warning"] or [None]
    assert bool(said) == warned
    if said:
        assert said.startswith("token 1 ('[UNK]') is padding to it (padding_idx of its embedding), and stands in 24 of")
        assert said.endswith("settings = { pad_token_id = 0 }")


def test_the_check_leaves_student_teacher_and_randomness_as_they_were(small):
    teacher, student = small.networks()
    student.bn1.eval()  # somebody's own choice
    student(torch.rand(4, 3, 8, 8)).sum().backward()
    networks = (teacher, student)
    before = [{k: v.clone() for k, v in n.state_dict().items()} for n in networks]
    gradients = {name: (p.grad, p.grad.clone()) for name, p in student.named_parameters()}
    modes = [[m.training for m in n.modules()] for n in networks]
    random = torch.get_rng_state()
    for stage in find("fitnets")(CONFIG, pair="conv -> conv2"):
        assert "error" not in levels(preflight.check_stage(stage, student, [teacher], small.data(), CPU))
    for network, state in zip(networks, before, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    for name, parameter in student.named_parameters():
        assert parameter.grad is gradients[name][0]
        assert torch.equal(parameter.grad, gradients[name][1])
    assert all(p.grad is None for p in teacher.parameters())
    assert modes[1] == [m.training for m in student.modules()]
    assert torch.equal(random, torch.get_rng_state())


def test_what_is_timed_is_a_whole_step_and_is_waited_for(small, monkeypatch, tmp_path):
    done, step = [], torch.optim.SGD.step
    monkeypatch.setattr(clock, "synchronize", lambda device: done.append("wait"))
    monkeypatch.setattr(torch.optim.SGD, "step", lambda self: done.append("step") or step(self))
    teacher, student = small.networks()
    stage = Stage("only", as_sum(CE() + KD()), CONFIG)
    stored = StoredAnswers(folder=str(tmp_path))
    list(preflight.check_stage(stage, student, [teacher], small.data(), CPU, stored=stored))
    assert done == ["wait", "step", "wait"] * 2 + ["wait", "wait"] * 2  # the student's steps, the teacher's answers


def test_the_duration_counts_the_answers_that_are_kept(small, monkeypatch, tmp_path):
    def found(stored):
        times = iter([20.0] * 2 + [15.0] * 2)  # two steps, and twice the teacher
        monkeypatch.setattr(clock, "timed", lambda work, device: (work(), next(times))[1])
        teacher, student = small.networks()
        stage = Stage("only", as_sum(CE() + KD()), replace(CONFIG, epochs=30, augmentation=Augmentation()))
        findings = list(preflight.check_stage(stage, student, [teacher], small.data(), CPU, stored=stored))
        (text,) = [f.text for f in findings if "roughly" in f.text]
        return float(re.search(r"roughly (\d+) min", text).group(1))

    assert found(None) / found(StoredAnswers(folder=str(tmp_path))) == pytest.approx(30 / (1 + 29 * 0.25), rel=0.1)


def test_the_measured_step_goes_backwards_once_for_each_momentum(small, monkeypatch):
    passes, backward = [], torch.autograd.backward
    monkeypatch.setattr(
        torch.autograd, "backward", lambda *args, **settings: passes.append(1) or backward(*args, **settings)
    )

    def found(momentum_gap, objective):
        passes.clear()
        teacher, student = small.networks()
        optimizer = SGD(momentum_gap=momentum_gap)
        stage = Stage("only", as_sum(objective), replace(CONFIG, optimizer=optimizer))
        findings = list(preflight.check_stage(stage, student, [teacher], small.data(), CPU))
        assert any("trains" in finding.text for finding in findings)
        return len(passes)

    assert found(None, CE() + KD()) == 2  # two steps are measured
    assert found(0.075, CE() + KD()) == 4
    with_regressor = CE() + KD() + Hint(ENDS, regressor="crd")
    assert found(0.075, with_regressor) == 6  # a third pass for the regressor


@pytest.mark.parametrize(
    ("terms", "config", "said"),
    [
        (CE() + KD(), CONFIG, ["a table [answers] asks"]),
        (CE() + Hint("conv -> conv2"), CONFIG, ['a table [answers] with taps = "exact" asks']),
        (CE() + KD(), replace(CONFIG, epochs=8, augmentation=Augmentation(flip=True)), []),  # each view is seen once
        (CE() + GradientAT("conv -> conv2"), CONFIG, []),
        (CE(), CONFIG, []),
    ],
    ids=["logits", "hidden values", "no view twice", "gradients", "no teacher"],
)
def test_stored_answers_are_proposed_where_they_would_pay(small, monkeypatch, terms, config, said):
    monkeypatch.setattr(preflight.stage, "WORTH", 1.0)
    teacher, student = small.networks()
    stage = Stage("only", as_sum(terms), config)
    found = list(preflight.check_stage(stage, student, [teacher], small.data(), CPU))
    about = [finding.text for finding in found if finding.subject.endswith("stored answers")]
    assert len(about) == len(said)
    assert all(words in text for words, text in zip(said, about, strict=True))
    monkeypatch.setattr(preflight.stage, "WORTH", 1e9)
    found = list(preflight.check_stage(stage, student, [teacher], small.data(), CPU))
    assert not any("stored" in finding.subject for finding in found)
