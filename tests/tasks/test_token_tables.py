"""Teacher and student with tokens of their own: one text, two token tables."""

import json

import pytest
import torch
from torch import nn

import understudy
from understudy import Objective, recipe
from understudy.answers import StoredAnswers
from understudy.data import load
from understudy.data.lengths import shortened
from understudy.errors import UserError
from understudy.export import export
from understudy.models import OwnTokens, build, preprocessing_from
from understudy.models.student import read
from understudy.runs.run import Run
from understudy.shipping.predict import predict
from understudy.tasks.words import of_table
from understudy.terms import KD, Hint, Labels, MiniLM
from understudy.training.preflight.tokens import misaligned

GOOD, BAD = ["a fine film", "fine and fine", "a good film , good"], ["a dull film", "dull and long", "a bad , bad film"]
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "f", "##ine", "##ilm", "d", "##ull", "go", "##od", "b", "##ad", ","]
SIZES = "{ width = 8, depth = 1, heads = 2 }"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    (folder / "SST-2").mkdir()
    for part, count in (("train", 8), ("dev", 3)):
        lines = [f"{text}\t{label}" for label, texts in enumerate((BAD, GOOD)) for text in texts] * count
        (folder / "SST-2" / f"{part}.tsv").write_text("\n".join(["sentence\tlabel", *lines]) + "\n")
    (folder / "pieces.txt").write_text("\n".join(PIECES) + "\n")
    return folder


def table(folder):
    return {"pieces": {"tokens": "wordpiece", "vocabulary": str(folder / "pieces.txt"), "length": 14}}


def texts(folder, **settings):
    return load("sst2", folder, validation=8, **({"length": 8, "least": 1, "token_tables": table(folder)} | settings))


def networks(data):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        large = data.token_tables["pieces"]
        teacher = build("text-encoder", classes=2, channels=large.token_count, size=14, width=8, depth=1, heads=2)
        student = build(
            "text-encoder", classes=2, channels=data.shape[0], size=data.shape[1], width=8, depth=1, heads=2
        )
    return OwnTokens(teacher, "pieces"), OwnTokens(student)


def test_each_network_reads_its_own_tokens_of_the_same_sentence(folder):
    data = texts(folder)
    inputs = data.example(4, torch.device("cpu"))
    assert sorted(inputs) == ["attention_mask", "input_ids", "pieces:attention_mask", "pieces:input_ids"]
    sentences = [line.partition("\t")[0] for line in (folder / "SST-2" / "train.tsv").read_text().splitlines()[1:]]
    chosen = [sentences[number] for number in data.train.ids[:4]]
    for name, task in {"": data.task, "pieces": data.token_tables["pieces"]}.items():
        expected = task.encode(chosen)
        assert all(torch.equal(value, expected[key]) for key, value in of_table(inputs, name).items())
    seen = {}
    for role, network in zip(("teacher", "student"), networks(data), strict=True):
        network.module.register_forward_pre_hook(
            lambda _m, _a, given, r=role: seen.update({r: given}), with_kwargs=True
        )
        network.eval()(**inputs)
    assert torch.equal(seen["teacher"]["input_ids"], inputs["pieces:input_ids"])
    assert torch.equal(seen["student"]["input_ids"], inputs["input_ids"])
    assert {frozenset(given) for given in seen.values()} == {frozenset(("input_ids", "attention_mask"))}


def test_padding_is_taken_off_each_table_by_itself(folder):
    data = texts(folder)
    batch = next(iter(data.train.in_order(4, torch.device("cpu"))))
    short = shortened(batch, data.train.lengths).inputs
    for name in ("", "pieces:"):
        longest = int(batch.inputs[f"{name}attention_mask"].sum(1).max())
        assert short[f"{name}input_ids"].shape == short[f"{name}attention_mask"].shape == (4, longest)
    assert short["input_ids"].shape != short["pieces:input_ids"].shape


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    """A recipe whose teacher is trained first, on tokens of its own; answers are stored."""
    place = tmp_path_factory.mktemp("runs")
    text = f"""
        seeds = [0]
        [data]
        name = "sst2"
        root = "{folder}"
        length = 8
        least = 1
        validation = 8
        token_tables = {{ pieces = {{ tokens = "wordpiece", vocabulary = "{folder}/pieces.txt", length = 14 }} }}
        [teacher]
        network = "text-encoder"
        settings = {SIZES}
        token_table = "pieces"
        train = {{ epochs = 12 }}
        [student]
        network = "text-encoder"
        settings = {SIZES}
        [train]
        epochs = 2
        batch = 8
        group_by_length = 2
        optimizer = {{ name = "adamw", lr = 0.02 }}
        [answers]
        views = 1
        [methods.alone]
        [methods.kd]
        temperature = 2
    """
    (place / "texts.toml").write_text(text)
    made = Run(recipe.read(place / "texts.toml"), place / "run", callback=understudy.Callback())
    assert not [finding for finding in made.check() if finding.level != "ok"]
    return made.execute(), place / "run"


