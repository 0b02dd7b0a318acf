"""Latencies: what other programs took meanwhile is noticed, where it left fewer cores than threads."""

import multiprocessing
import os
import time

import pytest
import torch
from torch import nn

from understudy.measure import Latency, latencies
from understudy.measure.machine import ProcessorTime


@pytest.fixture
def passes(monkeypatch):
    """A function that sets what the machine and this process take of each second from now on."""

    def passes(everything: float, own: float) -> None:
        def now() -> ProcessorTime:
            passed = time.perf_counter()
            return ProcessorTime(everything * passed, own * passed)

        monkeypatch.setattr(ProcessorTime, "now", now)
        monkeypatch.setattr(os, "cpu_count", lambda: 4)

    return passes


def measured(seconds=0.25) -> Latency:
    return latencies({"network": nn.Linear(2, 2)}, torch.zeros(1, 2), seconds=seconds)["network"]


@pytest.mark.parametrize(
    ("threads", "everything", "own", "others"),
    [
        (1, 1.0, 1.0, 0.0),  # nothing else runs
        (1, 3.0, 1.0, 0.0),  # each thread has a core of its own
        (2, 4.0, 2.0, 0.0),
        (2, 4.0, 1.2, 2.8),  # fewer are left than this one wants
        (4, 4.0, 3.9, 0.0),  # the kernel's own work
        (4, 4.0, 2.5, 1.5),
    ],
)
def test_what_other_programs_took_is_told_where_too_few_cores_were_left(passes, threads, everything, own, others):
    passes(everything, own)
    torch.set_num_threads(threads)
    found = measured()
    assert (found.threads, found.others) == (threads, others)
    assert found.warning == (
        f"Other programs took {others} cores meanwhile: the latencies are longer than on a quiet machine."
        if others
        else ""
    )


def test_a_short_look_and_a_system_that_does_not_tell_say_nothing(passes, monkeypatch):
    torch.set_num_threads(4)
    passes(4.0, 1.0)
    assert measured(seconds=0.0).others == 0
    monkeypatch.setattr(ProcessorTime, "now", lambda: None)
    assert measured().others == 0


def burn(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


@pytest.mark.skipif(not os.path.exists("/proc/stat"), reason="only Linux tells")
def test_the_time_of_another_process_is_seen_and_ones_own_is_not(monkeypatch):
    monkeypatch.undo()
    before, began = ProcessorTime.now(), time.perf_counter()
    other = multiprocessing.get_context("spawn").Process(target=burn, args=(0.5,))
    other.start()
    burn(0.5)
    other.join()
    passed, now = time.perf_counter() - began, ProcessorTime.now()
    assert now.own - before.own >= 0.5
    assert before.others(passed) * passed >= 0.3
    assert now.everything - before.everything >= 0.7
