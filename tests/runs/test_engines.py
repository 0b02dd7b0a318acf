"""Engines: one worker, two, and Ray give equal bytes; a worker that dies loses only its training; a stop saves."""

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from queue import Queue
from types import SimpleNamespace

import pytest

from tests.ranks import test_worker
from tests.runs import plans
from tests.runs.plans import TRAININGS, students
from understudy.cli import main
from understudy.errors import FailedTrainingError, UserError
from understudy.plans.engines import Ended, Engine, Processes, Together, worker
from understudy.plans.engines.messages import Event, Outcome
from understudy.plans.engines.processes import Worker
from understudy.plans.engines.ray import Ray, Share, room
from understudy.plans.training import Job
from understudy.training import checkpoints
from understudy.training.callbacks import Callback
from understudy.training.interrupt import Stopped, StopRequest
from understudy.training.records import TrainingRecord

# The training that is killed lasts long enough to be killed in its middle.
RECIPE = plans.RECIPE.replace("[methods.kd]\n", "[methods.kd]\ntrain = { epochs = 40 }\n")


@pytest.fixture(scope="module")
def _expected():
    """The weights of each training, by one process; made for the first test that asks."""
    return {}


@pytest.fixture
def expected(_expected, make_run, tmp_path):
    if not _expected:
        make_run(text=RECIPE, out=tmp_path / "unbroken").execute()
        _expected.update(students(tmp_path / "unbroken"))
    assert list(_expected) == sorted(TRAININGS)
    return _expected


class Hearing(Callback):
    """Notes what happens to which training, and acts once, at the first step of one of them."""

    def __init__(self, training="", act=None):
        self.wanted, self.act, self.heard, self.notes = training, act, [], []

    def of(self, training):
        callback = Hearing()
        callback.step = lambda done, loss: self.stepped(training)
        callback.training_ends = lambda name, record: self.heard.append(("ends", name))
        callback.training_begins = lambda name, stages, steps: self.heard.append(("begins", name))
        return callback

    def stepped(self, training):
        if training == self.wanted and self.act:
            act, self.act = self.act, None
            act()

    def note(self, text):
        self.notes.append(text)


def test_two_workers_give_the_bytes_of_one_and_work_at_once(make_run, tmp_path, expected, capfd):
    hearing, at_work = Hearing(), []

    class Watched(Processes):
        def next(self):
            at_work.append({worker.job.name for worker in self._alive if worker.job})
            return super().next()

    run = make_run(text=RECIPE, engine=lambda builders, callback, stop: Watched(2, callback, stop), callback=hearing)
    result = run.execute()
    assert students(tmp_path / "run") == expected
    begun = [name for what, name in hearing.heard if what == "begins"]
    assert at_work[0] == set(begun[:2]) == {"teacher-0", "alone-0"}
    assert max(map(len, at_work)) == 2
    assert sorted(name for what, name in hearing.heard if what == "ends") == sorted(TRAININGS)
    assert [row.seed for row in result.methods["kd"].trainings] == [0, 1]
    assert "Warning" not in capfd.readouterr().err  # of Python, as a worker starts


def test_together_all_get_the_bytes_of_one_by_one_and_the_teacher_is_asked_once_for_each_batch(
    make_run, tmp_path, expected, asked
):
    stop = StopRequest()
    hot = "[methods.hot]\nmethod = 'kd'\ntemperature = 8\ntrain = { epochs = 40 }\n"
    hearing = Hearing("hot-0", lambda: setattr(stop, "signal_number", signal.SIGINT))

    def run(out, **how):
        return make_run("seeds=[0]", text=RECIPE + hot, out=tmp_path / out, engine=lambda *of: Together(4, *of), **how)

    run("whole").execute()
    steps = 40 * 3
    assert sorted(asked) == [4] * 2 + [15] * steps  # twice a few, by which the teacher is known again
    with pytest.raises(Stopped):
        run("run", callback=hearing, stop=stop).execute()
    places = [checkpoints.newest(tmp_path / "run/checkpoints" / name).state["place"] for name in ("kd-0", "hot-0")]
    assert [place["steps"] for place in places] == [1, 1]
    run("run").execute()
    assert asked.count(15) <= 2 * steps + 1
    done = students(tmp_path / "run")
    assert done == students(tmp_path / "whole")
    assert done.pop("hot-0") != done["kd-0"]
    assert done == {name: weights for name, weights in expected.items() if name.endswith("-0")}


