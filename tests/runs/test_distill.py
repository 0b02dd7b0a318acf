"""``understudy.distill``: any two networks, any data, one call."""

import copy
import gc
import io
import json
import os
import re
import signal
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import understudy
from understudy import Settings, Stage, TrainConfig, UserError, distill
from understudy.config.schedules import Constant
from understudy.report import write_report
from understudy.terms import CE, KD, Hint, LogitsL1
from understudy.training.callbacks import Callback

CONFIG = TrainConfig(epochs=3, batch=16, schedule=Constant())
CPU = Settings(device="cpu", threads=1)


class MLP(nn.Module):
    def __init__(self, width: int, classes: int = 3, inputs: int = 5):
        super().__init__()
        self.hidden = nn.Linear(inputs, width)
        self.out = nn.Linear(width, classes)

    def forward(self, x):
        return self.out(self.hidden(x).relu())


@pytest.fixture(autouse=True)
def _quick(quick):
    pass


@pytest.fixture
def vectors():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(120, 5, generator=generator)
    return x, x[:, :3].argmax(1)


@pytest.fixture
def networks():
    """A teacher that is right by construction, and a fresh student."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        teacher, student = MLP(10), MLP(4)
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.zero_()
        for i in range(3):  # relu(x) - relu(-x)
            teacher.hidden.weight[i, i], teacher.hidden.weight[3 + i, i] = 1, -1
            teacher.out.weight[i, i], teacher.out.weight[i, 3 + i] = 9, -9
    return teacher, student


def run(networks, data, **options):
    return distill(*networks, data, **{"config": CONFIG, "settings": CPU} | options)


def test_any_data_will_do(networks, vectors):
    x, y = vectors
    train, test = TensorDataset(x[:90], y[:90]), TensorDataset(x[90:], y[90:])
    for data, measured_on in (
        (vectors, "validation"),
        (TensorDataset(x, y), "validation"),
        ((train, test), "test"),
        (((x[:90], y[:90]), (x[90:], y[90:])), "test"),
        (understudy.data.as_data(vectors, validation=0), "train"),
    ):
        result = run(networks, data)
        assert result.result.data.measured_on == measured_on
        assert result.teacher_figures["accuracy"] == 1.0
        assert 0 <= result.figures["accuracy"] <= 1
        assert result.student is networks[1]
        assert not result.student.training


@pytest.mark.parametrize(
    ("method", "own"),
    [
        ("kd", {"temperature": 2.0}),
        ("alone", {}),
        ("fitnets", {"pair": "hidden -> hidden", "hint_epochs": 1}),
        ("fitnets", {}),  # the pair is proposed
        ("terms", {"terms": "CE() + 0.5 * KD(2)"}),
        (CE() + KD() + Hint("hidden -> hidden"), {}),
        (
            [Stage("a", understudy.terms.Sum(Hint("hidden -> hidden").parts), CONFIG), Stage("b", CE() + KD(), CONFIG)],
            {"config": None},
        ),
    ],
)
def test_a_method_is_a_name_terms_or_stages(networks, vectors, method, own):
    before = [p.clone() for p in networks[1].parameters()]
    result = run(networks, vectors, method=method, **own)
    assert [stage.epochs for stage in result.stages] == ([1, 2] if method == "fitnets" else [3] * len(result.stages))
    assert not all(map(torch.equal, before, networks[1].parameters()))


def test_what_belongs_to_the_course_is_told_where_it_goes(networks, vectors):
    with pytest.raises(UserError, match=r"config=understudy\.TrainConfig\(batch=\.\.\.\)"):
        run(networks, vectors, batch=16)


def test_a_line_for_each_epoch_where_lines_are_asked_for(networks, vectors):
    told = io.StringIO()
    run(networks, vectors, callback=understudy.PrintEpochs(told))
    first, *epochs = told.getvalue().splitlines()
    assert first == "stage 'soft targets': 0.1 * CE() + 0.9 * KD(), 3 epochs"
    assert [line.partition(":")[0] for line in epochs] == ["epoch 1", "epoch 2", "epoch 3"]
    assert all(re.search(r"loss \d.*, validation \d+\.\d %, \d+ s so far$", line) for line in epochs)


def test_a_finished_folder_answers_for_no_other_network(networks, vectors, tmp_path):
    teacher, student = networks
    run((teacher, student), vectors, out=tmp_path / "run")
    other = nn.Sequential(nn.Flatten(), *MLP(4).children())  # as many parameters, in other layers
    with pytest.raises(UserError, match="layers"):
        run((teacher, other), vectors, out=tmp_path / "run")


def test_pixels_that_nobody_scaled_are_told(networks):
    images, labels = torch.rand(60, 1, 4, 4) * 255, torch.arange(60) % 3
    teacher, student = (nn.Sequential(nn.Flatten(), nn.Linear(16, 3)) for _ in range(2))
    with pytest.warns(UserWarning, match="values between 0 and 1, and these reach 25"):
        run((teacher, student), (images, labels), accept_weak=True)


@pytest.mark.parametrize("given", [{"config": CONFIG}, {"config": None, "epochs": 3}])
def test_stages_have_their_own_courses(networks, vectors, given):
    with pytest.raises(UserError, match="each stage holds its own config"):
        run(networks, vectors, method=[Stage("a", CE() + KD(), CONFIG)], **given)


def test_a_training_of_one_step_at_rate_0_is_a_warning(networks, vectors):
    with pytest.warns(UserWarning, match=r"stage 'soft targets', schedule: its only step .* trains nothing"):
        run(networks, vectors, config=TrainConfig(epochs=1, batch=1000))


def test_what_the_check_finds_odd_about_a_stage_is_a_warning(networks, vectors):
    teacher = networks[0]
    with pytest.warns(UserWarning, match=r"stage 'own terms', term .* its gradient are 0 on the first batch"):
        distill(teacher, copy.deepcopy(teacher), vectors, method=CE() + LogitsL1(), config=CONFIG, settings=CPU)


def test_without_a_teacher_the_student_learns_alone(networks, vectors):
    result = distill(None, networks[1], vectors, method="alone", config=CONFIG, settings=CPU)
    assert result.teacher_figures == {}


def test_the_teacher_is_as_it_was(networks, vectors):
    teacher, _ = networks
    teacher.train()
    teacher.out.eval()
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    run(networks, vectors, method="fitnets", pair="hidden -> hidden")
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in teacher.parameters())
    assert [m.training for m in teacher.modules()] == [True, True, False]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in teacher.modules())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"temprature": 4}, "no setting 'temprature'; did you mean 'temperature'"),
        ({"method": "kdd"}, "no method 'kdd'; did you mean 'kd'"),
        ({"method": "terms"}, "needs its setting 'terms'"),
        ({"seed": 3}, "seeds=[3]"),
        ({"seeds": 0}, "seeds=0"),
        ({"method": "kd", "temperature": nn.Identity()}, "a setting is a plain value"),
        ({"method": KD(), "temperature": 4}, "settings belong to a method by name"),
        ({"method": "fitnets", "pair": "hiden -> hidden"}, "did you mean 'hidden'"),
        ({"settings": Settings(device="nonsense")}, "settings.device"),
    ],
)
def test_a_mistake_is_a_user_error(networks, vectors, options, said):
    with pytest.raises(UserError) as caught:
        run(networks, vectors, **options)
    assert said in str(caught.value)


def test_networks_that_do_not_fit_the_data_are_told_apart(networks, vectors):
    teacher, _ = networks
    with pytest.raises(UserError, match=r"student: it answers with shape \(4,\), the data have 3 classes"):
        run((teacher, MLP(4, classes=4)), vectors)
    with pytest.raises(UserError, match=r"teacher: it does not take samples of shape \(5,\)"):
        run((MLP(4, inputs=7), MLP(4)), vectors)
    with pytest.raises(UserError, match="learns from a teacher"):
        run((None, MLP(4)), vectors)
    with pytest.raises(UserError, match="chance level"):
        run((MLP(4).apply(lambda m: isinstance(m, nn.Linear) and nn.init.zeros_(m.weight)), MLP(4)), vectors)


def test_volumes_are_data_like_any_other():
    x = torch.rand(40, 1, 4, 4, 4)
    student = nn.Sequential(nn.Conv3d(1, 2, 3), nn.Flatten(), nn.Linear(16, 2))
    result = distill(
        None, student, (x, (x.mean((1, 2, 3, 4)) > 0.5).long()), method="alone", config=CONFIG, settings=CPU
    )
    assert result.result.data.measured_on == "validation"


class Interrupting(Callback):
    """Presses Ctrl-C after so many steps."""

    def __init__(self, after, number=signal.SIGINT):
        self.after, self.number = after, number

    def step(self, done, loss):
        if done == self.after:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_call_goes_on_where_it_was_and_a_finished_one_returns_at_once(
    networks, vectors, tmp_path, number, monkeypatch
):
    state = {name: value.clone() for name, value in networks[1].state_dict().items()}
    unbroken = run(networks, vectors, out=tmp_path / "unbroken")
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    networks[1].load_state_dict(state)
    with pytest.raises(KeyboardInterrupt, match=f"{number.name}.*goes on from"):
        run(networks, vectors, out=tmp_path / "run", callback=Interrupting(7, number))
    assert handlers == [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    assert not (tmp_path / "run/student.safetensors").exists()
    fresh = MLP(4)
    result = run((networks[0], fresh), vectors, out=tmp_path / "run")
    assert (result.figures, result.stages) == (unbroken.figures, unbroken.stages)
    assert result.student is fresh
    one, other = (tmp_path / name / "student.safetensors" for name in ("run", "unbroken"))
    assert one.read_bytes() == other.read_bytes()
    monkeypatch.setattr("understudy.plans.training.Training", None)
    monkeypatch.setattr("understudy.runs.run.summarize", None)
    again = MLP(4)
    finished = run((networks[0], again), vectors, out=tmp_path / "run")
    assert (finished.figures, finished.student) == (result.figures, again)
    assert all(map(torch.equal, again.parameters(), fresh.parameters()))


def test_without_a_folder_an_interruption_says_that_nothing_is_saved(networks, vectors):
    with pytest.raises(KeyboardInterrupt, match="out="):
        run(networks, vectors, callback=Interrupting(2))


def test_a_folder_of_another_call_is_refused_and_a_refused_call_leaves_the_folder_free(networks, vectors, tmp_path):
    with pytest.raises(UserError, match="no module"):
        run(networks, vectors, out=tmp_path, method="fitnets", pair="nothing -> hidden")
    with pytest.raises(UserError, match="lr_scale: no "):
        run(networks, vectors, out=tmp_path, config=replace(CONFIG, lr_scale={"konv*": 0.5}))
    run(networks, vectors, out=tmp_path)
    for other in ({"temperature": 2}, {"seeds": [5]}, {"epochs": 9}):
        with pytest.raises(UserError, match="another recipe"):
            run(networks, vectors, out=tmp_path, **other)
    with pytest.raises(UserError, match="another recipe"):
        run((networks[0], MLP(6)), vectors, out=tmp_path)
    taught_otherwise = MLP(networks[0].hidden.out_features)
    with pytest.raises(UserError, match=r"differs in teacher\.weights"):
        run((taught_otherwise, networks[1]), vectors, out=tmp_path)
    with pytest.raises(UserError, match=r"differs in data\.name"):
        run(networks, (vectors[0] + 1, vectors[1]), out=tmp_path)
    described = json.loads((tmp_path / "student.json").read_text())
    assert described["network"] is None
    with pytest.raises(UserError, match="MLP of your own code"):
        understudy.load(tmp_path)


def test_a_damaged_checkpoint_is_told_as_a_warning_where_nobody_watches(networks, vectors, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(networks, vectors, out=tmp_path, callback=Interrupting(7))
    for path in (tmp_path / "checkpoints/kd-0").iterdir():
        path.write_bytes(b"nonsense")
    with pytest.warns(UserWarning, match="starting anew"), pytest.warns(UserWarning, match="falling back"):
        run(networks, vectors, out=tmp_path)


def test_several_teachers_teach_one_student(networks, vectors, tmp_path):
    teacher, student = networks
    fresh = MLP(6)
    result = run(
        ([teacher, fresh], student), vectors, method="several-teachers", accept_weak=True, out=tmp_path, weights=[3, 1]
    )
    each = [teacher.figures["accuracy"].values[0] for teacher in result.result.teachers.values()]
    assert (each[0], each[1] < 1.0) == (1.0, True)
    assert result.teacher_figures["accuracy"] is not None
    with pytest.raises(UserError, match="1 weights for 2 teachers"):
        run(([teacher, fresh], MLP(4)), vectors, method="several-teachers", weights=[1], accept_weak=True)
    blind = MLP(4).apply(lambda m: isinstance(m, nn.Linear) and nn.init.zeros_(m.weight))
    with pytest.raises(UserError, match=r"teacher2: .* chance level"):
        run(([teacher, blind], MLP(4)), vectors, method="several-teachers")
    page = write_report(tmp_path).read_text()
    assert all(name in page for name in ("teacher1", "teacher2", "teachers together"))


def test_seeds_a_baseline_and_a_verdict(networks, vectors):
    run_ = run(networks, vectors, seeds=2, baseline=True)
    assert list(run_.result.methods) == ["alone", "kd"]
    assert [row.seed for row in run_.result.methods["kd"].trainings] == [0, 1]
    assert "kd" in run_.result.verdicts
    assert "student, kd" in str(run_)
    assert any("each seed begins with the same weights" in note for note in run_.result.notes)
    assert run_.folder is None


def test_a_result_names_the_data_as_the_caller_does_and_the_threads_that_it_ran_with(networks, vectors, monkeypatch):
    x, y = vectors
    first, second = (
        understudy.data.from_tensors((x[part], y[part]), name="flowers") for part in (slice(90), slice(30, 120))
    )
    results = [
        run(networks, data, method="alone", settings=Settings("cpu", threads=2)).result for data in (first, second)
    ]
    assert [result.data.name for result in results] == ["flowers"] * 2
    assert results[0].data.digest != results[1].data.digest
    assert [result.machine["threads"] for result in results] == [2, 2]


def make_small():
    return MLP(4)


def weights(run_):
    return {name: value.tolist() for name, value in run_.student.state_dict().items()}


def test_a_function_makes_a_student_for_each_seed_and_every_engine_trains_the_same(networks, vectors, tmp_path):
    found = [
        run((networks[0], make_small), vectors, seeds=2, out=tmp_path / str(number), **how)
        for number, how in enumerate(({}, {"together": True}, {"workers": 2}))
    ]
    assert weights(found[0]) == weights(found[1]) == weights(found[2])
    files = [
        {path.parent.name: path.read_bytes() for path in (tmp_path / str(n)).glob("trainings/*/student.safetensors")}
        for n in range(3)
    ]
    assert files[0] == files[1] == files[2]
    assert files[0]["kd-0"] != files[0]["kd-1"]
    assert not [note for note in found[0].result.notes if "same weights" in note]


def test_a_module_gives_every_engine_the_same_students_and_is_the_kept_one(networks, vectors, tmp_path):
    state = copy.deepcopy(networks[1].state_dict())
    found = []
    for number, how in enumerate(({}, {"together": True}, {"workers": 2})):
        networks[1].load_state_dict(state)
        found.append(run(networks, vectors, seeds=2, out=tmp_path / str(number), **how))
        assert found[-1].student is networks[1]
        found[-1] = weights(found[-1])
    assert found[0] == found[1] == found[2]


def test_what_no_other_process_can_be_given_is_named(networks, vectors):
    teacher, student = networks
    student.odd = lambda: None
    with pytest.raises(UserError, match="student cannot be sent to another process"):
        run((teacher, student), vectors, workers=2, seeds=2)


def test_what_cannot_be_copied_says_the_way_out(networks, vectors):
    class Uncopied(MLP):
        def __deepcopy__(self, memo):
            raise RuntimeError("not this one")

    with pytest.raises(UserError, match=r"cannot be copied \(not this one\): give a function"):
        run((networks[0], Uncopied(4)), vectors)


def test_a_store_serves_the_next_call(networks, vectors, tmp_path):
    first = run((networks[0], make_small), vectors, cache=tmp_path / "cache", out=tmp_path / "one")
    again = run((networks[0], make_small), vectors, cache=tmp_path / "cache", seeds=2, out=tmp_path / "other")
    assert len(list((tmp_path / "cache/nodes").iterdir())) == 2
    assert first.figures == again.result.methods["kd"].trainings[0].figures


def test_a_scratch_folder_is_gone_with_the_run(networks, vectors):
    run_ = run(networks, vectors)
    folder = run_._run.folder.path
    assert folder.is_dir()
    with pytest.raises(UserError, match=r"run\.report\('report\.html'\)"):
        run_.report()
    del run_
    gc.collect()
    assert not folder.exists()


def test_a_student_by_its_name(request):
    made = request.getfixturevalue("small")
    run_ = distill(made.Teacher(), "resnet8", made.data(), epochs=2, settings=CPU, accept_weak=True)
    assert run_.result.networks["student"].network.startswith("resnet8")
    assert not run_.student.training


def test_weights_that_overflow_in_the_last_step_are_no_student(vectors):
    """The loss of the last step is that of the weights before it, so it says nothing of what the step made of them."""
    student = MLP(4)
    with torch.no_grad():
        student.out.weight.copy_(1e31 * torch.eye(3, 4))  # the gradient before it, times the rate, is beyond float32
        student.hidden.weight.fill_(1.0)
    steep = understudy.optimizers.SGD(lr=1e9, momentum=0)
    config = TrainConfig(epochs=1, batch=120, optimizer=steep, schedule=Constant(), keep="last")
    with pytest.raises(UserError, match=r"weight 'hidden\.weight' is no longer a number after the last step of stage"):
        distill(None, student, vectors, method="alone", config=config, settings=CPU, baseline=False, check=False)
