"""The search: blind to test, rid of hopeless trials, and honest in what it tells."""

import json
import math
import re
import shutil
import sqlite3
import sys
import tomllib
from dataclasses import replace
from statistics import median

import pytest
from markupsafe import Markup

from tests.runs.test_assistants import AUTO
from tests.tuning.search import ACCURACY, COUNT, SMALL, curves, same, text
from understudy import recipe as recipes
from understudy.cli import main
from understudy.cli.tune import _show
from understudy.errors import UserError
from understudy.files import read_json
from understudy.plans import TrainingCache
from understudy.plans.training import Builders
from understudy.report import write_report
from understudy.report.reading import read_result
from understudy.runs.records import SearchRecord, Values
from understudy.training import preflight
from understudy.training.loop import Training
from understudy.tuning import TuneCallback, Tuning
from understudy.tuning import outcome as outcomes
from understudy.tuning.outcome import BY_VALIDATION, OPTIMISTIC, execute
from understudy.tuning.trials import Trials


def test_a_search_that_is_extended_equals_a_longer_one_and_says_when_test_was_read(make, unbroken):
    execute(make(), 2)
    tuning = make()
    outcome = execute(tuning, COUNT)
    assert same(tuning.folder.path, outcome, unbroken)
    assert outcome.test_read_after_trials == [2, COUNT]


def test_the_search_never_opens_the_test_part_and_the_outcome_opens_it_once(make):
    tuning, opened = make(), []

    def refuse():
        raise AssertionError("the test part was opened")

    builder = tuning.trainer._run.builder
    data = builder.data
    builder.data = replace(data, open_test=refuse)
    assert [trial.state for trial in tuning.search(3)].count("complete") >= 2
    subjects = {finding.subject for finding in tuning.trainer.check()}
    assert subjects
    assert "all" not in subjects  # how many trials there will be, nobody knows

    def note():
        opened.append(len(list(tuning.folder.path.glob("trials/*/trainings/kd-0/result.json"))))
        return data.open_test()

    builder.data = replace(data, open_test=note)
    execute(tuning, 3, also_optimistic=True)
    assert len(opened) == 1
    before = (tuning.folder.path / "tune.json").read_bytes()
    again = make()
    again.trainer._run.builder.data = replace(data, open_test=refuse)
    tuned = tuning.folder.path / "tuned.toml"
    lost = tuned.read_bytes()
    tuned.unlink()
    execute(again, 3)
    assert (tuning.folder.path / "tune.json").read_bytes() == before
    assert tuned.read_bytes() == lost


def test_a_hopeless_trial_is_stopped_early_and_leaves_no_student(make):
    tuning = make(
        "tune.random=1", "train.keep='last'", search=["train.optimizer.lr={0.1, 1e-9}", "train.epochs={5, 6}"]
    )
    found = tuning.search(4)
    assert {trial.values["train.optimizer.lr"] for trial in found} == {0.1, 1e-9}
    stopped = [trial for trial in found if trial.state == "stopped"]
    assert stopped
    assert {trial.values["train.optimizer.lr"] for trial in stopped} == {1e-9}
    for trial in stopped:
        assert 1 < len(trial.curve) < trial.values["train.epochs"]
        assert trial.score is None
        assert not list(tuning.trial_folder(trial).rglob("*.safetensors"))
    assert all(len(t.curve) == t.values["train.epochs"] for t in found if t.values["train.optimizer.lr"] == 0.1)


def test_a_small_space_is_tried_once_each_and_then_the_search_ends(make):
    told = []

    class Listener(TuneCallback):
        def note(self, text):
            told.append(text)

    found = make("train.epochs=1", search=["methods.kd.temperature={1, 2, 3}"], callback=Listener()).search(9)
    assert sorted(trial.values["methods.kd.temperature"] for trial in found) == [1, 2, 3]
    assert "after 3 trials" in told[-1]


def test_the_samplers_seed_decides_what_is_tried(make):
    def tried(out, seed):
        tuning = make("train.epochs=1", f"tune.sampler_seed={seed}", out=out)
        return [trial.values for trial in tuning.search(2)]

    one = tried("one", 1)
    assert tried("again", 1) == one
    assert tried("other", 2) != one


def test_a_trial_that_diverges_fails_and_the_search_goes_on(make):
    found = make("train.epochs=2", search=["train.optimizer.lr={0.05, 1e9}"]).search(2)
    by_rate = {trial.values["train.optimizer.lr"]: trial for trial in found}
    assert (by_rate[0.05].state, by_rate[1e9].state) == ("complete", "failed")
    assert "no longer a number" in by_rate[1e9].reason
    with pytest.raises(UserError, match=r"no trial was completed: .*no longer a number"):
        execute(make("train.epochs=2", search=["train.optimizer.lr=1e8..1e9"], out="none"), 1)


