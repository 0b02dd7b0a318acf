"""Data without labels: the forms in which they come, what their targets are, and what is refused."""

import copy

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import TensorDataset

import understudy
from understudy.data import as_data, from_inputs, from_tensors, load
from understudy.errors import UserError
from understudy.export import export
from understudy.shipping.card import write_card
from understudy.tasks import Unlabelled
from understudy.tasks.unlabelled import UNKNOWN

X = torch.rand(40, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Pictures:
    """A dataset of pictures alone."""

    def __len__(self):
        return len(X)

    def __getitem__(self, index):
        return Image.fromarray((255 * X[index]).byte().permute(1, 2, 0).numpy())


class Alone(Pictures):
    """A dataset of tensors alone."""

    def __getitem__(self, index):
        return X[index]


FORMS = {
    "a tensor": X,
    "an array": X.numpy(),
    "a dataset of tensors": Alone(),
    "a dataset of pictures": Pictures(),
    "a dataset with labels": from_inputs(TensorDataset(X, torch.arange(40))),
    "tensors with labels": from_tensors((X, torch.arange(40) % 3), task="unlabelled"),
    "a mapping": from_inputs({"image": X, "size": torch.ones(40, 1)}),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form(form):
    data = as_data(FORMS[form])
    assert isinstance(data.task, Unlabelled)
    assert (len(data.train), len(data.validation)) == (36, 4)
    assert data.train.source.targets.tolist() == [UNKNOWN] * 40
    assert data.task.about == "no labels (the outputs are the teacher's)"


def test_a_named_data_set_without_its_labels():
    data = load("demo", task="unlabelled", validation=10)
    assert data.task == Unlabelled()
    assert set(data.train.targets.tolist()) == set(data.test.targets.tolist()) == {UNKNOWN}
    assert load("demo", task={"name": "unlabelled", "classes": 10}).task.outputs == 10


@pytest.fixture
def photos(tmp_path):
    """A function that writes small pictures under these names."""

    def write(*names):
        for number, name in enumerate(names):
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 8, 3), 20 * number, np.uint8)).save(path)
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("names", "settings", "train", "test"),
    [
        (["a.png", "b.png", "c.jpg"], {}, 3, None),
        (["train/a.png", "train/b.png", "test/c.png"], {}, 2, 1),
        (["train/a.png", "val/cat/c.png", "val/d.png"], {}, 1, 2),
        (["a.png", "2024/b.png", "2025/05/c.png"], {"task": "unlabelled"}, 3, None),
        (["a.png", "b.png"], {"classes": ("cat", "dog")}, 2, None),
    ],
)
def test_folders_without_classes(photos, names, settings, train, test):
    data = load("folder", photos(*names), validation=0, workers=0, **settings)
    assert isinstance(data.task, Unlabelled)
    assert data.task.classes == settings.get("classes", ())
    assert len(data.train) == train
    assert (len(data.test) if data.test else None) == test


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(UserError, match="there is no folder"):
        load("folder", tmp_path)
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(UserError, match="holds no images"):
        load("folder", tmp_path)


class Colour(nn.Module):
    """Names the channel that is brightest."""

    def __init__(self, scores=3):
        super().__init__()
        self.out = nn.Linear(3, scores)
        with torch.no_grad():
            self.out.weight.copy_(20 * torch.eye(scores, 3))
            self.out.bias.zero_()

    def forward(self, x):
        return self.out(x.mean((2, 3)))


class Student(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.out = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)

    def forward(self, x):
        return self.out(self.conv(x).relu().mean((2, 3)))


QUICK = {"epochs": 2, "progress": False}


def test_the_figure_is_the_agreement_with_the_teacher(tmp_path):
    student = Student()
    same = copy.deepcopy(student)
    run = understudy.distill(Colour(), student, X, out=tmp_path / "run", cache=tmp_path / "cache", **QUICK)
    validation = as_data(X).validation.ids
    with torch.no_grad():
        agreement = (run.student(X[validation]).argmax(1) == Colour()(X[validation]).argmax(1)).double().mean()
    assert run.figures["agreement"] == run.validation["agreement"] == pytest.approx(float(agreement))
    assert run.teacher_figures["agreement"] == 1
    assert run.result.methods["kd"].objectives == {"soft targets": "0.9 * KD()"}
    assert run.result.task.first.chance == pytest.approx(1 / 3)
    assert "what is right was not measured" in str(run)
    again = understudy.distill(Colour(), same, X, out=tmp_path / "again", cache=tmp_path / "cache", **QUICK)
    assert torch.equal(again.student.conv.weight, run.student.conv.weight)
    assert again.result.methods["kd"].seconds == run.result.methods["kd"].seconds  # out of the cache