def test_a_recipe_trains_stores_and_keeps_what_each_network_reads(run, folder):
    result, place = run
    assert result.teacher.figures["accuracy"].mean == 1.0
    teacher, student = read(place / "trainings" / "teacher-0"), read(place)
    assert teacher.front == {"front": "own tokens", "table": "pieces"}
    assert teacher.task.tokens == "wordpiece"
    assert teacher.input.shape == (len(PIECES), 14)
    assert student.front == {"front": "own tokens", "table": ""}
    assert student.task.tokens == "words"
    for where in (place, place / "trainings" / "teacher-0"):
        answers = predict(where, ["a fine film", "a dull film"])
        assert {one.classes[0][0] for one in answers} <= {"negative", "positive"}
    assert [one.classes[0][0] for one in predict(place / "trainings" / "teacher-0", ["a fine film", "dull"])] == [
        "positive",
        "negative",
    ]


def test_texts_that_a_student_does_not_read_to_their_end_are_counted(run):
    length = read(run[1]).task.length
    texts = ["fine", "a fine film " * length, "dull " * (length - 2), "dull " * (length - 1)]
    with pytest.warns(UserWarning, match=f"2 of 4 texts have more than the {length} tokens that the student reads"):
        assert len(predict(run[1], texts, batch=2)) == 4


@pytest.mark.parametrize("to", ["onnx", "torch", "int8"])
def test_an_exported_student_takes_its_own_tokens_alone(run, to, tmp_path):
    loose = {"agreement": 0, "loss": 100} if to == "int8" else {}
    exported = export(run[1], to, out=tmp_path, seconds=0.0, broken=True, tolerance=loose)
    assert exported.record["facts"]["inputs"] == ["attention_mask", "input_ids"]
    assert set(exported.proof.latency_ms) == {"before", "after", "teacher"}
    by_file = predict(exported.path, ["a fine film"], trust=[str(exported.path)])
    chances = [dict(one.classes) for one in (*by_file, *predict(run[1], ["a fine film"]))]
    assert chances[0] == pytest.approx(chances[1], abs=0.1 if to == "int8" else 1e-4)


def test_networks_that_are_objects_say_what_they_read(folder, tmp_path):
    data = texts(folder)
    teacher, student = networks(data)
    out = tmp_path / "run"
    run = understudy.distill(
        teacher, student, data, method=Labels() + KD(), epochs=1, accept_weak=True, out=out, answers=StoredAnswers(),
        callback=understudy.Callback(),
    )  # fmt: skip
    assert read(run.folder).front == {"front": "own tokens", "table": ""}
    assert isinstance(understudy.load(run.folder, trust=["understudy"]), OwnTokens)
    with pytest.raises(UserError, match="say which one it reads"):
        understudy.distill(
            teacher, student.module, data, method=KD(), epochs=1, accept_weak=True, callback=understudy.Callback()
        )


def test_methods_that_compare_tokens_are_refused_or_warned_of(folder):
    data = texts(folder, length=14)  # as many tokens of each table, so that nothing but the check could notice
    teacher, student = networks(data)
    inputs = data.example(4, torch.device("cpu"))
    settings = {"task": data.task, "example": inputs}
    attention = "layers.0.self_attn"
    objective = Objective(MiniLM(f"{attention} -> {attention}"), student=student, teacher=teacher, **settings)
    with pytest.raises(UserError, match="compares them token by token"):
        objective(inputs, torch.zeros(4, dtype=torch.int64))
    hint = Objective(Hint("layers.0 -> layers.0"), student=student, teacher=teacher, **settings)
    (found,) = misaligned("stage", hint, inputs)
    assert "the n-th token of one is another word of the other" in found.text
    plain = of_table(inputs)
    assert not list(misaligned("stage", hint, plain))
    vectors = Objective(Hint("head:input -> head:input"), student=student, teacher=teacher, **settings)
    assert not list(misaligned("stage", vectors, inputs))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"token_tables": {"a:b": {}}}, "'a:b' is no name"),
        ({"token_tables": {"large": {"tokens": "wordpiece"}}}, "belong together"),
        ({"token_tables": {"large": {"tokens": "letters"}}}, "token_tables"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(folder, change, said):
    with pytest.raises(UserError, match=said):
        texts(folder, **change)


def test_a_table_that_is_not_there_is_said(folder, tmp_path):
    text = f"""
        [data]
        name = "sst2"
        root = "{folder}"
        token_tables = {{ small = {{}} }}
        [student]
        network = "text-encoder"
        settings = {SIZES}
        token_table = "smal"
        [methods.alone]
    """
    (tmp_path / "texts.toml").write_text(text)
    with pytest.raises(UserError, match=r"no such table.*small"):
        list(Run(recipe.read(tmp_path / "texts.toml"), tmp_path / "run").check())


def test_a_table_that_the_inputs_do_not_have_is_named():
    with pytest.raises(UserError, match=r"no tokens of the table 'larg'; did you mean 'large'\?"):
        OwnTokens(nn.Identity(), "larg")(**{"input_ids": 1, "large:input_ids": 2})


def test_a_front_is_rebuilt_from_its_description():
    front = preprocessing_from(json.loads(json.dumps(OwnTokens(nn.Identity(), "large").describe())), nn.Identity())
    assert isinstance(front, OwnTokens)
    assert front.table == "large"
