"""What a person sees of several trainings at once."""

from io import StringIO

from rich.console import Console

from understudy.cli._live import Live
from understudy.tasks import Figure
from understudy.training.records import Epoch, StageEnd, TrainingRecord

ACCURACY = Figure("accuracy", "accuracy", unit="share")


def ended(accuracy):
    return TrainingRecord(training="kd-0", stages=[StageEnd(stage="s", epochs=2, validation={"accuracy": accuracy})])


def test_each_training_has_a_line_of_its_own_that_moves_by_itself(monkeypatch):
    monkeypatch.setattr("understudy.cli._live.REFRESH", 0)
    shown = StringIO()
    with Live(Console(file=shown, force_terminal=True, width=120)) as live:
        live.run_begins(["one", "other"], ACCURACY)
        for name, steps in (("one", 10), ("other", 20)):
            live.of(name).training_begins(name, {"labels": 2}, steps)
            live.of(name).stage_begins("labels", "CE()", 2, 0)
        live.of("one").step(5, 0.25)
        live.of("other").step(5, 0.75)
        live.of("one").training_ends("one", ended(0.5))
        live.of("other").training_begins("other", {"labels": 2}, 20)  # again, after its worker died
        bars = {task.description.strip(): task for task in live.bars.tasks}
        whole = bars.pop("all")
        assert {name: task.percentage for name, task in bars.items()} == {"one": 100, "other": 25}
        assert whole.percentage == 50  # 15 of 30 steps
        assert whole.fields["said"].startswith("1 of 2 done")
        assert bars["one"].fields["said"] == "validation 50.00 %"
        assert "loss 0.75" in bars["other"].fields["said"]
    assert "2 trainings: one, other" in shown.getvalue()


def test_where_there_is_no_terminal_each_line_says_whose_it_is():
    shown = StringIO()
    with Live(Console(file=shown, width=200)) as live:
        for name in ("one", "other"):
            live.of(name).training_begins(name, {"labels": 2}, 10)
            live.of(name).stage_begins("labels", "CE()", 2, int(name == "other"))
        live.figure = ACCURACY
        figures = {"accuracy": 0.25, "loss": 0.7}
        live.of("other").epoch_ends(Epoch(training="other", stage="labels", epoch=2, loss=0.5, validation=figures))
        live.of("one").training_ends("one", ended(0.5))
        live.of("before").training_ends("before", ended(0.75))
    assert shown.getvalue().splitlines() == [
        "  one, stage 'labels': CE(), 2 epochs",
        "  other, stage 'labels': CE(), 2 epochs, going on after epoch 1",
        "  other labels epoch 2: loss 0.5, validation 25.0 %",
        "one: validation 50.00 %",
        "before: validation 75.00 % (done before)",
    ]


def test_the_time_left_is_that_of_the_whole_run(monkeypatch):
    monkeypatch.setattr("understudy.cli._live.REFRESH", 0)
    shown, now = StringIO(), [100.0]
    monkeypatch.setattr("understudy.cli._live.time.monotonic", lambda: now[0])
    with Live(Console(file=shown, width=200)) as live:
        live.run_begins(["before", "one", "two", "three"], ACCURACY)
        live.of("before").training_ends("before", ended(0.5))
        live.of("one").training_begins("one", {"labels": 2}, 10)
        live.of("one").step(0, None)
        for number in range(1, 11):
            now[0] += 3
            live.of("one").step(number, 1.0)
        live.of("one").training_ends("one", ended(0.25))
    assert shown.getvalue().splitlines()[-2:] == [
        "before: validation 50.00 % (done before) (1 of 4 done)",
        "one: validation 25.00 % (2 of 4 done, about 1 min 00 s left)",
    ]
