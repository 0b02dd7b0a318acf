"""Every task: its contract, and a training with methods on scores, on numbers and on features, resumed bit for bit."""

import math
import os
import signal
import warnings
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

import understudy
from tests.conftest import Stopper
from tests.tasks import scenes
from understudy import Objective, Settings, nested, tasks
from understudy.answers import StoredAnswers
from understudy.config.optimizers import SGD
from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.data import Augmentation, Data, clouds, from_tensors, from_triples
from understudy.errors import UserError
from understudy.losses import kd, output_distance, teacher_bounded
from understudy.models.families.fcos import Head
from understudy.models.families.pillars import CentreHead, Pillars
from understudy.objective.term import unfit
from understudy.taps import call
from understudy.tasks import Binary, Classification, Figure, Landmarks, MultiLabel, Regression, Rows, Tags, Text
from understudy.tasks.tags import NO_WORD
from understudy.tasks.text import vocabulary_of, words
from understudy.terms import KD, MLKD, Hint, Labels, Outputs, RKDDistance
from understudy.training import preflight
from understudy.training.interrupt import Stopped, StopRequest
from understudy.training.loop import Training

SENTENCES = ["a fine film", "a dull film", "fine , fine", "dull and long"] * 12
IMAGES = torch.rand(48, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """A tiny network of images with a hidden layer that a hint can read."""

    def __init__(self, outputs: int, width: int = 6):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, padding=1)
        self.out = nn.Linear(width, outputs)

    def forward(self, x):
        return self.out(self.conv(x).relu().mean((2, 3)))


class Words(nn.Module):
    def __init__(self, tokens: int, width: int = 6):
        super().__init__()
        self.embedding = nn.Embedding(tokens, width)
        self.conv = nn.Linear(width, width)
        self.out = nn.Linear(width, 2)

    def forward(self, input_ids, attention_mask):
        x = self.embedding(input_ids) * attention_mask.unsqueeze(2)
        return self.out(self.conv(x.sum(1)))


class Tagger(nn.Module):
    """A tiny network of texts that answers to each token, with layers between the first and the last."""

    def __init__(self, tokens: int, tags: int, width: int = 6):
        super().__init__()
        self.embedding = nn.Embedding(tokens, width)
        self.conv = nn.Linear(width, width)
        self.middle = nn.Sequential(nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
        self.out = nn.Linear(width, tags)

    def forward(self, input_ids, attention_mask):
        x = self.embedding(input_ids) * attention_mask.unsqueeze(2)
        return self.out(self.middle(self.conv(x)))


class Scored(nn.Module):
    """Embeddings of entities and relations, with a hidden layer between query and scores."""

    def __init__(self, entities: int, relations: int, width: int = 6):
        super().__init__()
        self.entities, self.relations = nn.Embedding(entities, width), nn.Embedding(relations, width)
        self.conv = nn.Linear(width, width)
        self.middle = nn.Sequential(nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
        self.out = nn.Linear(width, entities)

    def forward(self, head, relation, candidates=None):
        query = self.conv(self.entities(head) * self.relations(relation))
        scores = self.out(self.middle(query))
        return scores if candidates is None else scores[:, candidates[0]]


class Pixels(nn.Module):
    """A tiny network of images that answers on a grid of its own."""

    def __init__(self, classes: int, stride: int, width: int = 6):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, stride, padding=1)
        self.middle = nn.Sequential(nn.Conv2d(width, width, 1), nn.ReLU(), nn.Conv2d(width, width, 1), nn.ReLU())
        self.out = nn.Conv2d(width, classes, 1)

    def forward(self, x):
        return self.out(self.middle(self.conv(x).relu()))


class Detector(nn.Module):
    """A tiny detector with a place for each square of two pixels."""

    def __init__(self, classes: int, width: int = 6):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, 2, padding=1)
        self.middle = nn.Sequential(nn.Conv2d(width, width, 1), nn.ReLU(), nn.Conv2d(width, width, 1), nn.ReLU())
        self.out = Head(width, classes, 0, 2)

    def forward(self, x):
        return self.out(self.middle(self.conv(x).relu()))


