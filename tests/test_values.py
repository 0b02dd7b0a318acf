"""Every number that somebody can set has bounds, and what lies outside of them is refused wherever it is written."""

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args, get_origin

import pytest
import torch
from annotated_types import Interval
from pydantic import BaseModel
from torch import nn

from understudy import Objective, Settings, TrainConfig, UserError, bounds, data, optimizers, recipe, schedules, tasks
from understudy.answers import StoredAnswers
from understudy.data.augmentation import Augmentation
from understudy.data.sets import DATASETS
from understudy.methods import METHODS
from understudy.methods.notation import parse
from understudy.models.catalogue import build
from understudy.models.families import FAMILIES
from understudy.objective import weights
from understudy.objective.term import Weighted
from understudy.plans.node import Node
from understudy.recipe import schema
from understudy.recipe.search import parse_searched
from understudy.recipe.space import read_space
from understudy.terms import CE, KD, TERMS

HOSTILE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf, "-1": -1, "0": 0, "10**30": 10**30}
# Not settings, but what a task measured on somebody's data, in whatever unit they have.
MEASURED = {"task regression.scales", "task text-scores.scales", "task landmarks.scales", "task landmarks.usual"}


def numbers(hint: Any, nested: tuple[type, ...]) -> list[tuple[Any, list[Any]]]:
    """Each place in an annotation where a number stands, with its bounds."""
    if get_origin(hint) is Annotated:
        inner, *marks = get_args(hint)
        found = numbers(inner, nested)
        return [(kind, [*own, *(m for m in marks if isinstance(m, Interval))]) for kind, own in found]
    if hint in (int, float):
        return [(hint, [])]
    if get_origin(hint) is Literal or dataclasses.is_dataclass(hint):
        return []
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return []
    return [place for argument in get_args(hint) for place in numbers(argument, nested) if argument is not Ellipsis]


def described(kind: type) -> dict[str, Any]:
    hints = typing.get_type_hints(kind, include_extras=True)
    names = kind.model_fields if issubclass(kind, BaseModel) else [f.name for f in dataclasses.fields(kind)]
    return {name: with_marks(kind, name, hints[name]) for name in names}


def with_marks(kind: type, name: str, hint: Any) -> Any:
    marks = kind.model_fields[name].metadata if issubclass(kind, BaseModel) else []
    return Annotated[hint, *marks] if marks else hint


def settings() -> dict[str, Any]:
    """Every setting that holds a number, by its name."""
    kinds: dict[str, type] = {
        kind.__name__: kind
        for kind in (TrainConfig, Settings, StoredAnswers, Augmentation, Weighted, weights.linear, weights.step)
    }
    kinds |= {
        kind.__name__: kind
        for module in (optimizers, schedules)
        for kind in vars(module).values()
        if isinstance(kind, type) and dataclasses.is_dataclass(kind)
    }
    kinds |= {"auto": weights.auto, "Node": Node}
    kinds |= {
        f"[{kind.__name__}]": kind
        for kind in vars(schema).values()
        if isinstance(kind, type) and issubclass(kind, schema.Table)
    }
    kinds |= {f"term {name}": term for name, term in TERMS.items()}
    kinds |= {f"data set {name}": DATASETS[name].settings for name in DATASETS.names()}
    kinds |= {f"task {name}": tasks.find(name) for name in tasks.names()}
    found = {f"{name}.{key}": hint for name, kind in kinds.items() for key, hint in described(kind).items()}
    found |= {f"method {name}.{key}": hint for name, m in METHODS.items() for key, hint in m.kinds.items()}
    for name, family in FAMILIES.items():
        hints = typing.get_type_hints(family.make, include_extras=True)
        found |= {f"network {name}.{key}": hint for key, hint in hints.items() if key != "return"}
    return {name: hint for name, hint in found.items() if numbers(hint, ())}


SETTINGS = settings()


def filled(hint: Any, number: Any) -> Any:
    """A value of the annotation's form with this number in it."""
    origin = get_origin(hint)
    if origin is Annotated:
        return filled(get_args(hint)[0], number)
    if origin in (typing.Union, types.UnionType):
        return filled(next(member for member in get_args(hint) if numbers(member, ())), number)
    if origin is tuple:
        members = [member for member in get_args(hint) if member is not Ellipsis]
        return tuple(filled(member, number) for member in members)
    if origin in (dict, Mapping):
        return {"*": filled(get_args(hint)[1], number)}
    return number


def allowed(places: list[tuple[Any, list[Interval]]], number: Any) -> bool:
    """Whether one of the annotation's intervals says that this number may be."""
    return any(
        all(
            (i.ge is None or number >= i.ge)
            and (i.gt is None or number > i.gt)
            and (i.le is None or number <= i.le)
            and (i.lt is None or number < i.lt)
            for i in intervals
        )
        for _, intervals in places
    )


def test_there_are_settings_of_every_kind():
    kinds = {name.split(" ")[0].split(".")[0] for name in SETTINGS}
    assert {"TrainConfig", "SGD", "Cosine", "[DataTable]", "term", "method", "data", "task", "network"} <= kinds
    assert len(SETTINGS) > 250


@pytest.mark.parametrize("name", SETTINGS)
def test_a_number_is_bounded_on_both_sides_and_refused_outside(name):
    hint = SETTINGS[name]
    places = numbers(hint, ())
    for kind, intervals in places:
        low = [bound for i in intervals for bound in (i.ge, i.gt) if bound is not None]
        high = [bound for i in intervals for bound in (i.le, i.lt) if bound is not None]
        assert low, f"{name}: {kind.__name__} without a lower bound"
        assert high, f"{name}: {kind.__name__} without an upper bound"
        assert all(math.isfinite(bound) for bound in (*low, *high)) or name in MEASURED
    for called, number in HOSTILE.items():
        refused = bounds.wrong(hint, filled(hint, number)) is not None
        assert refused != allowed(places, number), f"{name} = {called}"
        assert refused or math.isfinite(number)
        assert refused or number != 10**30 or name in MEASURED


