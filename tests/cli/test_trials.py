"""What a person sees of a search in a terminal: the best first, then the last trials, and the training that goes on."""

import io

from rich.console import Console

from understudy.cli._trials import SHOWN, LiveTrials
from understudy.tasks import Figure
from understudy.training.records import TrainingRecord
from understudy.tuning import Trial

ACCURACY = Figure("accuracy", "accuracy", unit="share")


def trial(number, **told):
    return Trial(number, {"methods.kd.temperature": number + 0.5, "train.epochs": 3}, **told)


def seen(live):
    with live.console.capture() as capture:
        live.console.print(live._picture())
    return capture.get()


def test_the_table_shows_the_best_the_last_ones_and_how_each_ended(monkeypatch):
    live = LiveTrials(Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None))
    monkeypatch.setattr(live.region, "start", lambda: None)  # no thread
    live.search_begins(99, [trial(0, state="complete", validation=(0.5, 0.7)), trial(1)], ACCURACY)
    live.of("kd-0").training_begins("kd-0", {"labels": 3}, 30)
    first = seen(live)
    assert "0 (best)" in first
    assert "60.00 ± 14.14 %" in first
    assert "1 of 99 trials" in first
    assert "kd-0" in first
    live.of("kd-0").training_ends("kd-0", TrainingRecord(training="kd-0"))
    live.trial_ends(trial(1, state="stopped", curve={1: 0.1, 2: 0.1}))
    live.trial_ends(trial(2, state="failed", reason="its loss is no longer a number"))
    later = seen(live)
    assert "kd-0" not in later
    assert "stopped after 2 epochs: it fell behind" in later
    assert "failed: its loss is no longer a number" in later
    for number in range(3, 3 + SHOWN):
        live.trial_ends(trial(number, state="complete", validation=(0.01 * number,)))
    last = seen(live)
    assert "0 (best)" in last
    assert "stopped" not in last
    assert f"{SHOWN + 2.5}" in last
    assert "temperature" in last
    assert "methods.kd" not in last
