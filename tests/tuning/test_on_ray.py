"""Trials on a cluster: workers take part in the search, a lost one is made up for, and a stop reaches all."""

import contextlib
import signal
from types import SimpleNamespace

import pytest

from tests.tuning.search import COUNT, same
from understudy.training.interrupt import Stopped, StopRequest
from understudy.tuning import tune
from understudy.tuning.on_ray import search_on
from understudy.tuning.outcome import execute
from understudy.tuning.tune import TuneCallback


class RayError(Exception):
    """What Ray raises where a worker is lost."""


class OneByOne:
    """A cluster of two workers, one of which is lost; the other one works when it is waited for."""

    def __init__(self, stop):
        self.stop, self.workers, self.killed, self.stopped, self.work = stop, 2, [], [], []
        self.ray = SimpleNamespace(
            wait=self.wait,
            get=self.get,
            kill=self.killed.append,
            exceptions=SimpleNamespace(RayError=RayError),
        )
        self.without_room = set()  # the numbers of those that the cluster has not started

    def actor(self, kind):
        made, number = kind("."), len(self.work)
        self.work.append(lambda: "")

        def take(part):
            self.work[number] = lambda: made.take(part)
            return number

        return SimpleNamespace(
            take=SimpleNamespace(remote=take),
            begun=SimpleNamespace(remote=lambda: f"begun {number}"),
            stop=SimpleNamespace(remote=lambda how: (self.stopped.append(number), made.stop(how))),
        )

    def begun(self, answers):
        return [reply for reply in answers if reply not in self.without_room]

    def wait(self, replies, num_returns, timeout=None):
        done = [] if self.stop and timeout is not None else [one for one in replies if one not in self.without_room]
        assert done or timeout is not None, "this waits for ever"
        return done[:1], [one for one in replies if one not in done[:1]]

    def get(self, reply):
        if reply == 0:
            raise RayError
        return self.work[reply]()


class Told(TuneCallback):
    def __init__(self):
        self.notes, self.ended = [], []

    def note(self, text):
        self.notes.append(text)

    def trial_ends(self, trial):
        self.ended.append(trial.number)


def test_trials_of_a_cluster_are_those_of_one_process_also_where_a_worker_is_lost(make, unbroken):
    told = Told()
    tuning = make(callback=told)
    engine = OneByOne(StopRequest())
    outcome = execute(tuning, COUNT, engine=engine)
    assert same(tuning.folder.path, outcome, unbroken)
    assert told.notes == ["a worker ended early (RayError): its trial is trained by the others, or here"]
    assert told.ended == list(range(COUNT))
    assert len(engine.killed) == 2


def test_a_stop_reaches_all_workers(make):
    stop, tuning = StopRequest(), make()
    engine = OneByOne(stop)
    stop.signal_number = signal.SIGINT
    tuning.folder.claim(tuning.written())
    trials = tune.Trials(tuning.folder.path / tune.DATABASE, tuning.searched, tuning.figure)
    with pytest.raises(Stopped):
        search_on(engine, tuning, trials, COUNT)
    trials.close()
    assert engine.stopped == [0, 1]
    assert len(engine.killed) == 2


@pytest.mark.parametrize("stops", [False, True])
def test_workers_for_which_a_cluster_has_no_room_are_not_waited_for(make, stops: bool):
    stop, tuning = StopRequest(), make()
    engine = OneByOne(stop)
    engine.without_room = {0}
    if stops:
        stop.signal_number = signal.SIGINT
    tuning.folder.claim(tuning.written())
    trials = tune.Trials(tuning.folder.path / tune.DATABASE, tuning.searched, tuning.figure)
    with pytest.raises(Stopped) if stops else contextlib.nullcontext():
        search_on(engine, tuning, trials, COUNT)
    assert len(trials.all()) == (0 if stops else COUNT)
    trials.close()
    assert engine.stopped == ([1] if stops else [])
    assert len(engine.killed) == 2
