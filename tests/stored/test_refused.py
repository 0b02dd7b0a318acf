"""Answers that belong to somebody else, or to no sample, are not used, and the reason is told; so is the cost."""

import json
import re
from dataclasses import replace

import pytest
import torch
from torch import nn

import understudy
from tests.stored.conftest import CONFIG, equal, files
from tests.tasks.test_every_method import DATA
from tests.tasks.test_tasks import networks
from understudy.answers.forecast import BLOCK, room
from understudy.config.settings import Settings
from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.data import Augmentation, Crop, Erase, TokenNoise, Turn
from understudy.data.parts import Data
from understudy.data.sources import Streamed
from understudy.errors import UserError
from understudy.files import sealed
from understudy.methods import find
from understudy.models import fingerprints
from understudy.teacher import stand_in as teaching
from understudy.terms import CE, KD, Confidence, GradientAT, Hint, Outputs, as_sum
from understudy.training import preflight

NOISE = TokenNoise(mask=0, drop=0.3)


@pytest.mark.parametrize(
    ("name", "terms", "augmentation", "what"),
    [
        ("segmentation", KD(), Augmentation(flip=True), "the answers"),
        ("detection", Outputs(), Augmentation(shift=1), "the answers"),
        ("detection-3d", Outputs(), Augmentation(turn=Turn()), "the answers"),
        ("landmarks", Outputs(), Augmentation(crop=Crop()), "the answers"),
        ("tags", KD(), Augmentation(tokens=NOISE), "the answers"),
        ("classification", Hint("conv -> conv"), Augmentation(flip=True), "hidden values"),
        ("segmentation", KD(), Augmentation(cutout=2), None),
        ("tags", KD(), Augmentation(tokens=TokenNoise()), None),
        ("text", KD(), Augmentation(tokens=NOISE), None),
        ("classification", KD(), Augmentation(flip=True), None),
        ("classification", Hint("conv -> conv"), Augmentation(erase=Erase()), None),
    ],
)
def test_answers_to_samples_as_they_are_must_not_have_places_that_move(at, name, terms, augmentation, what):
    (teacher, student), config = networks(DATA[name]), TrainConfig(epochs=2, batch=8, augmentation=augmentation)
    stage, settings = Stage("only", as_sum(terms), config), Settings(device="cpu")
    stored = at(clean=True, taps="exact")
    found = preflight.check_stage(stage, student, [teacher.eval()], DATA[name], settings, stored=stored, timed=False)
    errors = [finding.text for finding in found if finding.level == "error"]
    assert [f"that {what} of the two would be compared at different places" in text for text in errors] == (
        [True] if what else []
    ), errors


def test_who_may_add_nothing_is_told_what_is_missing(train, at):
    live, _ = train()
    short = replace(CONFIG, epochs=2)
    train(at(), config=short)  # two of four views
    found, notes = train(at(fill=False))
    assert equal(live, found)
    assert len(notes) == 1
    assert "view 2" in notes[0]
    with pytest.raises(UserError, match="holds no 'logits@top-2'"):
        train(at(fill=False, top=2))
    with pytest.raises(UserError, match=r"answers.packed keeps the largest logits in few bits: set answers.top"):
        train(at(packed=True))
    with pytest.raises(UserError, match="leave one out"):
        train(at(top=2, logits="float16"))


REASONS = {
    "teacher": "the teacher's weights or layers",
    "data": "the data",
    "augmentation": "the augmentation",
    "seed": "the seed of the views",
    "precision": "the precision (there: float32, here: bfloat16)",
}


@pytest.fixture(params=REASONS)
def other(request, small):
    """What differs in one thing from the usual training, and how that is told."""
    changes = {
        "teacher": {"teacher": small.Teacher(scale=20.0)},
        "data": {"data": small.data(count=93)},
        "augmentation": {"config": replace(CONFIG, augmentation=replace(CONFIG.augmentation, shift=2))},
        "seed": {"seed": 4},
        "precision": {"settings": Settings(device="cpu", teacher_precision="bfloat16")},
    }
    return changes[request.param], REASONS[request.param]