class Encoder(nn.Module):
    """A vector of the map before it, without a classifier."""

    def __init__(self, output=lambda vector: vector):
        super().__init__()
        self.first, self.last, self.output = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 12, 3, 2, 1), output

    def forward(self, x):
        return self.output(self.last(self.first(x).relu()).mean((2, 3)))


@pytest.mark.parametrize("form", ["cosine", "mse"])
def test_the_features_of_an_encoder(form, tmp_path):
    data = from_inputs(X, task="embedding")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        teacher = Encoder(lambda vector: {"pooler_output": vector})
    config = understudy.TrainConfig(epochs=30, batch=12, optimizer=understudy.optimizers.AdamW(lr=0.01))
    run = understudy.distill(
        teacher, "resnet8", data, method="encoder", form=form, config=config, out=tmp_path, progress=False
    )
    first = run.result.task.first
    assert (first.name, 0 < first.chance < 1) == ("cosine", True)
    validation = data.validation.ids
    with torch.no_grad():
        ours, theirs = run.student.eval()(X[validation]), teacher(X[validation])["pooler_output"]
    assert run.figures["cosine"] == pytest.approx(float(torch.cosine_similarity(ours, theirs).mean()), abs=1e-5)
    assert run.student(X[:2]).shape == (2, 12)
    assert run.teacher_figures["cosine"] == pytest.approx(1)
    exported = run.export("torch", broken=True)
    assert exported.proof.compared.figure.name == "cosine"
    predicted = understudy.load(tmp_path)(X[:2])
    assert torch.allclose(predicted, run.student(X[:2]), atol=1e-5)
    assert "It chooses among" not in card_of(tmp_path)


def card_of(folder):
    return write_card(folder).read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "kd"}, "has none: take one on features"),
        ({"method": "rkd"}, "trains features only"),
        ({"data": from_inputs(X, task={"name": "embedding", "size": 5})}, "the teacher has 12 features, and size = 5"),
    ],
)
def test_what_does_not_fit_an_encoder(options, message):
    data = options.pop("data", from_inputs(X, task="embedding"))
    with pytest.raises(UserError, match=message):
        understudy.distill(Encoder(), "resnet8", data, **QUICK, **{"method": "encoder", **options})


def test_several_teachers_answer_together():
    run = understudy.distill([Colour(), Colour()], Student(), X, method="several-teachers", **QUICK)
    assert run.teacher_figures["agreement"] == 1


@pytest.mark.parametrize(
    ("teacher", "data", "options", "message"),
    [
        (Colour(), X, {"method": "alone"}, "learns from labels alone, and the data have none"),
        (Colour(), X, {"baseline": True}, "alone: the method does not fit the task"),
        (Colour(), X, {"method": "dkd"}, "it reads labels, and the data have none. Those that fit: fitnets"),
        (Colour(), X, {"method": "rkd"}, "without labels it trains features only"),
        (Colour(1), X, {}, "a choice needs at least two scores"),
        (Colour(), from_inputs(X, classes=5), {}, "the teacher has 3 outputs, and 5 classes are named"),
        (Colour(), from_inputs(X, validation=0), {}, "leave validation above 0, or give a test part"),
        (None, X, {}, "nothing to learn without a teacher"),
        ("resnet8", X, {}, "no teacher can be trained on them"),
    ],
)
def test_what_needs_labels_is_refused_in_one_line(teacher, data, options, message):
    with pytest.raises(UserError, match=message) as caught:
        understudy.distill(teacher, Student(), data, **QUICK, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("task", ["unlabelled", "embedding"])
def test_a_teacher_that_answers_with_nan_is_refused(task):
    class Broken(Colour):
        def forward(self, images):
            return super().forward(images).masked_fill(images.amax((1, 2, 3), keepdim=True).flatten(1) > 1, torch.nan)

    bright = X.clone()
    bright[7] = 2.0
    data = from_inputs(bright, validation=4, task=task)
    with pytest.raises(UserError, match=r"the teacher answers with NaN or infinity \(samples \[7\]\)"):
        understudy.distill(Broken(), Student(), data, method="kd" if task == "unlabelled" else "encoder", **QUICK)


def test_a_teacher_with_one_answer_for_everything_is_refused():
    teacher = Colour()
    nn.init.zeros_(teacher.out.weight)
    with pytest.raises(UserError, match="it gives one answer for all of 4 samples"):
        understudy.distill(teacher, Student(), X, **QUICK)


def test_a_student_without_a_run_is_not_compared_with_nobody(tmp_path):
    run = understudy.distill(Colour(), Student(), X, out=tmp_path / "run", **QUICK)
    student = tmp_path / "run" / "trainings" / "kd-0"
    with pytest.raises(UserError, match="no teacher has answered for them"):
        export(student, "torch", data=from_inputs(X, classes=3), network=run.student)
