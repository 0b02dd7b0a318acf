"""One table for all methods: each makes stages that train, from its defaults alone."""

import dataclasses
import inspect
from dataclasses import replace

import pytest
import torch

import understudy
from tests.terms.table import CLASSES, networks
from understudy import Objective, UserError, linear
from understudy.config.optimizers import SGD
from understudy.config.settings import Settings
from understudy.config.train import TrainConfig
from understudy.data import from_tensors
from understudy.methods import METHODS, find
from understudy.methods.costs import cost, measured
from understudy.methods.registry import known_terms
from understudy.plans.stages import method_stages as stages_of
from understudy.tasks import Classification
from understudy.terms import CE, KD, Hint, TapLabels, as_sum
from understudy.training import preflight

CONFIG = TrainConfig(epochs=10, batch=16)
NEEDED = {  # what cannot be proposed from two networks
    "terms": {"terms": "CE() + KD(2)"},
    "stages": {"stages": [{"terms": "KD()", "epochs": 4}, {"name": "end", "terms": "CE()", "epochs": 6, "lr": 0.5}]},
}


ATTENTION = {"patient-kd", "tinybert", "minilm"}  # methods for transformers
OF_UNLABELLED = {"pseudo-labels"}  # methods that need samples without labels


@pytest.fixture(scope="module")
def data():
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randn(80, 1, 8, 8, generator=generator)
    return from_tensors((pictures, torch.arange(80) % CLASSES), validation=16)


@pytest.mark.parametrize("name", sorted(name for name in METHODS if METHODS[name].unfit(Classification()) is None))
def test_every_method_trains_from_its_defaults_within_the_budget(data, name):
    teacher, student = networks(alike=False, attention=name in ATTENTION)
    stages = stages_of(name, CONFIG, NEEDED.get(name, {}), student, teacher, data)
    assert sum(stage.config.epochs for stage in stages) == CONFIG.epochs
    assert len({stage.name for stage in stages}) == len(stages)
    for stage in stages:
        findings = list(preflight.check_stage(stage, student, [teacher], data, Settings(device="cpu")))
        assert ("error" in {finding.level for finding in findings}) == (name in OF_UNLABELLED)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_is_described(name):
    method = METHODS[name]
    assert method.name == name
    assert method.summary.endswith((".", ":", "``", ")"))
    assert method.paper
    assert 1980 < method.year < 2100
    parameters = list(inspect.signature(method.stages).parameters.values())
    assert all(p.kind is inspect.Parameter.KEYWORD_ONLY for p in parameters if p.name not in ("config", "term"))


def test_methods_are_listed_by_family_then_year_then_name():
    order = [(method.family, method.year, name) for name, method in METHODS.items()]
    assert order == sorted(order)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_setting_has_one_default(name):
    """That of the term is the method's and the loss's, unless the method says that it presets another one."""
    method = METHODS[name]
    home = (method.term or method.stages).__module__
    terms = [term for term in known_terms().values() if term.__module__ == home]
    losses = [thing for thing in vars(understudy.losses).values() if getattr(thing, "__module__", "") == home]
    for term in (term for term in terms if method.term in (term, None)):
        fields = defaults_of(term)
        said = {
            key: p.default
            for key, p in method.settings.items()
            if key in fields.keys() - method.preset.keys() and p.default is not p.empty
        }
        assert said == {key: fields[key] for key in said}
    if len(terms) == len(losses) == 1:
        fields, said = defaults_of(terms[0]), inspect.signature(losses[0]).parameters
        assert {key: said[key].default for key in said if key in fields} == {
            key: value for key, value in fields.items() if key in said
        }


def defaults_of(term):
    return {f.name: f.default for f in dataclasses.fields(term) if f.default is not dataclasses.MISSING}


def test_every_method_has_a_measured_cost_or_is_listed_without():
    methods = {name for name, method in METHODS.items() if method.family != "own"}
    assert methods - set(measured()["methods"]) == set(measured()["not_measured"])


@pytest.mark.parametrize("name", sorted(set(METHODS) & set(measured()["methods"])))
def test_measured_costs_are_those_of_the_stages(data, name):
    teacher, student = networks(alike=False, attention=name in ATTENTION)
    found = cost(name)
    assert found is not None
    assert len(found["stages"]) == len(stages_of(name, CONFIG, {}, student, teacher, data))
    assert min(found["stages"]) <= found["config"] <= max(found["stages"])
    assert min(found["stages"]) > 0.2