def test_answers_that_do_not_belong_are_refused_with_the_reason(train, at, other):
    changes, reason = other
    train(at())
    with pytest.raises(UserError) as caught:
        train(at(fill=False), **changes)
    assert reason in str(caught.value)
    assert train(at(fill=False))[1] == []


def test_new_answers_that_begin_beside_others_are_told_with_the_reason(train, at, small, other):
    changes, reason = other
    assert len(told(at(), small)) == 1  # there are none yet
    train(at())
    assert len(told(at(), small)) == 1  # they are those
    _, new = told(at(), small, **changes)
    assert re.search(r"holds none that belong here, so new ones begin: the nearest are those of Teacher-\w+", new)
    assert f"which differ in {reason}" in new
    another = replace(changes.get("settings") or Settings(device="cpu"), channels_last=False)
    assert len(told(at(), small, **changes | {"settings": another})) == 1  # they differ in several things
    stand_ins = teaching.StandIns()
    blank = {"teacher": stand_ins.untrained(small.Teacher(scale=10.0)), "stand_ins": stand_ins}
    assert len(told(at(), small, **changes | blank)) == 1  # its answers are not those to come


def test_the_check_refuses_a_folder_without_answers_to_which_none_are_added(train, at, small):
    teacher, student = small.networks()
    stage, settings, blank = find("kd")(CONFIG)[0], Settings(device="cpu"), teaching.StandIns()
    blank.untrained(teacher)

    def errors(stand_ins=None, seed=3):
        ways = {"seed": seed, "stored": at(fill=False), "stand_ins": stand_ins, "timed": False}
        found = preflight.check_stage(stage, student, [teacher], small.data(), settings, **ways)
        return [finding.text for finding in found if finding.level == "error"]

    assert "holds no answers that belong here: it is empty" in errors()[0]
    assert "holds no answers, and none are to be added (answers.fill = false)" in errors(blank)[0]
    train(at())
    assert errors() == []
    assert "which differ in the seed of the views" in errors(seed=4)[0]
    assert errors(blank, seed=4) == []  # they may be those of the teacher to come


def test_a_folder_that_says_something_else_or_holds_another_teachers_answers_is_refused(train, at, tmp_path, small):
    train(at())
    (description,) = tmp_path.rglob("store.json")
    whole = description.read_text()
    description.write_text(json.dumps(sealed(json.loads(whole) | {"data": "others"})))
    with pytest.raises(UserError, match=r"differ in the data.*Remove that folder"):
        train(at())
    description.write_text(whole)

    class Deceiving(small.Teacher):
        __qualname__ = "Teacher"

        def forward(self, x):
            return super().forward(x) + 1

    Deceiving.__name__ = "Teacher"
    teacher, _ = small.networks()
    deceiving = Deceiving()
    deceiving.load_state_dict(teacher.state_dict())
    with pytest.raises(UserError, match="does not belong to this teacher"):
        train(at(), teacher=deceiving)


def test_stages_that_need_the_teacher_itself_ask_it_and_say_why(train, at, tmp_path, small):
    config = replace(CONFIG, epochs=1)
    for term, reason in (
        (GradientAT("conv2 -> conv2"), "gradients through the teacher"),
        (Confidence(samples=2), "under dropout"),
        (understudy.terms.Hint("conv2 -> conv2"), 'answers.taps = "exact"'),
    ):
        stages = [Stage("only", CE() + term, config)]
        teacher = small.Student(width=6)
        live, _ = train(method=stages, teacher=teacher)
        found, notes = train(at(), method=stages, teacher=teacher)
        assert equal(live, found)
        assert len(notes) == 1
        assert notes[0].startswith("stage 'only' asks the teacher at every step")
        assert reason in notes[0]
    assert not files(tmp_path)


class OfTheFirst(nn.Module):
    def forward(self, x):
        x = x.mean((2, 3))
        return 30 * (x - x[:1])


class OfTheMean(nn.Module):
    """Whatever the order of its batch is."""

    def forward(self, x):
        x = x.mean((2, 3))
        return 30 * (x - x.mean(0))


@pytest.mark.parametrize("dependent", [OfTheFirst, OfTheMean])
def test_a_teacher_whose_answer_depends_on_its_batch_is_asked_live(train, at, tmp_path, dependent):
    live, _ = train(teacher=dependent())
    found, notes = train(at(), teacher=dependent())
    assert equal(live, found)
    assert "depend on who shares the batch" in notes[0]
    assert not files(tmp_path)


