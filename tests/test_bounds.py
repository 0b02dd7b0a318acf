"""What is made in Python keeps within the bounds that recipes have."""

import dataclasses
import functools
from typing import Annotated

import pytest
import torch
from torch import nn

from understudy import Objective, Pair, Settings, Stage, TrainConfig, UserError, bounds, methods, optimizers, schedules
from understudy.methods import METHODS
from understudy.terms import AT, CE, KD, TERMS, Hint


@dataclasses.dataclass(frozen=True)
class Own:
    """An optimizer of a user's own, without bounds."""

    lr: float = -1.0
    betas: "tuple[float, NobodyImportsIt]" = ()  # noqa: F821


@dataclasses.dataclass(frozen=True)
class Bounded(CE):
    """A term of a user's own."""

    temperature: bounds.Positive = 1.0
    share: bounds.Share | None = None
    size: Annotated[int, bounds.Interval(ge=2)] = 2
    plain: float = 1.0


@pytest.mark.parametrize(
    ("description", "said"),
    [
        (TrainConfig(keep="lats"), r"thing\.keep = 'lats': .*'best' or 'last'"),
        (TrainConfig(epochs=0), r"thing\.epochs = 0: .*greater than or equal to 1"),
        (TrainConfig(epochs=3.0), r"thing\.epochs = 3\.0: .*integer"),
        (TrainConfig(optimizer="sgd"), r"thing\.optimizer = 'sgd': an object belongs here"),
        (TrainConfig(optimizer=optimizers.SGD), r"thing\.optimizer = .*an object belongs here, as SGD\(\) is"),
        (
            TrainConfig(optimizer=schedules.Cosine()),
            r"thing\.optimizer = .*Cosine is none of SGD, AdamW, Adagrad, RMSProp, Muon",
        ),
        (TrainConfig(optimizer=optimizers.AdamW(betas=(0.9,))), r"thing\.optimizer\.betas = "),
        (TrainConfig(optimizer={"name": "adamw"}), r"thing\.optimizer = .*an object belongs here, as SGD\(\) is"),
        (TrainConfig(lr_scale={"conv*": "0.1"}), r"thing\.lr_scale = .*number"),
        (TrainConfig(schedule=schedules.Step(at=("5", 10))), r"thing\.schedule\.at = .*number"),
        (Settings(precision=torch.bfloat16), r"thing\.precision = torch\.bfloat16: .*'float32', 'bfloat16'"),
        (TrainConfig(max_norm={"conv*": -1}), r"thing\.max_norm = .*greater than 0"),
        (TrainConfig(optimizer=optimizers.SGD(lr=-1)), r"thing\.optimizer\.lr = -1: .*greater than 0"),
        (Settings(precision="bf16"), r"thing\.precision = 'bf16': .*'float32', 'bfloat16' or 'float16'"),
        (Settings(threads=0), r"thing\.threads = 0"),
        (Bounded(temperature=0.0), r"thing\.temperature = 0\.0: .*greater than 0"),
        (Bounded(temperature=float("nan")), r"thing\.temperature = nan: a finite number"),
        (Bounded(temperature=float("inf")), r"thing\.temperature = inf: a finite number"),
        (Bounded(share=1.5), r"thing\.share = 1\.5: .*less than or equal to 1"),
        (Bounded(size=1), r"thing\.size = 1: .*greater than or equal to 2"),
        (KD(temperature=float("inf")), r"thing\.temperature = inf"),
        (KD(student_temperature=0), r"thing\.student_temperature = 0: .*greater than or equal to 0.0001"),
        (Hint("a -> b", reduce="avg"), r"thing\.reduce = 'avg': .*'sum', 'mean' or 'relative'"),
    ],
)
def test_what_a_recipe_could_not_say_is_refused_with_its_name(description, said):
    with pytest.raises(UserError, match=said):
        bounds.check(description, "thing")


@pytest.mark.parametrize("optimizer", [optimizers.SGD(lr=1), Own(), Bounded(plain=None)])
def test_what_is_right_or_somebodys_own_passes(optimizer):
    bounds.check(TrainConfig(optimizer=optimizer), "thing")
    bounds.check(Settings(), "thing")


@pytest.mark.parametrize("pairs", ["a -> b", ["a -> b", "c -> d"], (Pair.parse("a -> b"), Pair.parse("c -> d"))])
def test_pairs_are_texts_or_objects_one_or_several(pairs):
    bounds.check(AT(pairs), "thing")
    assert methods.find("at")(TrainConfig(), pairs=pairs)


@pytest.mark.parametrize("name", TERMS)
def test_every_term_can_be_checked(name):
    """Its annotations can be read; what they say of a value that none of them takes is for pydantic to know."""
    term = TERMS[name]
    for field in dataclasses.fields(term):
        bounds.wrong(bounds.hints(term)[field.name], "no such value")


def test_an_objective_looks_at_its_terms():
    network = nn.Sequential(nn.Linear(3, 2))
    with pytest.raises(UserError, match=r"term 'hint'\.reduce = 'avg'"):
        Objective(CE() + Hint("0 -> 0", reduce="avg"), student=network, teacher=network, example=torch.rand(2, 3))


def test_a_single_pair_needs_no_brackets():
    (stage,) = methods.find("at")(TrainConfig(), pairs="layer2 -> layer2")
    (same,) = methods.find("at")(TrainConfig(), pairs=["layer2 -> layer2"])
    assert stage == same


def test_a_method_of_ones_own_need_not_say_of_which_kind_its_settings_are():
    def own(config, *, weight=1.0):
        return [Stage("own", weight * CE(), config)]

    def hidden(config: "NobodyImportsIt", *, weight: "NobodyImportsIt" = 1.0):  # noqa: F821
        return own(config, weight=weight)

    def foreign(config, *, weight: "torch.device | float" = 1.0):
        return own(config, weight=weight)

    for stages in (own, hidden, foreign, functools.partial(own)):
        method = methods.Method("own", stages, family="own", year=2026, paper="none")
        assert method(TrainConfig(), weight=2)[0].objective.parts[0].factor == 2


@pytest.mark.parametrize("name", METHODS)
def test_a_setting_of_a_method_is_of_its_kind(name):
    method = methods.find(name)
    numbers = [key for key, p in method.settings.items() if isinstance(p.default, float)]
    for key in numbers:
        with pytest.raises(UserError, match=f"method {name!r}: {key} = 'much': .*number"):
            method(TrainConfig(), **{key: "much"})