def test_a_trial_whose_figure_is_no_number_fails_and_the_search_goes_on(make, monkeypatch):
    tuning, values = make(search=["methods.kd.temperature={1, 2}"]), iter([[float("nan")], [0.5]])
    monkeypatch.setattr(tuning.trainer, "prepare", lambda: None)
    monkeypatch.setattr(tuning.trainer, "train", lambda *_: next(values))
    found = tuning.search(2)
    assert [(trial.state, trial.reason) for trial in found] == [
        ("failed", "its accuracy on validation is no number"), ("complete", ""),
    ]  # fmt: skip


def test_settings_that_are_possible_each_and_impossible_together_are_a_trial_that_failed(make):
    methods = '[methods.fitnets]\npair = "conv -> conv1"\nhint_epochs = 2\n'
    space = ["train.epochs={3, 5}", "methods.fitnets.hint_epochs={1, 4}"]
    found = make("train.epochs=6", search=space, recipe=text(methods=methods)).search(9)
    failed = [trial for trial in found if trial.state == "failed"]
    assert len(found) == 4
    assert [trial.values for trial in failed] == [{"methods.fitnets.hint_epochs": 4, "train.epochs": 3}]
    assert "below the 3 epochs" in failed[0].reason


def test_every_seed_of_a_trial_counts_and_the_first_alone_is_judged(make):
    reported = []

    class Listener(TuneCallback):
        def epoch_ends(self, epoch):
            reported.append((epoch.training, epoch.epoch))

    tuning = make("train.epochs=2", seeds=[0, 5], search=["methods.kd.temperature={1, 2}"], callback=Listener())
    (trial,) = tuning.search(1)
    assert reported == [("kd-0", 1), ("kd-0", 2), ("kd-5", 1), ("kd-5", 2)]
    assert list(trial.curve) == [1, 2]
    assert len(trial.validation) == 2
    assert trial.score == sum(trial.validation) / 2


def test_stages_without_accuracy_are_not_judged_and_epochs_are_counted_over_all_stages(make):
    methods = '[methods.fitnets]\npair = "conv -> conv1"\nhint_epochs = 2\n'
    (trial,) = make(
        "train.epochs=4", search=["methods.fitnets.temperature={1, 2}"], recipe=text(methods=methods)
    ).search(1)
    assert list(trial.curve) == [3, 4]


def test_a_teacher_is_trained_once_and_stays_whatever_the_search_changes(make, monkeypatch):
    trained, run = [], Training.run
    monkeypatch.setattr(Training, "run", lambda self: trained.append(self.name) or run(self))
    recipe = text().replace('weights = "teacher.safetensors"', "accept_weak = true\ntrain = { epochs = 2 }")
    tuning = make(recipe=recipe, search=["train.optimizer.lr={0.01, 0.05}"])
    outcome = execute(tuning, 2)
    assert trained == ["teacher-0", "kd-0", "kd-0"]
    tuned = recipes.read(tuning.folder.path / "tuned.toml")
    assert tuned.teacher.train.optimizer.lr == 0.05  # the recipe's own
    assert tuned.methods["kd"].train.optimizer.lr == outcome.best.settings["train.optimizer.lr"]


ASSISTED = """
[methods.takd]
assistants = [{ network = "smallnets:student", settings = { width = 6 } }]
"""


def of_validation(training):
    return read_json(training / "result.json")["stages"][-1]["validation"]["accuracy"]


def test_the_students_alone_are_what_a_trial_with_assistants_is_worth(make):
    changes = ["train.epochs=1", "teacher.accept_weak=true"]
    tuning = make(*changes, recipe=text(methods=ASSISTED), search=["methods.takd.temperature={1, 2}"], seeds=[0, 1])
    (trial,) = tuning.search(1)
    trainings = tuning.trial_folder(trial) / "trainings"
    assert {path.name for path in trainings.iterdir()} == {
        f"takd-{name}" for name in ("0", "1", "by-1-smallnets-student-0", "by-1-smallnets-student-1")
    }
    assert trial.validation == tuple(of_validation(trainings / f"takd-{seed}") for seed in (0, 1))
    assert list(trial.curve) == [1]
    outcome = execute(tuning, 1)
    assert len(outcome.figures[BY_VALIDATION].values.values) == 2