def test_a_worker_that_dies_loses_only_its_training_and_a_stop_loses_nothing(make_run, tmp_path, expected):
    made = []

    def engine(builders, callback, stop):
        made.append(Processes(2, callback, stop))
        return made[-1]

    def kill():
        worker = next(worker for worker in made[0]._alive if worker.job and worker.job.name == "teacher-0")
        os.kill(worker.process.pid, signal.SIGKILL)

    stop = StopRequest()
    dying = Hearing("teacher-0", kill)
    stopping = Hearing("kd-0", lambda: setattr(stop, "signal_number", signal.SIGINT))

    class Both(Hearing):
        def stepped(self, training):
            dying.stepped(training)
            stopping.stepped(training)

    both = Both()
    with pytest.raises(Stopped):
        make_run(text=RECIPE, engine=engine, callback=both, stop=stop, checkpoint_seconds=0.0).execute()
    assert both.notes == ["teacher-0: its worker died (SIGKILL); it goes on from its last checkpoint"]
    begun = [name for what, name in both.heard if what == "begins"]
    assert sorted(begun) == sorted([*set(begun), "teacher-0"])
    assert all(worker.process.poll() is not None for worker in made[0]._alive)
    assert checkpoints.newest(tmp_path / "run/checkpoints/kd-0").state["place"]["steps"] > 0
    make_run(text=RECIPE).execute()
    assert students(tmp_path / "run") == expected


def test_a_training_whose_workers_keep_dying_is_given_up(make_run):
    class Deadly(Engine):
        tried = 0

        def start(self, job):
            self.name, self.tried = job.name, self.tried + 1

        def next(self):
            return Ended(self.name, lost="SIGKILL")

    deadly, hearing = Deadly(), Hearing()
    with pytest.raises(UserError, match=r"teacher-0: its worker died 3 times \(SIGKILL\)"):
        make_run(text=RECIPE, engine=lambda *_: deadly, callback=hearing).execute()
    assert (deadly.tried, len(hearing.notes)) == (3, 2)


def test_a_mistake_in_a_worker_and_a_key_that_is_not_the_planned_one_are_told_in_a_line(make_run, tmp_path):
    run = make_run("train.optimizer.lr=1e9", text=RECIPE)
    run._engine = lambda builders, callback, stop: Processes(1, callback, stop)
    with pytest.raises(FailedTrainingError, match="no longer a number") as caught:
        run.execute()
    assert (caught.value.training, caught.value.reason) == ("teacher-0", "its loss is no longer a number")
    assert "\n" not in str(caught.value)
    run = make_run(text=RECIPE, out=tmp_path / "other")
    run.execution._keys["teacher-0"] = "another"
    with pytest.raises(UserError, match="teacher-0: this worker would train something else than was planned"):
        run.execute()


def test_a_worker_is_heard_to_its_end_whatever_else_it_prints_and_if_it_dies_within_a_line(tmp_path, monkeypatch):
    lines = r"""printed before\n42\n\377\n{"event": "note", "arguments": []}\n{"record": {"""
    (tmp_path / "python").write_text(f"#!/bin/sh\nprintf '{lines}'\nkill -KILL $$\n")
    (tmp_path / "python").chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    heard = Queue()
    dying = Worker(heard)
    dying.hearing.join()
    assert list(heard.queue) == [(dying, Event(event="note")), (dying, None)]
    assert dying.end() == "SIGKILL"


