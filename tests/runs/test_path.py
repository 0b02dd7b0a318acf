"""Searches carried out: what is trained, what is answered, and that a stop changes nothing."""

import math
import re

import pytest

from tests.conftest import RECIPE
from understudy import UserError
from understudy import recipe as recipes
from understudy.files import read_json
from understudy.paths import Budget
from understudy.plans import TrainingCache
from understudy.plans.engines import Here, Together
from understudy.plans.execution import Done
from understudy.runs.path import PathRun
from understudy.training import preflight
from understudy.training.callbacks import Callback
from understudy.training.interrupt import Stopped, StopRequest

SEARCH = (
    RECIPE.partition("[teacher]")[0].replace("seeds = [0]", "seeds = [0, 1]")
    + """
[teacher]
network = "smallnets:student"
settings = { width = 8 }
train = { epochs = 1 }
accept_weak = true
one_for_all = true
[student]
network = "smallnets:student"
settings = { width = 2 }
[train]
epochs = 1
batch = 10
optimizer = { name = "sgd", lr = 0.05 }
[settings]
threads = 1
[path]
sizes = [4, 6]
by = "width"
[methods.kd]
"""
)


@pytest.fixture
def search(workplace, quick, tmp_path):
    """A search by the recipe with changes; ``limits`` go to the run."""

    def make(*changes: str, text: str = SEARCH, out: str = "run", **limits: object) -> PathRun:
        recipe = recipes.parse(text, "recipe.toml", changes)
        return PathRun(recipe, tmp_path / out, trusted=["smallnets"], **limits)

    return make


def told(run: PathRun) -> dict[str, object]:
    """The search's part of the result."""
    return run.execute().path


def test_every_path_is_trained_with_shared_beginnings_once(search, tmp_path):
    run = search("path.alone=true")
    result = run.execute()
    found = result.path
    assert found.sizes == [8, 6, 4, 2]
    assert (found.searched, found.paths, found.left) == (4, 4, [])
    chains = [tuple(edge.path) for edge in found.edges]
    assert sorted(chains) == sorted(
        [(8,), (8, 6), (8, 4), (8, 2), (8, 6, 4), (8, 6, 2), (8, 4, 2), (8, 6, 4, 2), (6,), (4,), (2,)]
    )
    assert found.trainings == 1 + 2 * 10 == len(run.search.origins)
    assert found.sentences[-2:] == [
        "Each seed: 7 student trainings, and one teacher for all; 4 separate paths would need 8 and 4.",
        "Beside them: 3 trainings alone.",
    ]
    for edge in found.edges:
        assert len(edge.validation.values) == len(edge.test.values) == len(edge.trainings)
    means = {tuple(edge.path): edge.validation.mean for edge in found.edges}
    assert found.best == found.ranked[0]
    assert [means[tuple(path)] for path in found.ranked] == sorted(
        (means[chain] for chain in chains if len(chain) > 1 and chain[-1] == 2), reverse=True
    )
    assert {"alone", "kd"} <= set(result.methods) <= {"alone", "kd", "best-path"}
    last = result.methods[list(result.methods)[-1]].figures["accuracy"].values
    by_path = {tuple(edge.path): edge.test.values for edge in found.edges}
    assert last == by_path[tuple(found.best)]
    assert result.methods["kd"].figures["accuracy"].values == by_path[8, 2]
    assert result.kept_because == "the best path, of its seeds the best on validation"
    assert (tmp_path / "run" / "result.json").read_text() == result.text()


def test_a_method_that_the_recipe_names_is_kept_in_place_of_the_best_path(search):
    result = search("seeds=[0]", "path.strategy=best-first", "keep='kd'").execute()
    assert (result.kept, result.kept_because) == ("kd-0", "the recipe keeps kd")


@pytest.mark.parametrize(("strategy", "edges"), [("best-first", 6), ("limited", 5), ("rule", 2)])
def test_each_strategy_trains_what_it_asks_for(search, strategy, edges):
    found = told(search(f"path.strategy={strategy}", "seeds=[0]"))
    assert len([edge for edge in found.edges if len(edge.path) > 1]) == edges
    quick = [edge.path for edge in found.edges if edge.quick]
    assert quick == ([[8], [6], [4], [2]] if strategy == "rule" else [])
    assert found.best in found.ranked


@pytest.mark.parametrize(("method", "teachers"), [("kd", ["8-to-6-0"]), ("dgkd", ["teacher-0", "8-to-6-0"])])
def test_a_student_learns_from_the_one_before_it_and_by_dgkd_from_all(search, method, teachers):
    run = search("seeds=[0]", text=SEARCH.replace("[methods.kd]", f"[methods.{method}]"))
    run.execute()
    record = read_json(run.folder.training("8-to-6-to-2-0") / "result.json")
    assert record["node"]["teachers"] == teachers