@pytest.mark.parametrize("name", sorted(ATTENTION))
def test_a_method_for_transformers_says_so(data, name):
    teacher, student = networks(alike=False)
    with pytest.raises(UserError, match=r"the teacher has no .*: this method is for transformers"):
        stages_of(name, CONFIG, {}, teacher, student, data)


def test_what_a_method_needs_is_told_whatever_the_length_of_its_first_stage():
    fitnets, settings = find("fitnets"), {"pair": "a -> b", "hint_epochs": 500}
    assert fitnets.unfit(Classification(("a", "b")), settings) is None
    assert len(fitnets.terms(settings)) == 3
    assert fitnets.is_taught(settings)


def test_the_objectives_are_those_of_the_papers():
    (kd,) = find("kd")(CONFIG)
    assert kd.objective == 0.1 * CE() + 0.9 * KD(4.0)
    hint, soft = find("fitnets")(CONFIG, pair="a -> b")
    assert hint.objective == as_sum(Hint("a -> b", reduce="relative"))
    assert soft.objective == 1.0 * CE() + KD(3.0, squared=False) * linear(4.0, 1.0, epochs=8)
    several, _ = find("fitnets")(CONFIG, pair="a -> b", further=("c -> d",))
    assert several.objective == Hint("a -> b", reduce="relative") + Hint("c -> d", reduce="relative")
    assert (hint.config.epochs, soft.config.epochs) == (2, 8)
    slower = {"conv*": 0.1}
    hint, soft = find("fitnets")(CONFIG, pair="a -> b", regressor_max_norm=0.9, soft_lr_scale=slower)
    assert hint.objective == as_sum(Hint("a -> b", reduce="relative", max_norm=0.9))
    assert (hint.config.lr_scale, soft.config.lr_scale) == (CONFIG.lr_scale, slower)
    (joint,) = find("fitnets-joint")(CONFIG, pair="a -> b")
    assert joint.objective == CE() + 100.0 * Hint("a -> b", reduce="mean", regressor="crd")
    (unlabelled,) = find("kd")(CONFIG, label_weight=0)
    assert not isinstance(unlabelled.objective.parts[0].term, CE)
    (searched,) = find("takd")(CONFIG, weight=0.35, label_weight="rest")
    assert searched.objective == 0.65 * CE() + 0.35 * KD(4.0)


@pytest.mark.parametrize("settings", [{"weight": 1.5, "label_weight": "rest"}, {"label_weight": "half"}])
def test_a_weight_of_the_labels_that_cannot_be_is_refused(settings):
    with pytest.raises(UserError, match="label_weight"):
        find("kd")(CONFIG, **settings)


def test_labels_on_a_tap_need_the_number_of_classes():
    student = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2))
    with pytest.raises(UserError, match="say how many"):
        Objective(TapLabels("0"), student=student, example=torch.rand(2, 4))
    objective = Objective(TapLabels("0", classes=2), student=student, example=torch.rand(2, 4))
    assert objective(torch.rand(6, 4), torch.arange(6) % 2).loss.requires_grad


def test_stages_may_have_rates_of_their_own():
    hint, soft = find("fitnets")(CONFIG, pair="a -> b", hint_lr=0.7, hint_epochs=3)
    assert (hint.config.optimizer, soft.config.optimizer) == (SGD(lr=0.7), SGD())
    first, second = find("stages")(CONFIG, **NEEDED["stages"])
    assert (first.name, first.config) == ("stage 1", replace(CONFIG, epochs=4))
    assert (second.name, second.config) == ("end", replace(CONFIG, epochs=6, optimizer=SGD(lr=0.5)))


def test_a_method_that_is_not_there_is_answered_with_the_nearest():
    with pytest.raises(UserError, match="no method 'fitnet'; did you mean 'fitnets'"):
        find("fitnet")
    with pytest.raises(UserError, match="hint_epochs"):
        find("fitnets")(CONFIG, pair="a -> b", hint_epochs=10)
    with pytest.raises(UserError, match="method 'kd' has no setting 'temprature'; did you mean 'temperature'"):
        find("kd")(CONFIG, temprature=2)
    with pytest.raises(UserError, match="no method 'KD'; did you mean 'kd'"):
        find("KD")