class FromAbove(nn.Module):
    """A tiny detector in clouds of points with a place for each square metre."""

    def __init__(self, classes: int, side: int, width: int = 6):
        super().__init__()
        self.pillars = Pillars(4, width, side, 1.0, (-3.0, 3.0))
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.middle = nn.Sequential(nn.Conv2d(width, width, 1), nn.ReLU(), nn.Conv2d(width, width, 1), nn.ReLU())
        self.out = CentreHead(width, classes, 0, side)

    def forward(self, points, count):
        return self.out(self.middle(self.conv(self.pillars(points, count)).relu()))


CLOUDS, MARKED = scenes.scenes(48)
COUNT = 24
NAMED = [f"e{number}" for number in range(COUNT)]
TRIPLES = [
    *((NAMED[number], "next", NAMED[(number + 1) % COUNT]) for number in range(COUNT)),
    *((NAMED[number], "third", NAMED[number % 3]) for number in range(COUNT)),
]


def boxes_of(image: torch.Tensor) -> dict[str, list]:
    """One or two boxes, whose places and classes are functions of the image."""
    across, down, kind = (4 * image.mean((1, 2)) + 0.5).tolist()
    boxes = [[across, down, across + 4, down + 3], [0, 0, 8, 8]]
    count = 1 + int(kind > 2.5)
    return {"boxes": boxes[:count], "labels": [int(across > down), 1][:count]}