SMALLER_IS_BETTER = """
import torch

from understudy.data import from_tensors


def data():
    images = torch.rand(60, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    bright = images.mean((2, 3))
    bright = (bright - bright.mean(0)) / bright.std(0)
    return from_tensors((images, bright), (images, bright), validation=15, task="regression")
"""


@pytest.mark.parametrize("how", ["every", "rule"])
def test_a_search_finds_the_smallest_where_less_is_better(workplace, quick, tmp_path, monkeypatch, how):
    (tmp_path / "brightness.py").write_text(SMALLER_IS_BETTER)
    monkeypatch.syspath_prepend(tmp_path)
    text = re.sub(r"\[data\][^\[]*", '[data]\nname = "brightness:data"\n', SEARCH)
    text = text.replace("[methods.kd]", '[methods.outputs]\nmethod = "terms"\nterms = "Outputs()"')
    recipe = recipes.parse(text, "recipe.toml", [f'path.strategy="{how}"', "train.epochs=2"])
    run = PathRun(recipe, tmp_path / "run", trusted=["smallnets", "brightness"])
    result = run.execute()
    assert (result.first.name, result.first.better) == ("mae", "lower")
    known = {tuple(hop.path): hop.validation.spread.mean for hop in result.path.edges if not hop.quick}
    whole = {path: value for path, value in known.items() if path[0] == 8 and path[-1] == 2}
    assert all(value > 0 for value in known.values())
    assert tuple(result.path.best) == min(whole, key=lambda path: whole[path])
    assert [whole[tuple(path)] for path in result.path.ranked] == sorted(whole.values())
    assert result.path.sentences[0].startswith("Best path: ")
    assert f"{min(whole.values()):.4g} ±" in result.path.sentences[0]
    assert "%" not in " ".join(result.path.sentences)


class After(Callback):
    """Asks a run to stop when so many trainings are done."""

    def __init__(self, trainings: int):
        self.trainings, self.stop = trainings, StopRequest()

    def training_ends(self, name, record):
        self.trainings -= 1
        if not self.trainings:
            self.stop.signal_number = 15


def test_a_search_that_was_stopped_goes_on_and_answers_the_same(search):
    whole = told(search("seeds=[0]"))
    for trainings in (1, 4):
        callback = After(trainings)
        with pytest.raises(Stopped):
            told(search("seeds=[0]", out="again", callback=callback, stop=callback.stop))
    assert told(search("seeds=[0]", out="again")) == whole


def test_a_store_keeps_another_search_from_training_anything_again(search, tmp_path):
    cache = TrainingCache(tmp_path / "cache")
    first = search("path.strategy=best-first", "seeds=[0]", cache=cache)
    told(first)
    again = search("seeds=[0]", out="other", cache=cache)
    told(again)
    new = {name for name, origin in again.search.origins.items() if origin == "trained"}
    assert len(new) == len(again.search.origins) - len(first.search.origins) == 1
    assert not new & set(first.search.origins)


def test_a_budget_ends_the_search_and_a_larger_one_goes_on(search):
    found = told(search("seeds=[0]", budget=Budget(trainings=4)))
    assert found.trainings == 4
    assert found.left
    assert [8, 2] in found.ranked
    assert any("the budget ended before" in sentence for sentence in found.sentences)
    assert told(search("seeds=[0]", budget=Budget(trainings=99))) == told(search("seeds=[0]", out="unlimited"))
    with pytest.raises(UserError, match="before any path reached the student"):
        told(search("seeds=[0]", budget=Budget(trainings=1), out="none"))


def test_a_time_that_is_over_asks_for_nothing_more(search):
    run = search("seeds=[0]", budget=Budget(seconds=1e-9))
    with pytest.raises(UserError, match="before any path"):
        run.execute()
    assert list(run.search.origins) == ["teacher-0"]  # which any run of the recipe trains
    assert read_json(run.folder.path / "search.json")["seconds"] > 0


def test_what_was_done_before_the_time_was_over_is_still_there_after_it(search):
    within = told(search("seeds=[0]", "path.strategy=best-first"))
    assert told(search("seeds=[0]", "path.strategy=best-first", budget=Budget(seconds=1e-9))) == within


def test_what_a_store_has_is_taken_after_the_time_is_over_too(search, tmp_path):
    cache = TrainingCache(tmp_path / "cache")
    whole = told(search("seeds=[0]", cache=cache))
    assert told(search("seeds=[0]", cache=cache, out="late", budget=Budget(seconds=1e-9))) == whole


def test_what_was_begun_before_the_time_was_over_is_trained_to_its_end(search):
    class Stopping(Callback):
        def stage_begins(self, name, objective, epochs, epoch):
            stop.signal_number = 15

    stop = StopRequest()
    with pytest.raises(Stopped):
        search("seeds=[0]", stop=stop, callback=Stopping()).execute()
    late = search("seeds=[0]", budget=Budget(seconds=1e-9))
    with pytest.raises(UserError, match="before any path"):
        late.execute()
    assert list(late.search.origins) == ["teacher-0"]