def test_a_worker_leaves_where_its_engine_dies_within_a_line(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"job": {'))
    jobs = Queue()
    with pytest.raises(ValueError, match="Expecting"):
        worker._listen(worker.lines(), jobs, StopRequest(), threading.Event())
    assert list(jobs.queue) == [None]


def test_a_worker_carries_out_no_job_of_an_engine_that_died_right_after_it_gave_one(monkeypatch):
    left = []
    node = {"name": "a-0", "network": {"network": "resnet8"}, "method": "alone", "data": {"name": "demo"}}
    given = Job.model_validate({"node": node, "key": "0", "teachers": [], "folder": "f", "checkpoints": "c"})
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps({"job": given.model_dump(mode="json")}) + "\n"))
    monkeypatch.setattr(os, "_exit", left.append)
    worker._listen(worker.lines(), Queue(), StopRequest(), threading.Event())
    assert left == [1]


def test_a_cluster_has_room_for_what_fits_into_its_machines_one_by_one():
    assert room([{"CPU": 3.0, "memory": 1.0}, {"CPU": 5.0}, {}], Share(2)) == 1 + 2
    assert room([{"CPU": 64.0, "GPU": 1.0}, {"CPU": 2.0, "GPU": 8.0}, {"CPU": 64.0}], Share(1, 1)) == 1 + 2
    with pytest.raises(UserError, match=r"takes 4 CPU of one .* has 3 CPU: lower settings.threads"):
        room([{"CPU": 3.0}, {"CPU": 2.0}], Share(4))
    with pytest.raises(UserError, match=r"takes 4 CPU and 1 GPU .* has 2 CPU and 1 GPU: lower settings.threads"):
        room([{"CPU": 64.0}, {"CPU": 2.0, "GPU": 2.0}], Share(4, 1))
    with pytest.raises(UserError, match=r'has 64 CPU: set settings.device = "cpu"'):
        room([{"CPU": 2.0}, {"CPU": 64.0}], Share(4, 1))


class MadeUpRay:
    """The calls of Ray that an engine makes; of its actors begin those that are let, and end as they are told."""

    class ActorUnavailableError(Exception):
        pass

    def __init__(self, **resources):
        self.nodes = lambda: [{"Alive": True, "Resources": resources}, {"Alive": False, "Resources": {"CPU": 99.0}}]
        self.is_initialized = lambda: True
        self.exceptions = SimpleNamespace(
            RayActorError=self.ActorUnavailableError, OutOfMemoryError=MemoryError, GetTimeoutError=TimeoutError
        )
        self.actors, self.answers, self.killed, self.stopped = [], {}, [], []

    def remote(self, kind):
        return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=self.hire))

    def hire(self, folder):
        number = len(self.actors)
        calls = {
            "carry_out": lambda job: job,
            "lead": lambda job, world, address: job,
            "follow": lambda rank, world, address: f"follow {number}",
            "address": lambda: ("here", 1),
            "heard": lambda: f"heard {number}",
            "stop": lambda _: self.stopped.append(number),
        }
        self.actors.append(SimpleNamespace(**{name: SimpleNamespace(remote=call) for name, call in calls.items()}))
        return self.actors[-1]

    def wait(self, asked, num_returns, timeout=None):
        there = [answer for answer in asked if answer in self.answers]
        assert timeout is not None or len(there) >= num_returns, "this waits for ever"
        return there, [answer for answer in asked if answer not in there]

    def get(self, answer, timeout=None):
        if isinstance(self.answers[answer], Exception):
            raise self.answers[answer]
        return self.answers[answer]

    def kill(self, actor):
        self.killed.append(self.actors.index(actor))

    def place(self, monkeypatch):
        """Placement groups, as the modules of Ray that make them."""
        made = []

        def placement_group(bundles, strategy):
            made.append((strategy, bundles))
            return len(made)

        self.util = SimpleNamespace(remove_placement_group=lambda placement: made.append(placement))
        strategies = SimpleNamespace(PlacementGroupSchedulingStrategy=lambda placement, place: (placement, place))
        monkeypatch.setitem(sys.modules, "ray.util", self.util)
        monkeypatch.setitem(sys.modules, "ray.util.placement_group", SimpleNamespace(placement_group=placement_group))
        monkeypatch.setitem(sys.modules, "ray.util.scheduling_strategies", strategies)
        return made