def test_assistants_that_are_left_open_are_chosen_once_for_all_trials(make, monkeypatch):
    trained, run = [], Training.run
    monkeypatch.setattr(Training, "run", lambda self: trained.append(self.name) or run(self))
    recipe = AUTO.replace("epochs = 2", "epochs = 1")
    space = ["methods.takd.temperature={1, 2}"]
    tuning = make("train.epochs=1", "seeds=[0]", recipe=recipe, search=space)
    outcome = execute(tuning, 2)
    quick = [f"takd-quick-{size}-0" for size in "5642"]
    (assistant,) = {name for name in trained if "-by-" in name}
    assert trained == ["teacher-0", *quick, assistant, "takd-0", assistant, "takd-0"]
    assert [trial.state for trial in outcome.trials] == ["complete", "complete"]
    (table,) = recipes.read(tuning.folder.path / "tuned.toml").methods["takd"].assistants
    assert assistant == f"takd-by-1-{table.network}-0"
    assert table.learns.settings == {"temperature": outcome.best.settings["methods.takd.temperature"]}
    assert make("train.epochs=1", "seeds=[0]", recipe=recipe, search=space).search(2)
    assert len(trained) == 9


def test_a_size_that_failed_where_the_assistant_was_chosen_is_not_tried_again(make, diverging):
    recipe, space = AUTO.replace("epochs = 2", "epochs = 1"), ["methods.takd.temperature={1, 2}"]
    diverging.add("takd-quick-6-0")
    tuning = make("train.epochs=1", "seeds=[0]", recipe=recipe, search=space)
    execute(tuning, 1)
    diverging.clear()
    assert make("train.epochs=1", "seeds=[0]", recipe=recipe, search=space).search(2)
    assert tuning.folder.failed() == ["takd-quick-6-0"]
    assert not tuning.folder.training("takd-quick-6-0").joinpath("result.json").exists()


def test_a_trial_with_a_weak_assistant_fails_and_a_weak_teacher_ends_the_search(make, monkeypatch):
    def checked(*args, name, **also):
        return [preflight.Finding("error" if name == weak else "ok", name, "it is at chance level: mend it")]

    monkeypatch.setattr(preflight, "check_teacher", checked)
    weak = "takd-by-1-smallnets-student-0"
    space = {"recipe": text(methods=ASSISTED), "search": ["methods.takd.temperature={1, 2}"]}
    first, second = make("train.epochs=1", **space).search(2)
    assert first.state == second.state == "failed"
    assert first.reason == f"its teacher {weak}: it is at chance level"
    weak = "teacher-0"
    space["recipe"] = space["recipe"].replace('weights = "teacher.safetensors"', "train = { epochs = 1 }")
    with pytest.raises(UserError, match="teacher-0: it is at chance level: mend it"):
        make("train.epochs=1", out="other", **space).search(2)


def test_with_a_store_nothing_is_trained_again_and_the_search_is_the_same(make, monkeypatch, tmp_path):
    trained, run = [], Training.run
    monkeypatch.setattr(Training, "run", lambda self: trained.append(self.name) or run(self))
    recipe = text().replace('weights = "teacher.safetensors"', "accept_weak = true\ntrain = { epochs = 1 }")
    changes = ["tune.random=1", "train.keep='last'", "train.epochs=4"]
    search = {"recipe": recipe, "search": ["train.optimizer.lr={0.1, 1e-9}", "train.epochs={4, 5}"], "cache": "cache"}
    one = make(*changes, out="one", **search)
    trials = execute(one, 4).trials
    stopped = [trial for trial in trials if trial.state == "stopped"]
    assert stopped
    assert trained == ["teacher-0", *["kd-0"] * 4]
    assert len(list(TrainingCache(tmp_path / "cache").entries())) == 1 + 4 - len(stopped)
    del trained[:]
    other = make(*changes, out="other", **search)
    assert execute(other, 4).trials == trials
    assert trained == ["kd-0"] * len(stopped)
    assert curves(other.folder.path) == curves(one.folder.path)


def test_a_trial_from_the_store_is_stopped_where_it_would_have_been(make):
    search = {"search": ["train.optimizer.lr={0.1, 1e-9}", "train.epochs={4, 5}"], "cache": "cache"}
    changes = ["tune.random=1", "train.keep='last'"]
    alone = make(*changes, out="alone", **search | {"cache": None}).search(4)
    assert "stopped" in {trial.state for trial in alone}
    assert make(*changes, "tune.prune=false", out="whole", **search).search(4)[0].state == "complete"
    assert make(*changes, out="other", **search).search(4) == alone