def tagged(task: Tags, sentences: list[str]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Inputs and targets: "fine film" and "dull film" are entities of two words."""
    inputs, places = task.aligned([sentence.split() for sentence in sentences])
    targets = torch.full((len(sentences), task.length), NO_WORD)
    for row, sentence, of_words in zip(targets, sentences, places, strict=True):
        words = sentence.split()
        for number, (word, place) in enumerate(zip(words, of_words, strict=True)):
            whole = "film" in words[number : number + 2]
            row[place] = 2 if word == "film" else 1 if whole else 0
    return inputs, targets


def made(name: str) -> Data:
    bright = IMAGES.mean((2, 3))
    if name == "text":
        task = Text(("bad", "good"), vocabulary_of(SENTENCES), 6)
        labels = torch.tensor([1, 0, 1, 0] * 12)
        return from_tensors((task.encode(SENTENCES), labels), validation=8, task=task)
    if name == "tags":
        task = Tags(("O", "B-FILM", "I-FILM"), vocabulary_of(SENTENCES), 6)
        return from_tensors(tagged(task, SENTENCES), tagged(task, SENTENCES), validation=8, task=task)
    if name == "links":
        return from_triples(TRIPLES[4:44], TRIPLES[:4], TRIPLES[44:])
    if name == "detection-3d":
        part, task = (clouds(CLOUDS), MARKED), {"name": name, "side": 8}
        return from_tensors(part, part, validation=8, classes=scenes.NAMES, task=task)
    targets = {
        "classification": bright.argmax(1),
        "soft-labels": (8 * bright).softmax(1),
        "multilabel": (bright > 0.5).long(),
        "binary": (bright[:, 0] > 0.5).long(),
        "regression": bright,
        "landmarks": torch.stack((8 * bright, 4 + bright), 2),
        "segmentation": IMAGES.argmax(1),
        "detection": [boxes_of(image) for image in IMAGES],
    }[name]
    return from_tensors((IMAGES, targets), (IMAGES, targets), validation=8, task=name)


def networks(data: Data) -> tuple[nn.Module, nn.Module]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        if data.task.name == "text":
            return Words(data.shape[0]), Words(data.shape[0])
        if data.task.name == "tags":
            return Tagger(data.shape[0], data.task.outputs), Tagger(data.shape[0], data.task.outputs)
        if data.task.name == "links":
            return Scored(data.task.outputs, data.shape[0]), Scored(data.task.outputs, data.shape[0])
        if data.task.name == "segmentation":
            return Pixels(data.task.outputs, 1), Pixels(data.task.outputs, 2)
        if data.task.name == "detection":
            return Detector(data.task.outputs), Detector(data.task.outputs)
        if data.task.name == "detection-3d":
            return FromAbove(data.task.outputs, data.task.side), FromAbove(data.task.outputs, data.task.side)
        return Net(data.task.outputs), Net(data.task.outputs)


NAMES = [
    "classification", "soft-labels", "multilabel", "binary", "regression", "landmarks", "text", "tags", "links",
    "segmentation", "detection", "detection-3d",
]  # fmt: skip
PLAIN = Settings(device="cpu", channels_last=False)


@pytest.mark.parametrize("name", NAMES)
def test_a_task_is_described_and_made_anew(name):
    task = made(name).task
    again = tasks.from_description(__import__("json").loads(__import__("json").dumps(task.describe())))
    assert again == task
    assert hash(again) == hash(task)
    assert isinstance(task.selecting, Figure)
    assert task.about


@pytest.mark.parametrize("name", NAMES)
def test_a_meter_fed_in_pieces_finds_what_it_finds_at_once(name):
    data, generator = made(name), torch.Generator().manual_seed(3)
    task, targets = data.task, data.train.targets
    grid = (4, 4) if name == "segmentation" else ()
    tokens = (task.length,) if name == "tags" else ()
    output = torch.randn(len(data.train), *tokens, task.outputs, *grid, generator=generator)
    if name.startswith("detection"):
        output = call(networks(data)[0], data.example(len(data.train), torch.device("cpu")))
        output[..., task.logits :] = torch.randn(output[..., task.logits :].shape, generator=generator)
    answer = task.answer(output.detach())
    whole, pieces = task.meter(), task.meter()
    whole.update(answer, targets)
    for part in torch.arange(len(data.train)).split(7):
        pieces.update({key: value[part] for key, value in answer.items()}, nested.chosen(targets, part))
    found = whole.compute()
    assert pieces.compute() == pytest.approx(found, rel=1e-6)
    assert {figure.name for figure in task.figures} | {"loss"} == set(found)
    assert found["loss"] == pytest.approx(task.loss(answer, targets).double().mean().item(), rel=1e-5)
    assert len(task.told(answer)) == len(data.train)
    assert task.changed(task.kept(answer, targets), task.kept(answer, targets)) is None


class Killed(understudy.Callback):
    """Ends this process by SIGKILL after so many steps."""

    def __init__(self, after: int):
        self.left = after

    def step(self, done: int, loss: float | None) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def killed(work: Callable[[], object]) -> None:
    """A process in which this is done until it is killed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads
        child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGKILL


@pytest.mark.parametrize("name", NAMES)
def test_a_training_is_resumed_bit_for_bit_with_stored_answers(name, tmp_path):
    data = made(name)
    scores = data.task.rows_per_sample is not None
    taps = "conv -> conv"
    terms = Labels() + Outputs() + Hint(taps) + (0.5 * KD() if scores else RKDDistance(taps) + Outputs(bounded=True))
    stage = Stage("only", terms, TrainConfig(epochs=2, batch=8, optimizer=SGD(lr=0.002)))

    def training(folder, stop=None, after=0, callback=None):
        teacher, student = networks(data)
        stop = stop or StopRequest()
        return Training(
            student, [teacher], [stage], data, settings=PLAIN, checkpoint_folder=folder, every=0.0,
            stored=StoredAnswers(folder=str(tmp_path / "stored"), taps="exact"), stop=stop,
            callback=callback or Stopper(stop, after),
        )  # fmt: skip

    whole = training(tmp_path / "whole")
    ended = whole.run()
    assert set(ended.stages[0].validation) >= {data.task.selecting.name, "loss"}
    with pytest.raises(Stopped):
        training(tmp_path / "halves", StopRequest(), 4).run()
    killed(lambda: training(tmp_path / "halves", callback=Killed(3)).run())
    second = training(tmp_path / "halves")
    second.run()
    for key, value in whole.student.state_dict().items():
        assert torch.equal(value, second.student.state_dict()[key]), key


@pytest.mark.parametrize("name", NAMES)
def test_the_preflight_passes(name):
    data = made(name)
    teacher, student = networks(data)
    findings = [*preflight.check_data(data, 8), *preflight.check_network("student", student, data, PLAIN)]
    stage = Stage("only", Labels() + Hint("conv -> conv"), TrainConfig(epochs=1, batch=8))
    findings += preflight.check_stage(stage, student, [teacher], data, PLAIN)
    assert not [finding for finding in findings if finding.level == "error"]
    assert next(iter(preflight.check_teacher(teacher, data, PLAIN))).subject == "teacher"
    wrong = nn.Sequential(nn.Flatten(), nn.Linear(192, 17))
    if name not in ("text", "tags", "links", "detection-3d"):
        assert "17" in next(iter(preflight.check_network("student", wrong, data, PLAIN))).text


def test_kd_of_one_logit_is_the_kl_of_two_bernoulli_distributions():
    student, teacher = torch.tensor([[0.3], [-1.0]]), torch.tensor([[1.5], [0.5]])
    task, targets = Binary(("face",)), torch.tensor([[1.0], [0.0]])
    rows = [task.rows({"logits": logits}, targets) for logits in (student, teacher)]
    found = rows[0].fold(kd(rows[0].flat, rows[1].flat, temperature=1.0))
    p, q = teacher.sigmoid(), student.sigmoid()
    expected = (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).squeeze(1)
    torch.testing.assert_close(found, expected)
    assert (found > 0.1).all()


def test_rows_fold_by_their_weights():
    rows = Rows(torch.zeros(2, 3, 4), weights=torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]))
    assert rows.fold(torch.tensor([2.0, 4.0, 100.0, 1.0, 1.0, 1.0])).tolist() == [3.0, 0.0]