def job(name, ranks=1):
    node = SimpleNamespace(arithmetic=SimpleNamespace(ranks=ranks))
    return SimpleNamespace(name=name, node=node, model_dump_json=lambda: name)


def test_of_a_cluster_no_more_workers_are_asked_than_it_holds_and_one_that_is_lost_is_killed(monkeypatch):
    cluster, hearing = MadeUpRay(CPU=8.0, GPU=2.0), Hearing()
    monkeypatch.setitem(sys.modules, "ray", cluster)
    assert Ray(None, None, Share(1, 1), hearing, StopRequest()).workers == 2
    assert Ray(1, None, Share(1, 1), hearing, StopRequest()).workers == 1
    assert hearing.notes == []
    engine = Ray(3, None, Share(4), hearing, StopRequest())
    assert engine.workers == 2
    assert hearing.notes == ["the Ray cluster has room for 2 of 3 workers: each takes 4 CPU"]
    engine.start(job("one"))
    cluster.answers |= {"heard 0": [], "one": MadeUpRay.ActorUnavailableError()}
    assert engine.next() == Ended("one", lost="ActorUnavailableError")
    assert cluster.killed == [0]


def test_a_training_of_several_processes_takes_a_placement_group_that_is_lost_with_any_of_them(monkeypatch):
    cluster, record = MadeUpRay(CPU=8.0), TrainingRecord(training="one")
    monkeypatch.setitem(sys.modules, "ray", cluster)
    made, hearing = cluster.place(monkeypatch), Hearing()
    engine = Ray(5, None, Share(2), hearing, StopRequest(), ranks=2)
    assert (engine.workers, engine.takes_ranks) == (2, True)
    assert hearing.notes == ["the Ray cluster has room for 2 of 5 workers: each takes 2 times 2 CPU"]
    engine.start(job("one", 2))
    assert made == [("STRICT_PACK", [{"CPU": 2}] * 2)]
    cluster.answers |= {"heard 0": [], "heard 1": [], "one": Outcome(record=record)}
    assert engine.next() == Ended("one", record)
    engine.start(job("two", 2))  # the same group, of which the second process is killed
    cluster.answers |= {"follow 1": cluster.ActorUnavailableError()}
    cluster.answers["two"] = TimeoutError()
    assert engine.next() == Ended("two", lost="one of its processes ended")
    assert (cluster.killed, made[1:]) == ([0, 1], [1])
    nodes = cluster.nodes()
    cluster.nodes = lambda: [{"Alive": True, "Resources": {"CPU": 4.0}}] * 2
    engine.start(job("three", 4))
    assert made[2] == ("PACK", [{"CPU": 2}] * 4)
    cluster.nodes = lambda: nodes
    with pytest.raises(UserError, match=r"takes 5 processes of 2 CPU, and the Ray cluster has room for 4: lower"):
        engine.start(job("four", 5))
    cluster.answers |= {f"heard {number}": [] for number in range(2, 6)}
    cluster.answers |= {"follow 3": cluster.ActorUnavailableError()}  # while the others wait for it to begin
    engine.close()
    assert (cluster.stopped, cluster.killed[2:]) == ([2], [2, 3, 4, 5])