RECIPE = """
[data]
name = "demo"
[student]
network = "resnet8"
[methods.alone]
[methods.fitnets]
hint_epochs = 1
[teacher]
network = "resnet14"
[teacher.train]
[tune.search]
"train.optimizer.lr" = "0.01..0.1"
"""


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "-1", str(10**30), "9" * 4400, "0x" + "f" * 9000])
@pytest.mark.parametrize(
    "key",
    [
        "train.epochs", "train.batch", "train.repeats", "train.order_seed", "train.optimizer.lr",
        "train.schedule.floor", "train.ema", "train.augmentation.mixup", "train.augmentation.shift",
        "train.lr_scale.fc", "settings.threads", "settings.teacher_batches", "seeds", "data.validation",
        "data.workers", "answers.views", "student.mean",
        "student.settings.stem_stride", "methods.alone.label_smoothing", "methods.fitnets.weight",
        "methods.fitnets.anneal_epochs", "methods.fitnets.temperature", "methods.alone.seeds", "teacher.accuracy",
        "tune.grace", "data.unknown",
    ],
)  # fmt: skip
def test_a_recipe_refuses_a_number_that_means_nothing(key, number):
    if key == "student.mean" and number == "-1":
        pytest.skip("a mean may be negative")
    written = f"[{number}]" if key in ("seeds", "student.mean", "methods.alone.seeds") else number
    with pytest.raises(UserError) as caught:
        recipe.parse(RECIPE, "r.toml", [f"{key}={written}"])
    assert len(str(caught.value)) < 600


def test_what_a_network_cannot_be_is_refused_where_it_is_built():
    for number in (math.nan, math.inf, -1, 0, 10**30, "9" * 5000):
        with pytest.raises(UserError, match="stem_stride = "):
            build("resnet8", stem_stride=number)
    for name in ("resnet" + "9" * 30, "resnet" + "9" * 5000, "wrn-16-" + "9" * 30):
        with pytest.raises(UserError):
            build(name)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, -1, 10**30, 10**400])
def test_a_weight_is_refused_as_it_is_written(number):
    for write in (
        lambda: number * KD(),
        lambda: KD() * number,
        lambda: weights.linear(1, number, epochs=3),
        lambda: weights.linear(1, 0, epochs=number),
        lambda: weights.step(0, number, epoch=3),
        lambda: weights.auto(number),
    ):
        with pytest.raises(UserError) as caught:
            write()
        assert len(str(caught.value)) < 200
    for text in (f"CE() + {number} * KD()", f"auto({number}) * KD()", f"KD(temperature={number})"):
        with pytest.raises(UserError):
            parse(text)


def test_products_of_weights_stay_in_their_bounds():
    with pytest.raises(UserError, match="the weight"):
        1e6 * (1e6 * KD())


@pytest.mark.parametrize("number", [math.nan, math.inf, -1, 10**30])
def test_terms_are_refused_where_they_are_bound(number):
    network = nn.Sequential(nn.Linear(3, 2))
    for term in (KD(temperature=number), CE(label_smoothing=number)):
        with pytest.raises(UserError, match=r"(temperature|label_smoothing) = "):
            Objective(CE() + term, student=network, teacher=network, example=torch.rand(2, 3))


@pytest.mark.parametrize(
    "space",
    ["nan..1", "1..inf", "-1e308..1e308 step 20", "1e400..2", "{nan, 1}", "{1, inf}", "1..2 step 1e-300", "0..1 log",
     "1" * 5000 + "..2", "-5..5", "1..1e30"],
)  # fmt: skip
def test_a_space_is_refused_where_it_leaves_the_bounds(space):
    with pytest.raises(UserError) as caught:
        parse_searched(RECIPE, "r.toml", [], [f"methods.fitnets.temperature={space}"])
    assert len(str(caught.value)) < 400


def test_a_search_beside_a_value_in_place_of_the_table():
    for change in ("tune=1", "tune.search=3", "tune=[1]"):
        with pytest.raises(UserError):
            parse_searched(RECIPE, "r.toml", [change], ["methods.fitnets.temperature=1..20"])
    assert read_space("0..1 step 0.1").step == 0.1


@pytest.mark.parametrize("number", [math.nan, math.inf, -1, 10**30])
def test_data_in_python_refuse_them_too(number):
    x, y = torch.rand(20, 4), torch.arange(20) % 2
    for wrong in ({"validation": number}, {"seed": number}, {"task": {"name": "regression", "delta": number}}):
        with pytest.raises(UserError):
            data.from_tensors((x, y), **wrong)


def test_a_label_that_makes_more_classes_than_samples_is_refused_at_once():
    for label in (2**40, 2**62):
        with pytest.raises(UserError, match="more classes than there are samples"):
            data.from_tensors((torch.rand(3, 4), torch.tensor([0, 1, label])))
    with pytest.raises(UserError, match="whole number from 1"):
        data.from_tensors((torch.rand(3, 4), torch.tensor([0, 1, 2])), classes=10**30)


def test_the_recipe_of_a_run_loses_no_value():
    read = recipe.parse(RECIPE, "r.toml", ["methods.fitnets.weight=0.0", "data.validation=500", "train.ema=0.5"])
    assert recipe.parse(recipe.write(read)) == read
    for number in ("inf", "nan", "-inf", "[1.0, nan]"):
        with pytest.raises(UserError, match=r"student\.settings\.widths: no setting is"):
            recipe.parse(RECIPE, "r.toml", [f"student.settings.widths={number}"])