def test_the_outcome_names_both_figures_and_chooses_by_validation(make, unbroken):
    path, outcome = unbroken
    scores = {t.trial: t.validation.mean for t in outcome.trials if t.state == "complete"}
    assert scores[outcome.best.trial] == max(scores.values())
    assert list(outcome.figures) == [BY_VALIDATION]
    assert outcome.text() == (path / "tune.json").read_text()
    tuning = make()
    both = execute(tuning, COUNT, also_optimistic=True)
    assert both.best == outcome.best
    assert both.figures[BY_VALIDATION] == outcome.figures[BY_VALIDATION]
    highest = both.figures[OPTIMISTIC].values.mean
    assert highest >= both.figures[BY_VALIDATION].values.mean
    assert "optimistic" in OPTIMISTIC


def test_a_figure_on_test_that_is_no_number_is_not_the_best_of_all(make, unbroken, tmp_path, monkeypatch):
    shutil.copytree(unbroken[0], tmp_path / "tune")

    def measured(tuning, trial, part):
        return Values(values=[math.nan if trial.number == 0 else trial.number / 100])

    monkeypatch.setattr(outcomes, "_values", measured)
    complete = [trial.trial for trial in unbroken[1].trials if trial.state == "complete"]
    assert complete[0] == 0
    assert execute(make(), COUNT, also_optimistic=True).figures[OPTIMISTIC].trial == complete[-1]


def test_a_database_that_tells_other_trials_than_the_outcome_is_damaged(make, unbroken, tmp_path):
    shutil.copytree(unbroken[0], tmp_path / "tune")
    with sqlite3.connect(tmp_path / "tune/trials.sqlite") as base:
        base.execute("update trial_params set param_value = param_value * 1.5 where trial_id = 1")
    base.close()
    with pytest.raises(UserError, match=r"trials\.sqlite is damaged: trial 0 is not as tune\.json has it"):
        execute(make(), COUNT)


def test_the_lines_to_paste_make_the_tuned_recipe(unbroken):
    path, outcome = unbroken
    written = recipes.parse(text(), "recipe.toml", SMALL)
    pasted = tomllib.loads(outcome.best.lines)
    changes = [f"methods.kd.temperature={pasted['methods']['kd']['temperature']}"]
    changes.append(f"train.optimizer.lr={pasted['train']['optimizer']['lr']}")
    expected = recipes.parse(text(), "recipe.toml", [*SMALL, *changes])
    assert recipes.read(path / "tuned.toml") == expected.model_copy(update={"tune": None})
    assert (
        expected.methods["alone"].train.optimizer.lr == pasted["train"]["optimizer"]["lr"] != written.train.optimizer.lr
    )


def test_the_folder_of_another_search_and_a_damaged_base_are_told(make):
    tuning = make("train.epochs=1", search=["methods.kd.temperature=1..3"])
    tuning.search(1)
    with pytest.raises(UserError, match="another recipe"):
        make("train.epochs=1", search=["methods.kd.temperature=1..4"]).search(1)
    (tuning.folder.path / "trials.sqlite").write_bytes(b"no base at all, but long enough" * 99)
    with pytest.raises(UserError, match=r"trials\.sqlite cannot be used .* choose another --out"):
        make("train.epochs=1", search=["methods.kd.temperature=1..3"]).search(1)


def test_a_folder_that_no_address_can_name_is_refused(make, tmp_path):
    with pytest.raises(UserError, match="choose another --out"):
        make(out="lr?x").search(1)
    assert not (tmp_path / "lr").exists()


def test_without_optuna_one_line_says_how_to_get_it(make, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match=r"pip install 'understudy\[tune\]'"):
        make().search(1)


def test_the_page_of_a_search_names_both_figures_and_shows_every_trial(make):
    tuning = make("train.epochs=2", "title='<i>Which</i>'")
    outcome = execute(tuning, 3)
    page = write_report(tuning.folder.path).read_text(encoding="utf-8")
    assert BY_VALIDATION in page
    assert "optimistic, as the paper" not in page
    assert "<i>" not in page
    assert page.count("<h2>") == 3
    for trial in outcome.trials:
        assert f">trial {trial.trial}</th>" in page
        assert f"{trial.settings['methods.kd.temperature']:g}" in page
    for line in outcome.best.lines.splitlines():
        assert str(Markup.escape(line)) in page
    names = sorted(path.name for path in (tuning.folder.path / "figures").iterdir())
    assert names == ["setting-1.svg", "setting-2.svg", "trials.svg"]
    inlined = "".join(re.findall(r"<svg.*?</svg>", page, re.DOTALL))
    assert not re.findall(r"#[0-9a-f]{6}|\$", re.sub(r'(?:href="|url\()#\w+', "", inlined))
    execute(make("train.epochs=2", "title='<i>Which</i>'"), 3, also_optimistic=True)
    again = write_report(tuning.folder.path).read_text(encoding="utf-8")
    assert OPTIMISTIC in again
    assert write_report(tuning.folder.path).read_text(encoding="utf-8") == again
    with pytest.raises(UserError, match=r"holds a search and no run: understudy distill .*tuned\.toml"):
        read_result(tuning.folder.path)
    (tuning.folder.path / "tune.json").write_text(json.dumps(outcome.model_dump(mode="json") | {"trials": []}))
    with pytest.raises(UserError, match=r"tune\.json is damaged \(trials: .*remove it and run the same tune command"):
        write_report(tuning.folder.path)
    (tuning.folder.path / "tune.json").unlink()
    assert execute(make("train.epochs=2", "title='<i>Which</i>'"), 3).trials == outcome.trials