def test_a_budget_is_foreseen(search):
    run = search("seeds=[0]", "path.alone=true", budget=Budget(trainings=4))
    more = run.foresee()
    foreseen = set(run.plan.names)
    assert len(foreseen) + more <= 4
    asked = search("seeds=[0]", "path.alone=true", budget=Budget(trainings=4))
    told(asked)
    assert foreseen <= set(asked.search.origins)
    assert len(asked.search.origins) == 4


@pytest.fixture
def weak(monkeypatch):
    """Makes trainings weak, by their names: nothing learns from them."""
    names = set()

    def checked(*args, name, **also):
        level = "error" if name in names else "ok"
        return [preflight.Finding(level, name, "33.3%, which is chance level: load its weights")]

    monkeypatch.setattr(preflight, "check_teacher", checked)
    return names


@pytest.mark.parametrize("engine", [Here, lambda *options: Together(4, *options)])
def test_a_weak_assistant_takes_its_paths_out_of_the_ranking_and_the_search_goes_on(search, weak, engine):
    weak.add("8-to-6-0")
    run = search(engine=engine)
    found = told(run)
    assert sorted(map(tuple, found.ranked)) == [(8, 2), (8, 4, 2)]
    assert found.failed.keys() == {"8 → 6 → 2", "8 → 6 → 4"}
    (sentence,) = (sentence for sentence in found.sentences if sentence.startswith("Failed"))
    assert "8 → 6 → 2 (its teacher 8-to-6-0: 33.3%, which is chance level)" in sentence
    assert [8, 6] in [edge.path for edge in found.edges]
    assert not {"8-to-6-to-2-1", "8-to-6-to-4-to-2-0"} & run.search.origins.keys()
    assert found.trainings == len(run.search.origins)
    assert not any("separate paths" in sentence for sentence in found.sentences)  # not all of them were searched
    assert told(search(engine=engine)) == found
    weak.clear()  # as by accept_weak: what was out of the ranking comes in
    assert told(search(engine=engine)).searched == 4


def test_assistants_that_diverge_leave_the_other_paths_and_a_teacher_that_does_ends_the_search(search):
    optimizer = '{ name = "sgd", lr = 1e9, weight_decay = 1e6 }'
    diverging = f'[path]\nlearns = {{ method = "kd", train = {{ optimizer = {optimizer} }} }}\n'
    run = search("seeds=[0]", text=SEARCH.replace("[path]\n", diverging))
    found = told(run)
    assert all(failure.__traceback__ is None for failure in run.search.failed.values())  # it would hold the networks
    assert found.ranked == [[8, 2]]
    assert {path.split(" → ")[1] for path in found.failed} == {"6", "4"}
    assert all(re.search("no longer a number|NaN or infinity", reason) for reason in found.failed.values())
    with pytest.raises(UserError, match=r"teacher-0: .*(no longer a number|NaN or infinity)"):
        told(search("seeds=[0]", f"teacher.train.optimizer={optimizer}", out="none"))
    changes = (f"train.optimizer={optimizer}", 'teacher.train.optimizer={ name = "sgd", lr = 0.05 }')
    with pytest.raises(UserError, match=r"no path reached the student: .* lower the learning rate"):
        told(search("seeds=[0]", *changes, out="neither"))


def test_a_budget_is_not_spent_on_what_cannot_be_trained(search, weak):
    weak.add("8-to-6-0")
    found = told(search("seeds=[0]", budget=Budget(trainings=7)))
    assert (found.left, found.trainings, found.searched) == ([], 5, 2)  # two failed before they began


def test_a_weak_teacher_ends_the_search(search, weak):
    weak.add("teacher-0")
    with pytest.raises(UserError, match=r"teacher-0: 33\.3%, which is chance level"):
        told(search("seeds=[0]"))


def test_a_recipe_without_a_search_says_what_is_missing(search):
    with pytest.raises(UserError, match=r"no table \[path\]"):
        search(text=SEARCH.replace('[path]\nsizes = [4, 6]\nby = "width"\n', ""))


def test_the_check_looks_at_every_size(search):
    subjects = {finding.subject for finding in search().check()}
    assert "all" not in subjects  # what a search will train, nobody knows
    assert {"student", "teacher", "assistant of size 6", "assistant of size 4"} <= subjects


def test_a_path_whose_figure_is_no_number_is_behind_all_others(search, monkeypatch):
    known = Done.validation.fget
    monkeypatch.setattr(
        Done,
        "validation",
        property(lambda self: math.nan if self.node.name == "8-to-2-0" else known(self)),
    )
    result = search("seeds=[0]", "path.sizes=[4]").execute()
    assert result.path.ranked == [[8, 4, 2], [8, 2]]
    assert result.path.best == [8, 4, 2]
