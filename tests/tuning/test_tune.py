"""The search: blind to test, the same after any kill, rid of hopeless trials, and honest in what it tells."""

import contextlib
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import tomllib
from dataclasses import replace
from pathlib import Path
from statistics import median

import pytest
from markupsafe import Markup

from tests.runs.test_assistants import AUTO
from understudy import recipe as recipes
from understudy.errors import UserError
from understudy.files import read_json
from understudy.plans import TrainingCache
from understudy.plans.training import Builders
from understudy.report import write_report
from understudy.report.reading import read_result
from understudy.runs.folder import without_seal
from understudy.tasks import Figure
from understudy.training import preflight
from understudy.training.loop import Training
from understudy.tuning import TuneCallback, Tuning
from understudy.tuning.outcome import BY_VALIDATION, OPTIMISTIC, execute
from understudy.tuning.trainer import Trainer
from understudy.tuning.trials import Trials

ROOT = Path(__file__).parents[2]
COUNT = 5
SPACE = ["methods.kd.temperature=1..20", "train.optimizer.lr=1e-6..0.2 log"]
SMALL = ["train.epochs=3", "tune.random=2", "tune.grace=1"]
KD = "[methods.alone]\n[methods.kd]\n"
ACCURACY = Figure("accuracy", "accuracy", unit="share")


def text(recipe="", methods=KD):
    from tests.conftest import RECIPE

    return RECIPE.split("[methods.fitnets]")[0] + recipe + methods


@pytest.fixture
def make(workplace, tmp_path):
    """A search of the workplace's recipe; ``out`` is the name of its folder."""

    def build(*changes, search=SPACE, out="tune", recipe=None, callback=None, seconds=20.0, cache=None, **tune):
        read = recipes.parse_searched(recipe or text(), "recipe.toml", [*SMALL, *changes], search, **tune)
        options = {
            "callback": callback,
            "checkpoint_seconds": seconds,
            "cache": cache and TrainingCache(tmp_path / cache),
        }
        return Tuning(read, tmp_path / out, builders=Builders(["smallnets"]), **options)

    return build


