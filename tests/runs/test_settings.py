"""Settings of a run: said, measured or plain, written down, and kept when it goes on."""

import pytest

import understudy
from understudy import UserError
from understudy import recipe as recipes
from understudy.bench.choose import Choice
from understudy.plans.training import Casts
from understudy.runs import calls, choosing
from understudy.runs.choosing import settled
from understudy.settings import CHOOSABLE, Settings
from understudy.stored import Stored

RECIPE = """
[data]
name = "folder"
root = "pictures"
size = 8
[student]
network = "smallnets:student"
[train]
epochs = 1
batch = 10
[methods.alone]
"""
FAST = Settings(precision="bfloat16", threads=1)


@pytest.mark.parametrize(
    ("text", "how", "auto"),
    [
        ("", None, CHOOSABLE),
        ('settings = "auto"', None, CHOOSABLE),
        ('settings = "plain"', None, ()),
        ("", "plain", ()),
        ('settings = "auto"', "plain", ()),
        ('settings = "plain"', "auto", CHOOSABLE),
        ('settings = { precision = "float32" }', None, ()),
        ('settings = { precision = "float32" }', "auto", tuple(n for n in CHOOSABLE if n != "precision")),
        ('settings = { auto = ["threads"] }', None, ("threads",)),
        ('settings = { auto = ["threads"] }', "plain", ()),
    ],
)
def test_what_is_left_to_be_measured(text, how, auto):
    recipe = recipes.parse(f"{text}\n{RECIPE}", settings=how)
    assert recipe.settings == Settings(auto=auto)
    assert recipes.parse(recipes.write(recipe)) == recipe


def test_settings_of_another_name_are_a_mistake():
    with pytest.raises(UserError, match="'auto' or 'plain', not 'fast'"):
        recipes.parse(f'settings = "fast"\n{RECIPE}')


@pytest.fixture
def measured(monkeypatch):
    """Every measurement finds the same; answers with how many there were."""
    asked = []

    def choose(*args, **about):
        asked.append(about)
        return Choice(FAST, "bfloat16: 2.00 times the speed")

    monkeypatch.setattr(choosing, "fastest_settings", choose)
    monkeypatch.setattr(calls, "fastest_settings", choose)
    return asked


def test_a_run_goes_on_with_the_settings_that_it_began_with(make_run, measured, tmp_path):
    recipe, reason = settled(recipes.parse(RECIPE), tmp_path / "run", Casts(["smallnets"]))
    assert (recipe.settings, reason) == (FAST, "bfloat16: 2.00 times the speed")
    run = make_run(text=recipes.write(recipe))
    assert run.execute().settings["precision"] == "bfloat16"
    again, reason = settled(recipes.parse(RECIPE), tmp_path / "run", Casts())
    assert again == recipe
    assert "with which the run began" in reason
    assert len(measured) == 1
    plain, _ = settled(recipes.parse(RECIPE, settings="plain"), tmp_path / "run", Casts())
    with pytest.raises(UserError, match=r"settings\.precision"):
        run.folder.look(recipes.write(plain))


def test_in_a_rehearsal_a_teacher_that_is_yet_to_be_trained_costs_what_it_will_cost(make_run):
    given = make_run()
    text = recipes.write(given.recipe).replace('weights = "teacher.safetensors"', "train = { epochs = 1 }")
    for run, learned in ((given, True), (make_run(text=text), False)):
        student = run.rehearsals().student("fitnets")
        assert list(map(student.stand_ins.has_learned, student.teachers)) == [learned]


def test_what_nobody_measured_is_plain_in_the_folder_too(make_run, tmp_path):
    make_run(text=RECIPE).execute()
    assert recipes.read(tmp_path / "run/recipe.toml").settings == Settings()


def test_what_is_stored_is_told_to_the_measurement(small, measured, workplace, tmp_path):
    settled(recipes.parse(f"{RECIPE}\n[stored]\nviews = 3"), None, Casts(["smallnets"]))
    stored = pytest.warns(UserWarning, match="stored answers: the teacher is")
    with stored, pytest.warns(UserWarning, match=r"2\.00 times"):
        understudy.distill(
            *small.networks(), small.data(), epochs=1, settings="auto", out=tmp_path / "run", stored=Stored(views=3)
        )
    assert [about["stored"] for about in measured] == [Stored(views=3)] * 2


def test_python_measures_where_it_is_asked_to(small, measured, tmp_path):
    teacher, student = small.networks()
    options = {"epochs": 1, "settings": "auto", "out": tmp_path / "run", "accept_weak": True}
    with pytest.warns(UserWarning, match=r"2\.00 times"):
        first = understudy.distill(teacher, student, small.data(), **options)
    again = understudy.distill(teacher, student, small.data(), **options)
    assert len(measured) == 1
    assert 'precision = "bfloat16"' in (tmp_path / "run/recipe.toml").read_text()
    assert again.accuracy == first.accuracy