def test_workers_for_whom_a_cluster_has_no_room_yet_are_made_way_for_and_not_waited_for(monkeypatch):
    cluster, stop, record = MadeUpRay(CPU=2.0), StopRequest(), TrainingRecord(training="one")
    monkeypatch.setitem(sys.modules, "ray", cluster)
    engine = Ray(None, None, Share(1), Hearing(), stop)
    engine.start(job("one"))
    engine.start(job("two"))
    cluster.answers |= {"heard 0": [], "one": Outcome(record=record)}  # somebody else has the other core
    assert engine.next() == Ended("one", record)
    cluster.answers |= {"two": Outcome(record=record)}
    assert engine.next() == Ended("two", record)
    assert cluster.killed == [0]
    cluster.answers |= {"heard 1": [], "four": Outcome(stopped=signal.SIGINT)}
    engine.start(job("four"))
    engine.start(job("five"))
    stop.signal_number = signal.SIGINT
    with pytest.raises(Stopped):
        engine.next()
    assert (cluster.stopped, sorted(cluster.killed)) == ([1], [0, 1, 2])


def test_an_address_at_which_nobody_answers_is_refused_before_ray_tries_for_long(monkeypatch):
    cluster = MadeUpRay()  # that cannot be begun
    cluster.is_initialized = lambda: False
    monkeypatch.setitem(sys.modules, "ray", cluster)
    with socket.create_server(("127.0.0.1", 0)) as door:
        address = f"127.0.0.1:{door.getsockname()[1]}"
    for told in (address, f"ray://{address}"):
        with pytest.raises(UserError, match=f"no Ray cluster answers at {told}: .*refused"):
            Ray(1, told, Share(1), Hearing(), StopRequest())


def started(folder):
    """What ``ray start --head`` began, and the address that it tells; on a busy machine it gives up by itself."""
    words = f"start --head --block --num-cpus 2 --port 0 --temp-dir {folder}"
    spared = "--include-dashboard false --include-log-monitor false --disable-usage-stats"
    command = [Path(sys.executable).with_name("ray"), *words.split(), *spared.split()]
    for _ in range(3):
        said, cluster = "", subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        while line := cluster.stdout.readline():
            said += line
            if found := re.search(r"--address='(\S+)'", line):
                return cluster, found[1]
        cluster.communicate()
    raise AssertionError(said)


@pytest.fixture(scope="module")
def head():
    """The address of a cluster of two cores that was started by hand, and that nobody else finds."""
    pytest.importorskip("ray")
    short = {"prefix": "ray-", "dir": "/tmp", "ignore_cleanup_errors": True}  # or else its sockets' names are too long
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(**short) as folder:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_DEDUP_LOGS", "0")
        cluster, address = started(folder)
        yield address
        cluster.terminate()  # which ends the processes that it began, and no others
        cluster.communicate()


