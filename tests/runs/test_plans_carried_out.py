"""A plan carried out: nothing twice, what is damaged is named and redone alone, what was killed goes on."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tests.runs.plans import RECIPE, TRAININGS, students
from understudy.config.settings import Settings
from understudy.errors import UserError
from understudy.plans import Node, Plan, TrainingCache, entry
from understudy.plans.engines import Here
from understudy.plans.execution import Execution
from understudy.plans.training import check_same
from understudy.runs import carry_out
from understudy.runs.folder import RunFolder
from understudy.runs.from_plan import sharing_threads
from understudy.training import checkpoints
from understudy.training.callbacks import Callback
from understudy.training.loop import Training

ROOT = Path(__file__).parents[2]


@pytest.fixture
def spies(monkeypatch):
    """Names trainings as they begin."""
    begun = []
    run = Training.run
    monkeypatch.setattr(Training, "run", lambda self: begun.append(self.name) or run(self))
    return begun


class Noting(Callback):
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


@pytest.fixture(scope="module")
def _stored(_workplace, tmp_path_factory):
    """A run and the cache that it filled; made once, and copied by each test that changes it."""
    return tmp_path_factory.mktemp("stored")


@pytest.fixture
def stored(_stored, make_run):
    if not (_stored / "run").exists():
        make_run(text=RECIPE, out=_stored / "run", cache=TrainingCache(_stored / "cache")).execute()
    return _stored


@pytest.fixture
def cache(stored, tmp_path):
    """The filled cache, to be damaged."""
    shutil.copytree(stored / "cache", tmp_path / "cache")
    return TrainingCache(tmp_path / "cache")


def test_another_run_takes_all_that_is_the_same_and_trains_the_rest(make_run, tmp_path, stored, cache, spies):
    renamed = RECIPE.replace(
        "[methods.kd]", '[methods.soft]\nmethod = "kd"\n[methods.hot]\nmethod = "kd"\ntemperature = 9'
    )
    run = make_run("title=other", text=renamed, cache=cache)
    states = run.execution.states()
    assert {name for name, state in states.items() if state == "to train"} == {"hot-0", "hot-1"}
    assert {state for name, state in states.items() if "hot" not in name} == {"in the cache"}
    result = run.execute()
    assert spies == ["hot-0", "hot-1"]
    expected, found = students(stored / "run"), students(tmp_path / "run")
    assert all(found[name.replace("kd", "soft")] == content for name, content in expected.items())
    assert [row.training for row in result.methods["soft"].trainings] == ["soft-0", "soft-1"]
    assert set(make_run("title=other", text=renamed, cache=cache).execution.states().values()) == {"done"}
    assert len(list(cache.entries())) == 8


def test_two_names_for_the_same_training_train_once(make_run, tmp_path, spies):
    text = RECIPE.replace("[methods.kd]", '[methods.again]\nmethod = "alone"\n').replace(
        "seeds = [0, 1]", "seeds = [0]"
    )
    make_run(text=text).execute()
    assert spies == ["teacher-0", "alone-0"]
    found = students(tmp_path / "run")
    assert found["again-0"] == found["alone-0"]


def test_one_damaged_file_costs_one_training_in_a_new_run_and_none_in_that_which_still_has_it(
    make_run, tmp_path, stored, cache, spies
):
    kept = next(kept for kept in cache.entries() if kept.record.training == "kd-1")
    weights = kept.folder / "student.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    noting = Noting()
    run = make_run(text=RECIPE, cache=cache, callback=noting)
    foreseen = run.execution.states()
    assert [name for name, state in foreseen.items() if state == "to train"] == ["kd-1"]
    run.execute()
    assert spies == ["kd-1"]
    (told,) = noting.notes
    assert f"{kept.folder} is damaged (student.safetensors): set aside as" in told
    assert students(tmp_path / "run") == students(stored / "run")
    own = tmp_path / "run/trainings/teacher-0/student.safetensors"
    own.write_bytes(b"nonsense")
    (tmp_path / "run/result.json").unlink()
    again = Noting()
    assert make_run(text=RECIPE, cache=cache).execution.states()["teacher-0"] == "in the cache"
    make_run(text=RECIPE, cache=cache, callback=again).execute()
    assert spies == ["kd-1"]
    assert again.notes == [f"{own.parent} is damaged (student.safetensors): taken from the cache"]
    assert students(tmp_path / "run") == students(stored / "run")
    assert cache.check() == {}


def test_what_is_there_is_read_once_to_foresee_a_run_and_again_when_it_is_taken(make_run, stored, cache, monkeypatch):
    run, read = make_run(text=RECIPE, cache=cache), []
    sha256 = entry.sha256
    monkeypatch.setattr(entry, "sha256", lambda path: read.append(path) or sha256(path))
    for _ in range(3):
        assert set(run.execution.states().values()) == {"in the cache"}
        assert run.execution.record("kd-1").training == "kd-1"
    assert len(read) == len(set(read)) > 0
    weights = next(path for path in read if path.name == "student.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    run.execute()
    assert len(list((cache.path / "damaged").iterdir())) == 1
    assert set(run.execution.states().values()) == {"done"}


def test_what_other_code_trained_is_taken_as_it_is_but_not_shared_nor_is_what_learns_from_it(
    make_run, tmp_path, cache, spies, monkeypatch
):
    one = RECIPE.replace("seeds = [0, 1]", "seeds = [0]")
    make_run(text=one).execute()
    for name in ("alone-0", "kd-0"):
        (tmp_path / f"run/trainings/{name}/result.json").unlink()
    (tmp_path / "run/result.json").unlink()
    monkeypatch.setattr("understudy.plans.key.NUMERICS", 99)
    noting, empty = Noting(), TrainingCache(tmp_path / "empty")
    run = make_run(text=one, cache=empty, callback=noting)
    result = run.execute()
    assert result.notes[-1] == "trained with other code, data or settings than when this was measured: teacher-0"
    assert noting.notes == [
        "teacher-0 was trained with other code, data or settings than today's: taken as it is",
        *(f"{tmp_path}/run/trainings/{name} is damaged (result.json is missing): trained again" for name in spies[3:]),
    ]
    assert spies[3:] == ["alone-0", "kd-0"]
    shared = {entry.record.training: entry.key for entry in empty.entries()}
    assert sorted(shared) == ["alone-0", "kd-0"]
    whole = make_run(text=one, out=tmp_path / "whole", cache=empty)
    assert whole.execution.key("alone-0") == shared["alone-0"]
    assert whole.execution.key("kd-0") != shared["kd-0"]  # its teacher would be trained by today's code


def test_a_plan_may_grow_while_it_is_carried_out(make_run, tmp_path, spies):
    run = make_run(text=RECIPE)
    execution = Execution(RunFolder(tmp_path / "grown"), run.builders, threads=1, callback=run.callback)
    first, student = run.plan["teacher-0"], run.plan["kd-0"]
    execution.submit(first)
    changes = {"name": "second", "teachers": ("teacher-0", "kd-0"), "accept_weak": True}
    second, found = student.model_copy(update=changes), []
    with Here(run.builders, run.callback, run.stop) as execution.engine:
        for done in execution.results():
            found.append((done.node.name, done.origin, done.validation is not None))
            if done.node.name == "teacher-0":
                execution.submit(student)
            if done.node.name == "kd-0":
                execution.submit(second)
    assert found == [("teacher-0", "trained", True), ("kd-0", "trained", True), ("second", "trained", True)]
    assert spies == ["teacher-0", "kd-0", "second"]


@pytest.mark.slow
def has_checkpoint(out):
    """Whether a training is under way; its folder may be removed while it is looked at."""
    with suppress(FileNotFoundError):
        return any(out.glob("checkpoints/*/*"))
    return False


def test_killed_in_the_middle_and_damaged_in_one_file_a_plan_redoes_only_what_is_lost(
    workplace, make_run, tmp_path, stored, spies
):
    (tmp_path / "recipe.toml").write_text(RECIPE)
    out, cache = tmp_path / "run", TrainingCache(tmp_path / "cache")
    command = f"distill {tmp_path}/recipe.toml --out {out} --cache {cache.path} --workers 2 --trust smallnets"
    process = subprocess.Popen(
        [sys.executable, "-m", "understudy", *command.split(), "--no-check", "--checkpoint-seconds", "0"],
        cwd=workplace,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        while process.poll() is None and not (len(list(cache.entries())) >= 2 and has_checkpoint(out)):
            time.sleep(0.001)
        assert process.poll() is None, process.communicate()
        process.send_signal(signal.SIGKILL)
        process.wait()
    finally:
        process.kill()
        process.communicate()  # until its workers have gone, too, who hold the pipe
    assert not (out / "result.json").exists()
    finished = {path.parent.name for path in out.glob("trainings/*/result.json")}
    entry = next(cache.entries())
    content = bytearray((entry.folder / "student.safetensors").read_bytes())
    content[len(content) // 2] ^= 1
    (entry.folder / "student.safetensors").write_bytes(content)
    spies.clear()
    make_run(text=RECIPE, cache=cache).execute()
    assert students(out) == students(stored / "run")
    assert sorted(spies) == sorted(set(TRAININGS) - finished)
    assert len(finished) >= 2
    assert cache.check() == {}  # the run had what the cache had lost
    assert len(list(cache.entries())) == len(TRAININGS)


def test_a_training_from_before_a_key_existed_is_the_same_training(make_run, tmp_path):
    node = make_run("seeds=[0]", text=RECIPE).plan["alone-0"]
    record = {"node": node.model_dump(mode="json")}
    del record["node"]["config"]["order_seed"]
    check_same(node, record["node"], tmp_path)
    asks_for_more = node.model_copy(update={"config": replace(node.config, order_seed=1)})
    with pytest.raises(UserError, match="differs in config"):
        check_same(asks_for_more, record["node"], tmp_path)


def test_a_training_that_ended_sooner_is_no_part_of_a_plan_that_lets_it_go_on(make_run, tmp_path):
    node = make_run("seeds=[0]", text=RECIPE).plan["alone-0"]
    record = node.model_dump(mode="json")
    with pytest.raises(UserError, match="differs in ends"):
        check_same(node.model_copy(update={"ends": (1,)}), record, tmp_path)
    del record["ends"]
    check_same(node, record, tmp_path)


@pytest.mark.parametrize(("settings", "each"), [({}, 8), ({"ranks": 2}, 4), ({"ranks": 16}, 1), ({"threads": 3}, 3)])
def test_the_processes_of_a_node_share_its_threads(settings, each):
    node = Node(name="one", network={"network": "plain2"}, data={"name": "demo"}, arithmetic=Settings(**settings))
    assert sharing_threads(node, 8).arithmetic == replace(node.arithmetic, threads=each)


class PowerCut(Callback):
    def step(self, done, loss):
        raise ConnectionError("power cut")


def test_what_was_begun_with_other_code_goes_on_but_is_not_shared_nor_is_what_learns_from_it(
    make_run, tmp_path, monkeypatch
):
    plan = make_run("seeds=[0]", text=RECIPE).plan
    plan = Plan([plan["teacher-0"], plan["kd-0"]])
    shared = {"trusted": ["smallnets"], "cache": tmp_path / "cache"}
    with monkeypatch.context() as earlier:
        earlier.setattr("understudy.plans.key.NUMERICS", 98)
        with pytest.raises(ConnectionError):
            carry_out(plan, tmp_path / "mine", callback=PowerCut(), **shared)
    twin = plan["kd-0"].model_copy(update={"name": "again"})
    with pytest.warns(UserWarning, match="teacher-0 was begun with other code"):
        done = carry_out(Plan([*plan, twin]), tmp_path / "mine", **shared)
    assert done["again"].origin == "folder"  # a mixture's students are no less alike
    foreign = {one.record.key for one in done.values()}
    assert not TrainingCache(tmp_path / "cache").check()
    assert done["teacher-0"].record.key not in {entry.key for entry in TrainingCache(tmp_path / "cache").entries()}
    clean = carry_out(plan, tmp_path / "clean", **shared)  # finds nothing under its own keys
    assert {one.origin for one in clean.values()} == {"trained"}
    assert foreign.isdisjoint(one.record.key for one in clean.values())


def test_a_training_that_was_damaged_since_is_not_copied_for_another_of_its_key(make_run, tmp_path):
    node = make_run("seeds=[0]", text=RECIPE).plan["alone-0"]

    class Damages(Callback):
        def training_ends(self, name, record):
            if name == node.name:
                (weights,) = (tmp_path / "mine").rglob("student.safetensors")
                weights.write_bytes(weights.read_bytes()[:-1] + b"?")

    plan = Plan([node, node.model_copy(update={"name": "again"})])
    done = carry_out(plan, tmp_path / "mine", callback=Damages(), trusted=["smallnets"])
    assert {name: one.origin for name, one in done.items()} == {"alone-0": "trained", "again": "trained"}
    assert done["again"].record.digests["student.safetensors"] == done["alone-0"].record.digests["student.safetensors"]


def test_a_checkpoint_that_does_not_say_what_it_is_of_goes_on_but_is_not_shared(make_run, tmp_path):
    plan = Plan([make_run("seeds=[0]", text=RECIPE).plan["alone-0"]])
    shared = {"trusted": ["smallnets"], "cache": tmp_path / "cache"}
    with pytest.raises(ConnectionError):
        carry_out(plan, tmp_path / "mine", callback=PowerCut(), **shared)
    (path,) = (tmp_path / "mine").rglob("*.checkpoint")
    state = checkpoints.read(path)
    del state["origin"]
    checkpoints.write(path.parent, int(path.stem), state)
    with pytest.warns(UserWarning, match="goes into no cache"):
        carry_out(plan, tmp_path / "mine", **shared)
    assert not list(TrainingCache(tmp_path / "cache").entries())


def test_what_was_begun_as_another_training_is_refused(make_run, tmp_path):
    plan = make_run("seeds=[0]", text=RECIPE).plan
    with pytest.raises(ConnectionError):
        carry_out(Plan([plan["alone-0"]]), tmp_path / "mine", trusted=["smallnets"], callback=PowerCut())
    for part, value in (
        ("config", replace(plan["alone-0"].config, batch=5)),
        ("data", plan["alone-0"].data.model_copy(update={"student_samples": 20})),
    ):
        changed = Plan([plan["alone-0"].model_copy(update={part: value})])
        with pytest.raises(UserError, match=rf"holds another training of that name \(it differs in {part}\)"):
            carry_out(changed, tmp_path / "mine", trusted=["smallnets"])


def test_a_plan_written_in_python_is_carried_out_once_and_never_mistaken_for_another(make_run, tmp_path, spies):
    plan = make_run("seeds=[0]", text=RECIPE).plan
    done = carry_out(plan, tmp_path / "mine", trusted=["smallnets"])
    assert list(done) == spies == ["teacher-0", "alone-0", "kd-0"]
    assert set(carry_out(plan, tmp_path / "at once", trusted=["smallnets"], together=True)) == set(done)
    assert students(tmp_path / "at once") == students(tmp_path / "mine")
    spies.clear()
    assert [one.origin for one in carry_out(plan, tmp_path / "mine", trusted=["smallnets"]).values()] == ["folder"] * 3
    changed = Plan([plan["alone-0"].model_copy(update={"seed": 5})])
    with pytest.raises(UserError, match=r"alone-0 holds another training of that name \(it differs in seed\)"):
        carry_out(changed, tmp_path / "mine", trusted=["smallnets"])
    assert not spies
