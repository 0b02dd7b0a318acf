"""The space of a search: how it is written, what it becomes, and every mistake at its line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy import recipe
from understudy.errors import UserError
from understudy.recipe.space import Choice, Range, read_space

BASE = """[data]
name = "demo"
[teacher]
network = "resnet8"
train = { epochs = 5 }
[student]
network = "resnet8"
[train]
epochs = 3
optimizer = { name = "adamw", lr = 0.1 }
[methods.alone]
[methods.kd]
train = { batch = 7 }
[tune.search]
"""  # the next line is the 15th


def searched(lines, **more):
    return recipe.parse_searched(BASE + lines, "r.toml", **more)


@pytest.mark.parametrize(
    ("text", "space"),
    [
        ("1..20", Range(1, 20)),
        (" 0.05 .. 1 step 0.05", Range(0.05, 1, step=0.05)),
        ("1e-4..0.1 log", Range(1e-4, 0.1, log=True)),
        ("-2..-.5", Range(-2, -0.5)),
        ("{1,2, 5 ,10}", Choice((1, 2, 5, 10))),
    ],
)
def test_spaces_as_people_write_them(text, space):
    assert read_space(text) == space


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.floats(0, 1))
def test_a_tidy_value_stays_in_its_range_and_is_hardly_moved(low, length, share):
    space = Range(low, low + length)
    value = low + share * length
    assert space.low <= space.tidy(value) <= space.high
    assert space.tidy(value) == pytest.approx(value, rel=1e-4, abs=1e-9)


def test_steps_are_met_exactly():
    space = Range(0.05, 1, step=0.05)
    assert [space.tidy(0.05 + 0.05 * k) for k in (0, 2, 19)] == [0.05, 0.15, 1.0]


def test_keys_with_and_without_quotes_whole_numbers_and_what_comes_on_top():
    found = searched(
        'methods.kd.temperature = "1..20"\n"train.epochs" = "2..9"\n',
        search=["train.optimizer.lr=1e-4..1 log", "methods.kd.temperature={1, 4}"],
        seeds=[3, 4],
    )
    assert (found.method, found.seeds) == ("kd", (3, 4))
    assert found.spaces == {
        "methods.kd.temperature": Choice((1, 4)),
        "train.epochs": Range(2, 9, whole=True),
        "train.optimizer.lr": Range(1e-4, 1, log=True),
    }
    trial = found.at({"methods.kd.temperature": 4, "train.epochs": 2, "train.optimizer.lr": 0.5})
    config = trial.methods["kd"].train
    assert (config.epochs, config.batch, config.optimizer.lr) == (2, 7, 0.5)
    assert trial.methods["kd"].settings == {"temperature": 4}
    assert trial.teacher == found.recipe.teacher  # whose config begins with [train], as it stands in the recipe


def test_several_teachers_stay_as_they_were_too():
    several = BASE.replace("[teacher]", "[[teachers]]")
    found = recipe.parse_searched(several + 'train.optimizer.lr = "0.01..1"\n', "r.toml")
    assert found.at({"train.optimizer.lr": 0.5}).teachers == found.recipe.teachers


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('methods.kd.temprature = "1..20"', "r.toml:15: tune.search.methods.kd.temprature: method 'kd' has no such se"),
        ('methods.kdd.weight = "1..2"', "no table methods.kdd; did you mean 'kd'"),
        ('methods.kd.weight = "0..1"\nmethods.alone.label_smoothing = "0..0.5"', "search one method at a time"),
        ('"train.epochs" = "0..3"', "r.toml:15: tune.search.train.epochs: Input should be greater than or equal to 1"),
        ('train.epochs = "1.5..3"', "valid integer"),
        ('train.epochs = "1..4 step 0.5"', "takes whole numbers alone"),
        ('train.ema = "{0.5, 2}"', "less than 1 (it is 2)"),
        ('train.batch = "8..16"', "changes nothing for 'kd': methods.kd.train.batch stands above it"),
        (
            'data.validation = "1..3"',
            "settings of the method and of its training: methods.kd.SETTING or train.KEY",
        ),
        ('train.epochs = "3..1"', "from a smaller number to a larger one"),
        ('train.epochs = "one..3"', "'one' is no number"),
        ('train.epochs = "1..inf"', "'inf' is no number"),
        ('train.epochs = "many"', "write a range as 1..20"),
        ('train.epochs = "{1}"', "two numbers or more"),
        ('train.epochs = "0..3 log"', "begins above 0"),
        ('train.optimizer.lr = "0.1..1 step 0.4"', "do not lead from 0.1 to 1"),
        ("train.epochs = 3", "valid string"),
        ("", "nothing to search: add a table [tune.search], or --search methods.kd.SETTING=1..20"),
        ('train.epochs = "1..3"\n[tune]\nmethod = "kf"', "no table methods.kf; did you mean 'kd'"),
        ('train.epochs = "1..3"\n[tune]\ngraec = 3', "r.toml:17: tune.graec: unknown key; did you mean 'grace'"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_the_way_out(lines, said):
    with pytest.raises(UserError) as caught:
        searched(lines)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_mistakes_of_the_command_line_name_its_options():
    for more, said in (
        ({"search": ["train.epochs=9..1"]}, "--search: tune.search.train.epochs: '9..1'"),
        ({"search": ["train.epochs"]}, "--search 'train.epochs': write key=space"),
        ({"search": ["train.epochs=1..2"], "method": "ka"}, "--method: tune.method: the recipe has no table"),
        ({"search": ["train.epochs=1..2"], "overrides": ["data.validation=0"]}, "set data.validation"),
    ):
        with pytest.raises(UserError) as caught:
            searched("", **more)
        assert said in str(caught.value)


def test_a_recipe_with_a_search_is_read_and_written_as_any_other():
    found = recipe.parse(BASE + 'methods.kd.weight = "0..1"\n', "r.toml")
    assert found.tune.search == {"methods.kd.weight": "0..1"}
    assert recipe.parse(recipe.write(found)) == found