@pytest.mark.slow
def test_on_a_cluster_that_was_started_by_hand_the_command_makes_and_stores_what_one_worker_makes(
    workplace, quick, tmp_path, expected, head, monkeypatch, capsys
):
    common = f"distill {tmp_path}/recipe.toml --trust smallnets --set seeds=[0] --no-check --cache {tmp_path}/cache"

    def understudy(*words):
        monkeypatch.setattr(sys, "argv", ["understudy", *common.split(), *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            main()
        shown = capsys.readouterr()
        assert not caught.value.code, shown.err
        return shown.out

    connect, found = Ray._connect, []

    def connecting(engine, address):
        connect(engine, address)
        found.append(engine.ray.get_runtime_context().gcs_address)

    monkeypatch.setattr(Ray, "_connect", connecting)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    understudy("--out", tmp_path / "run", "--engine", "ray", "--address", head)
    assert found == [head]
    assert students(tmp_path / "run") == {name: expected[name] for name in expected if name.endswith("-0")}
    foreseen = json.loads(understudy("--out", tmp_path / "other", "--workers", "1", "--dry-run", "--json"))
    assert {row["state"] for row in foreseen["trainings"]} == {"in the cache"}


@pytest.mark.slow
def test_a_ray_cluster_gives_the_same_bytes_also_where_a_worker_is_killed(
    make_run, tmp_path, expected, head, monkeypatch
):
    hearing = Hearing("kd-0", lambda: kill("kd-0"))
    engines = []

    def engine(builders, callback, stop):
        engines.append(Ray(2, None, Share(1), callback, stop))
        assert engines[-1].ray.get_runtime_context().gcs_address == head
        return engines[-1]

    def kill(training):
        hired = next(hired for hired, job in engines[0]._busy.values() if job.name == training)
        engines[0].ray.kill(hired.actors[0])  # its process, at once

    monkeypatch.setenv("RAY_ADDRESS", head)
    make_run("seeds=[0]", text=RECIPE, engine=engine, callback=hearing, checkpoint_seconds=0.0).execute()
    assert students(tmp_path / "run") == {name: expected[name] for name in expected if name.endswith("-0")}
    assert [note for note in hearing.notes if note.startswith("kd-0: its worker died")]
    assert [name for what, name in hearing.heard if what == "begins"].count("kd-0") == 2


@pytest.mark.slow
def test_on_a_ray_cluster_two_processes_share_a_training_and_are_started_again_where_one_is_killed(
    make_run, tmp_path, head, monkeypatch
):
    engines = []

    def engine(builders, callback, stop):
        engines.append(Ray(None, None, Share(1), callback, stop, ranks=2))
        return engines[-1]

    def kill():
        ((hired, _),) = engines[0]._busy.values()
        engines[0].ray.kill(hired.actors[1])

    hearing = Hearing("alone-0", kill)
    monkeypatch.setenv("RAY_ADDRESS", head)
    how = {"text": test_worker.RECIPE, "engine": engine, "callback": hearing, "checkpoint_seconds": 0.0}
    make_run("train.epochs=8", **how).execute()
    (note,) = hearing.notes
    assert note.startswith("alone-0: its worker died (")
    assert len((tmp_path / "run/metrics.jsonl").read_text().splitlines()) == 8


@pytest.fixture
def ray(head):
    """Connected to the cluster, as a program that uses Ray for other things is."""
    import ray

    ray.init(head, log_to_driver=False)
    yield ray
    ray.shutdown()


@pytest.mark.slow
def test_on_a_ray_cluster_that_others_use_too_no_training_and_no_stop_waits_for_ever(make_run, tmp_path, expected, ray):
    class Other:
        def at_work(self):
            return True

    other, stop = ray.remote(num_cpus=1)(Other).remote(), StopRequest()
    assert ray.get(other.at_work.remote())
    stopping = Hearing()
    stopping.stepped = lambda training: setattr(stop, "signal_number", signal.SIGINT)

    def run(**how):
        return make_run(
            "seeds=[0]",
            text=RECIPE,
            engine=lambda builders, *of: Ray(2, None, Share(1), *of),
            checkpoint_seconds=0.0,
            **how,
        )

    with pytest.raises(Stopped):
        run(callback=stopping, stop=stop).execute()
    run().execute()
    ray.kill(other)
    assert students(tmp_path / "run") == {name: expected[name] for name in expected if name.endswith("-0")}


FORKS = """
import multiprocessing, threading
from queue import Queue
from understudy.plans.engines import worker

received = Queue()
threading.Thread(target=lambda: [received.put(order) for order in worker.lines()], daemon=True).start()
received.get()
process = multiprocessing.get_context("fork").Process(target=int)
process.start()
process.join(30)
print(process.exitcode)
process.kill()
"""


def test_a_worker_may_fork_processes_while_it_waits_for_orders():
    """As those that read data; a forked process that closed the file of the orders hung for ever."""
    command = [sys.executable, "-W", "ignore", "-c", FORKS]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        running.stdin.write('{"stop": 2}\n')
        running.stdin.flush()
        assert running.stdout.readline() == "0\n"