@pytest.mark.parametrize(
    ("task", "targets", "words"),
    [
        (Classification(("a", "b")), torch.tensor([0, 2]), "sample 1 has label 2"),
        (MultiLabel(("a", "b")), torch.tensor([[0.0, 1.0], [0.5, 1.0]]), "sample 1 has the target"),
        (Binary(), torch.zeros(2, 3), "binary"),
        (Regression(("a",)), torch.tensor([[1.0], [float("nan")]]), "sample 1"),
        (Landmarks(("a x", "a y")), torch.tensor([[[1.0, 1.0]], [[float("nan"), 1.0]]]), "sample 1"),
    ],
)
def test_a_wrong_target_is_told_with_its_sample(task, targets, words):
    with pytest.raises(UserError, match=words):
        task.check(targets)


@pytest.mark.parametrize(("kind", "shape"), [(Regression, (4, 3)), (Landmarks, (4, 3, 2))])
def test_two_numbers_do_not_have_one_name(kind, shape):
    assert kind.of(torch.rand(shape), names=("a", "b", "c")).outputs == math.prod(shape[1:])
    with pytest.raises(UserError, match="'a' is the name of two outputs"):
        kind.of(torch.rand(shape), names=("a", "b", "a"))


@pytest.mark.parametrize(("kind", "shape"), [(Regression, (4, 3)), (Landmarks, (4, 3, 2)), (MultiLabel, (4, 3))])
def test_names_that_do_not_fit_are_not_replaced(kind, shape):
    targets = torch.randint(2, shape).float()
    for names in (("a", "b"), ("a", "b", "c", "d"), "a"):
        with pytest.raises(UserError, match=r"names are given \(\[.*\]\), and the targets have 3"):
            kind.of(targets, names=names)


@pytest.mark.parametrize("name", ["regression", "landmarks"])
def test_a_method_on_class_scores_is_refused_where_there_are_none(name):
    data = made(name)
    teacher, student = networks(data)
    assert "has none" in unfit(KD(), data.task)
    with pytest.raises(UserError, match="term 'kd' does not fit the task"):
        Objective(Labels() + KD(), student=student, teacher=teacher, task=data.task)


def test_what_a_task_does_not_have_is_refused():
    assert "targets that are numbers" in unfit(Outputs(bounded=True), made("classification").task)
    assert unfit(Outputs(bounded=True), made("landmarks").task) is None
    assert unfit(Outputs(), made("multilabel").task) is None
    assert "several rows" in unfit(MLKD(), made("multilabel").task)