def test_data_that_change_by_themselves_are_refused(train, at):
    class Noisy(torch.utils.data.Dataset):
        def __len__(self):
            return 30

        def __getitem__(self, index):
            return torch.rand(3, 8, 8), index % 3

    whole = understudy.data.from_tensors((torch.rand(30, 3, 8, 8), torch.arange(30) % 3), validation=0)
    source = Streamed(Noisy(), torch.arange(30) % 3, workers=0)
    data: Data = replace(whole, train=replace(whole.train, source=source))
    with pytest.raises(UserError, match="changes its samples"):
        train(at(), data=data, config=replace(CONFIG, augmentation=Augmentation()))


def test_every_sample_of_a_streamed_set_counts():
    images, labels = torch.rand(200, 3, 8, 8), torch.arange(200) % 3

    def fingerprint(images, labels):
        dataset = torch.utils.data.TensorDataset(images, labels)
        return fingerprints.of_samples(Streamed(dataset, labels, workers=0))

    changed = images.clone()
    changed[199] += 0.5
    assert fingerprint(images, labels) == fingerprint(images.clone(), labels.clone())
    assert fingerprint(images, labels) != fingerprint(changed, labels)
    assert fingerprint(images, labels) != fingerprint(images, labels.flip(0))


def told(stored, small, config=CONFIG, teacher=None, data=None, settings=None, seed=3, stand_ins=None, **own):
    """What the check of a stage says of stored answers."""
    usual, student = small.networks()
    stages = find("fitnets-joint" if own else "kd")(config, **own)
    found = preflight.check_stage(
        stages[0],
        student,
        [teacher or usual],
        data or small.data(),
        settings or Settings(device="cpu"),
        seed=seed,
        stored=stored,
        stand_ins=stand_ins,
    )
    return [finding.text for finding in found if "stored answers" in f"{finding.subject}: {finding.text}"]


def forecasts(*args, **own):
    (text,) = told(*args, **own)
    return text


def test_the_check_tells_cost_gain_and_break_even_before_anything_is_stored(at, small, tmp_path):
    text = forecasts(at(views=2), small)
    assert re.match(r"the teacher is \d+% of a step; 2 views need 4\.32 kB and save \d\.\dx after epoch 2", text)
    assert "1 view needs" in forecasts(at(views=2), small, replace(CONFIG, augmentation=Augmentation()))
    assert "only in further trainings" in forecasts(at(), small)
    assert forecasts(at(), small, pair="conv -> conv2").startswith("no stored answers: it reads hidden values")
    dependent = forecasts(at(), small, teacher=OfTheMean())  # no gain is promised that there will not be
    assert "no stored answers: the teacher's answers depend on who shares the batch" in dependent
    exact = forecasts(at(views=2, taps="exact"), small, pair="conv -> conv2")
    assert "2 views need 274 kB" in exact  # 72 of 90 samples, 6 maps of 8 x 8 in float32, twice
    (hint,) = told(at(top=1, taps="exact"), small, pair="conv -> conv2")  # it reads no logits of the teacher
    assert hint.startswith("the teacher is ")
    *_, flat = told(at(top=1), small)
    assert re.match(r"term 'kd': at temperature 4, \d+% of the teacher's probability is that of classes which", flat)
    assert not tmp_path.exists() or not list(tmp_path.iterdir())


@pytest.mark.parametrize(("record", "share"), [(32, 0.2), (32, 0.001), (408, 0.2), (408, 1.0), (20_008, 0.2)])
def test_the_room_that_is_foreseen_is_that_of_the_blocks_which_are_written(record, share):
    places, blocks = 20_000, set()
    ids = torch.randperm(places, generator=torch.Generator().manual_seed(0))[: round(share * places)].tolist()
    for number in ids:
        blocks |= set(range(number * record // BLOCK, ((number + 1) * record - 1) // BLOCK + 1))
    assert room(record, len(ids), places) == pytest.approx(BLOCK * len(blocks), rel=0.2)
    assert room(record, places, places) == places * record