@pytest.fixture(scope="module")
def unbroken(_workplace, tmp_path_factory):
    """All trials in one go: their folder and what was told."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(_workplace)
        patch.syspath_prepend(_workplace)
        read = recipes.parse_searched(text(), "recipe.toml", SMALL, SPACE)
        tuning = Tuning(read, tmp_path_factory.mktemp("unbroken"), builders=Builders(["smallnets"]))
        return tuning.folder.path, execute(tuning, COUNT)


def students(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("student.safetensors")}


def curves(folder):
    with sqlite3.connect(folder / "trials.sqlite") as base:
        found = base.execute("select trial_id, step, intermediate_value from trial_intermediate_values").fetchall()
    base.close()
    return sorted(found)


def same(folder, outcome, unbroken):
    """Trials, curves, students and the recipe of the best: all of it, byte by byte where it is bytes."""
    path, expected = unbroken
    return (
        outcome.trials == expected.trials
        and outcome.best == expected.best
        and outcome.figures == expected.figures
        and curves(folder) == curves(path)
        and students(folder) == students(path)
        and (folder / "tuned.toml").read_bytes() == (path / "tuned.toml").read_bytes()
        and not list(folder.rglob("*.checkpoint"))
    )


class Killed(BaseException):
    """The end of a process, as the rest of it sees it."""


def dies(monkeypatch, owner, name, call, *, after):
    """The process ends at the so-manieth call, before it or just after it."""
    real, calls = getattr(owner, name), []

    def instead(*args, **kwargs):
        calls.append(name)
        if len(calls) == call and not after:
            raise Killed
        answer = real(*args, **kwargs)
        if len(calls) == call and after:
            raise Killed
        return answer

    monkeypatch.setattr(owner, name, instead)


MOMENTS = [  # one after the other in the same search: which call ends the process, and whether before or after it
    (Trials, "begin", 1, False),
    (Trials, "begin", 1, True),
    (Trials, "report", 2, False),
    (Trials, "report", 1, True),
    (Training, "save", 3, True),
    (Trials, "end", 1, False),
    (Trials, "end", 1, True),
    (Trainer, "clear", 1, False),
    (Trials, "begin", 1, True),
    (Trials, "end", 2, False),
]


def test_a_search_that_ended_at_any_moment_goes_on_and_ends_the_same(make, monkeypatch, unbroken):
    for owner, name, call, after in MOMENTS:
        with monkeypatch.context() as patch:
            dies(patch, owner, name, call, after=after)
            with pytest.raises(Killed):
                execute(make(seconds=0.0), COUNT)
    tuning = make()
    assert same(tuning.folder.path, execute(tuning, COUNT), unbroken)


def test_a_search_that_is_extended_equals_a_longer_one_and_says_when_test_was_read(make, unbroken):
    execute(make(), 2)
    tuning = make()
    outcome = execute(tuning, COUNT)
    assert same(tuning.folder.path, outcome, unbroken)
    assert outcome.test_read_after_trials == [2, COUNT]


@pytest.mark.slow
def test_killed_by_the_system_the_command_goes_on_and_ends_the_same(workplace, tmp_path, make, unbroken):
    (tmp_path / "tuned-one.toml").write_text(text())
    folder = tmp_path / "tune"
    options = [
        "--out",
        str(folder),
        "--trust",
        "smallnets",
        "--checkpoint-seconds",
        "0",
        "--trials",
        str(COUNT),
        "--no-check",
    ]
    options += [word for change in SMALL for word in ("--set", change)]
    options += [word for space in SPACE for word in ("--search", space)]
    process = subprocess.Popen(
        [sys.executable, "-m", "understudy", "tune", str(tmp_path / "tuned-one.toml"), *options],
        cwd=workplace,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        while process.poll() is None and not list(folder.glob("trials/0001/checkpoints/*/*.checkpoint")):
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, process.communicate()
    finally:
        process.kill()
        process.communicate()
    assert not (folder / "tune.json").exists()
    assert same(folder, execute(make(), COUNT), unbroken)


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
    execute(again, 3)
    assert (tuning.folder.path / "tune.json").read_bytes() == before


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


def test_what_lies_in_a_trials_folder_from_other_settings_is_not_taken_for_it(make):
    tuning = make("train.epochs=1", search=["methods.kd.temperature=1..3"])
    tuning.search(1)
    (tuning.folder.path / "trials.sqlite").unlink()
    path = tuning.folder.path / "trials/0000/recipe.toml"
    path.write_text(re.sub(r"temperature = .*", "temperature = 2.99", without_seal(path.read_text())[0]))
    with pytest.raises(UserError, match=r"another recipe .*temperature"):
        make("train.epochs=1", search=["methods.kd.temperature=1..3"]).search(1)


def test_trials_side_by_side_are_each_trained_once(make):
    tuning = make()
    outcome = execute(tuning, COUNT, workers=2)
    assert [trial.trial for trial in outcome.trials] == list(range(COUNT))
    assert {trial.state for trial in outcome.trials} <= {"complete", "stopped", "failed"}
    assert len({json.dumps(trial.settings, sort_keys=True) for trial in outcome.trials}) == COUNT
    assert outcome == execute(make(), COUNT, workers=2)  # there is nothing left to do


@pytest.mark.slow
@pytest.mark.parametrize("killed", ["a worker", "the command"])
def test_a_search_whose_worker_is_killed_ends_as_any_other_and_leaves_no_process(workplace, tmp_path, make, killed):
    """By SIGKILL, in the middle of a trial: the command itself ends the search, or the same command again."""
    (tmp_path / "search.toml").write_text(text())
    folder = tmp_path / "tune"
    changes = ["train.epochs=60", "tune.random=9", "tune.prune=false"]  # long trials, whose settings depend on no other
    words = ["--out", folder, "--trust", "smallnets", "--checkpoint-seconds", 0, "--trials", 4, "--workers", 2]
    words += [word for change in [*SMALL, *changes] for word in ("--set", change)]
    words += [word for space in SPACE for word in ("--search", space)]
    command = subprocess.Popen(
        [sys.executable, "-m", "understudy", "tune", tmp_path / "search.toml", "--no-check", *map(str, words)],
        cwd=workplace,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        worker = None
        while command.poll() is None and not (worker and held_by(worker, folder)):
            worker = next((child for child in children(command.pid) if "spawn_main" in command_of(child)), None)
            time.sleep(0.001)
        assert worker is not None, command.communicate()
        os.kill(worker if killed == "a worker" else command.pid, signal.SIGKILL)
        _, shown = command.communicate(timeout=120)
    finally:
        command.kill()
        command.communicate()
    if killed == "a worker":
        assert command.returncode == 0
        assert "a worker ended early (exit code -9): its trial is trained here" in shown
    ends = time.monotonic() + 30
    while is_alive(worker) and time.monotonic() < ends:
        time.sleep(0.01)
    assert not is_alive(worker)
    outcome, whole = execute(make(*changes), 4), execute(make(*changes, out="unbroken"), 4)
    assert [trial.settings for trial in outcome.trials] == [trial.settings for trial in whole.trials]
    assert (outcome.trials, outcome.best, outcome.figures) == (whole.trials, whole.best, whole.figures)
    assert students(folder) == students(tmp_path / "unbroken")
    assert not list(folder.rglob("*.checkpoint"))


def children(process):
    """The processes that a process started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if stat.read_text().rpartition(") ")[2].split()[1] == str(process):
                found.append(int(stat.parent.name))
    return found


def command_of(process):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_text()
    return ""


def is_alive(process):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2][0] != "Z"
    return False


def held_by(process, folder):
    """Whether a process is in the middle of a trial: it holds the lock of its folder, and has saved something of it."""
    held = set()
    with contextlib.suppress(OSError):
        held = {os.readlink(link) for link in Path(f"/proc/{process}/fd").iterdir()}
    return any(
        f"{trial}/.lock" in held and list(trial.glob("checkpoints/*/*.checkpoint")) for trial in folder.glob("trials/*")
    )


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


def test_a_trial_of_another_worker_is_left_alone_until_that_worker_ends(make):
    tuning = make()
    tuning.folder.claim(tuning.written())
    trials = Trials(tuning.folder.path / "trials.sqlite", tuning.searched, tuning.figure)
    try:
        with tuning._claimed(trials, 2) as first, tuning._claimed(trials, 2) as second:
            assert (first.number, second.number) == (0, 1)
            with tuning._claimed(trials, 2) as none:
                assert none is None
        with tuning._claimed(trials, 2) as again:  # it was not finished, and its worker is gone
            assert again.number == 0
    finally:
        trials.close()