def test_points_that_are_not_marked_do_not_count_in_outputs():
    nan = float("nan")
    targets = torch.tensor([[[0.0, 0.0], [nan, nan]]])
    task = Landmarks(("a x", "a y", "b x", "b y"), scales=(2.0,) * 4)
    student, teacher = torch.tensor([[2.0, 2.0, 9.0, 9.0]]), torch.tensor([[4.0, 4.0, 0.0, 0.0]])
    numbers = [task.numbers({"values": values}, targets) for values in (student, teacher)]
    assert output_distance(numbers[0].values, numbers[1].values, weights=numbers[0].weights).item() == 1.0
    ours, theirs = numbers[0].values, numbers[1].values
    assert teacher_bounded(ours, theirs, numbers[0].targets, weights=numbers[0].weights).item() == 0.0
    assert teacher_bounded(theirs, ours, numbers[0].targets, weights=numbers[0].weights).item() == 4.0


def test_landmarks_move_with_their_pixels():
    task = Landmarks(("l x", "l y", "r x", "r y"), mirror=((0, 1),))
    size = 12
    points = torch.tensor([[[4.0, 5.0], [7.0, 6.0]]]).repeat(32, 1, 1)
    images = torch.zeros(32, 1, size, size)
    images[:, 0, 5, 4], images[:, 0, 6, 7] = 1.0, 2.0
    views, ids = Augmentation(shift=3, flip=True), torch.arange(32)
    drawn = views.draw(images, 0, 0, ids)
    moved = task.moved(points, views.moved((size, size), 0, 0, ids))
    mirrored = views.moved((size, size), 0, 0, ids).mirrored
    assert 0 < int(mirrored.sum()) < 32
    for number in range(32):
        for place, value in enumerate((2.0, 1.0) if mirrored[number] else (1.0, 2.0)):
            x, y = moved[number, place].tolist()
            assert drawn[number, 0, int(y), int(x)] == value


def test_landmarks_that_are_not_marked_count_nowhere():
    task = Landmarks(("a x", "a y", "b x", "b y", "c x", "c y"))
    nan = float("nan")
    targets = torch.tensor([[[0.0, 0.0], [4.0, 9.0], [nan, nan]]])
    answer = {"values": torch.tensor([[0.0, 0.0, 4.0, 9.0, 100.0, 100.0]])}
    assert task.loss(answer, targets).item() == 0
    assert task.errors_of(answer["values"], targets).item() == 0
    answer = {"values": torch.tensor([[0.0, 6.0, 4.0, 9.0, 0.0, 0.0]])}
    assert task.errors_of(answer["values"], targets).item() == pytest.approx(3 / 6)  # of the box of 4 x 9


def test_wordpieces_are_the_longest_that_there_are():
    vocabulary = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "un", "##aff", "##able", "##a", "run")
    task = Text(("a", "b"), vocabulary, 8, "wordpiece")
    assert task.encode(["unaffable run xyz"])["input_ids"].tolist() == [[2, 4, 5, 6, 8, 1, 3, 0]]
    assert words("Don't!") == ["don", "'", "t", "!"]


@pytest.mark.parametrize("kind", ["text", "text-scores", "tags"])
def test_texts_of_another_length_than_that_of_their_task_are_refused(kind):
    """A student would be measured on these, and predict and its exported file would read others."""
    vocabulary = vocabulary_of(SENTENCES)
    inputs = Text(("bad", "good"), vocabulary, 6).encode(SENTENCES)
    targets = {"text": torch.arange(48) % 2, "text-scores": torch.rand(48, 1), "tags": inputs["input_ids"] % 2}[kind]
    task = {"name": kind, "vocabulary": vocabulary} | ({"scheme": "plain"} if kind == "tags" else {})
    with pytest.raises(UserError, match=r"each sample has 6 tokens \(input_ids\), and the task makes \d+ of a text"):
        from_tensors((inputs, targets), task=task, classes=["a", "b"] if kind == "tags" else None)
    assert from_tensors(
        (inputs, targets), task={**task, "length": 6}, classes=["a", "b"] if kind == "tags" else None
    ).shape == (len(vocabulary), 6)


def test_views_are_refused_for_texts():
    data = made("text")
    stream = data.train.epoch(
        0, seed=0, batch=4, augmentation=Augmentation(flip=True), task=data.task, device=torch.device("cpu")
    )
    with pytest.raises(UserError, match="input_ids"):
        next(stream)