def test_the_report_command_prints_the_outcome_of_a_search(unbroken, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["understudy", "report", str(unbroken[0]), "--json"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert not caught.value.code
    assert json.loads(capsys.readouterr().out) == json.loads((unbroken[0] / "tune.json").read_text())


def test_trials_as_good_as_the_best_are_named(unbroken, tmp_path, capsys):
    record = SearchRecord.read(unbroken[0] / "tune.json", way_out="")
    worse = [trial.model_copy(update={"validation": Values(values=[0.0])}) for trial in record.trials]
    equal = [trial.model_copy(update={"state": "complete", "validation": record.best.validation}) for trial in worse]
    others = [f"trial {trial.trial}" for trial in equal if trial.trial != record.best.trial]
    said = f"as good: {', '.join(others[:3])}{' and 1 more' * (len(others) > 3)}; of equal trials the earliest is named"
    for trials, tie in ((worse, ""), (equal, said)):
        changed = record.model_copy(update={"trials": trials})
        assert changed.tie == tie
        (tmp_path / "tune.json").write_text(changed.text())
        assert (said in write_report(tmp_path).read_text(encoding="utf-8")) is bool(tie)
        _show(changed, tmp_path)
        assert (said in capsys.readouterr().out) is bool(tie)


def test_proposals_learn_from_the_trials_before_them(workplace, tmp_path):
    space = ["methods.kd.temperature=1..100"]
    searched = recipes.parse_searched(text(), "recipe.toml", ["tune.random=8"], space)
    trials = Trials(tmp_path / "trials.sqlite", searched, ACCURACY)
    tried = []
    for _ in range(24):
        trial = trials.begin()
        tried.append(abs(trial.values["methods.kd.temperature"] - 70))
        trials.end(trial, "complete", (1 - tried[-1] / 100,))
    trials.close()
    assert median(tried[-12:]) < median(tried[:8]) / 2


def test_stored_answers_are_shared_by_all_trials(make):
    recipe = text("[answers]\nviews = 1\nseed = 0\n")
    tuning = make("train.epochs=2", recipe=recipe, search=["methods.kd.temperature={1, 2}"])
    assert [trial.state for trial in tuning.search(2)] == ["complete", "complete"]
    assert (tuning.folder.path / "stored").is_dir()
    assert not list(tuning.folder.path.glob("trials/*/stored"))


def test_a_search_finds_the_smallest_where_less_is_better(workplace, tmp_path, monkeypatch):
    (tmp_path / "brightness.py").write_text(BRIGHTNESS)
    monkeypatch.syspath_prepend(tmp_path)
    recipe = re.sub(
        r"(?s)\[data\].*?\n(?=\[student)", '[data]\nname = "brightness:data"\n', text(methods="[methods.alone]\n")
    )
    search = ["train.optimizer.lr={1e-6, 0.05}"]
    read = recipes.parse_searched(recipe, "recipe.toml", ["train.epochs=3", "tune.random=2"], search)
    tuning = Tuning(read, tmp_path / "tune", builders=Builders(["smallnets", "brightness"]))
    outcome = execute(tuning, 2)
    assert tuning.figure.better == "lower"
    reached = {trial.settings["train.optimizer.lr"]: trial.validation.mean for trial in outcome.trials}
    assert outcome.best.validation.mean == min(reached.values()) < max(reached.values())
    assert outcome.best.settings == {"train.optimizer.lr": 0.05}
    assert "best" in write_report(tuning.folder.path).read_text()


BRIGHTNESS = """
import torch

from understudy.data import from_tensors
from understudy.tasks import Regression


def data():
    images = torch.rand(60, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    bright = images.mean((2, 3))
    bright = (bright - bright.mean(0)) / bright.std(0)
    return from_tensors((images, bright), (images, bright), validation=15, task=Regression.of(bright))
"""