def test_settings_of_a_task_are_checked():
    targets = torch.rand(10, 2)
    assert tasks.made({"name": "regression", "form": "huber"}, targets).form == "huber"
    with pytest.raises(UserError, match="no setting 'from'; did you mean 'form'"):
        tasks.made({"name": "regression", "from": "huber"}, targets)
    with pytest.raises(UserError, match="no task 'regresion'; did you mean 'regression'"):
        tasks.made("regresion", targets)


def test_figures_say_which_way_is_better():
    higher, lower = Figure("a", "a", unit="share"), Figure("b", "b", "lower")
    assert (higher.gain(0.7, 0.5), lower.gain(0.7, 0.5)) == pytest.approx((0.2, -0.2))
    assert higher.quality(1.0) > higher.quality(0.0)
    assert lower.quality(1.0) < lower.quality(0.0)
    assert replace(higher, chance=0.5).chance == 0.5


def test_r2_is_that_of_scikit_learn_for_large_numbers_and_constant_ones():
    generator = torch.Generator().manual_seed(0)
    wanted = torch.randn(300, 3, generator=generator) * 100 + torch.tensor([0.0, 1.7e9, 0.1])
    wanted[:, 2] = 0.1
    answers = wanted + 50 * torch.randn(300, 3, generator=generator)
    errors = (answers.double() - wanted.double()).square().sum(0)
    expected = 1 - errors[:2] / (wanted.double() - wanted.double().mean(0)).square().sum(0)[:2]
    meter = Regression(("a", "b", "c")).meter()
    for part in torch.arange(300).split(70):
        meter.update({"values": answers[part]}, wanted[part])
    assert meter.compute()["r2"] == pytest.approx(expected.sum().item() / 3)  # 0 for the constant
    meter = Regression(("c",)).meter()
    meter.update({"values": wanted[:, 2:]}, wanted[:, 2:])
    assert meter.compute()["r2"] == 1.0


@pytest.mark.parametrize("between", [None, (0, 1)])
def test_landmarks_without_a_unit_are_left_out_of_the_error(between):
    points = torch.tensor([[[0.0, 0.0], [3.0, 4.0]], [[5.0, 5.0], [5.0, 5.0]], [[1.0, 1.0], [math.nan, math.nan]]])
    task = Landmarks.of(points, between=between)
    assert math.isfinite(task.figures[0].chance)
    meter = task.meter()
    meter.update({"values": (points.nan_to_num() + torch.tensor([1.0, 0.0])).flatten(1)}, points)
    assert meter.compute()["nme"] == pytest.approx(1 / (5 if between else 12**0.5))
    with pytest.raises(UserError, match=r"the error has no unit.*name two other points in between"):
        Landmarks.of(points[1:], between=between).check(points[1:])


def test_landmarks_that_are_no_numbers_have_no_error_of_0():
    points = torch.tensor([[[0.0, 0.0], [3.0, 4.0]]])
    meter = Landmarks.of(points).meter()
    meter.update({"values": torch.full((1, 4), math.nan)}, points)
    assert math.isnan(meter.compute()["nme"])


def test_average_precision_goes_by_the_order_of_large_logits():
    pytest.importorskip("torchmetrics")
    logits, labels = torch.tensor([[17.5, 30.0, 29.9999, 18.0, -40.0]]).T, torch.tensor([[0, 1, 1, 0, 0]]).T
    both, twice = torch.cat((logits, logits - 60), 1), labels.repeat(1, 2)
    task = MultiLabel(("a", "b"))
    meter = task.meter()
    meter.update({"logits": both}, twice)
    assert meter.compute()["average_precision"] == 1.0
    assert task.details([{"logits": both}], twice, [])["options"] == [1.0, 1.0]


def test_mirrored_landmarks_without_pairs_are_warned_of():
    points = torch.rand(48, 3, 2, generator=torch.Generator().manual_seed(0)) * 8
    for mirror, warned in (((), 1), (((0, 1),), 0)):
        data = from_tensors((IMAGES, points), task={"name": "landmarks", "mirror": mirror})
        config = TrainConfig(epochs=1, batch=8, augmentation=Augmentation(flip=True))
        findings = preflight.check_stage(Stage("only", Labels(), config), Net(6), [], data, PLAIN)
        assert sum("task.mirror names no pairs" in finding.text for finding in findings) == warned
