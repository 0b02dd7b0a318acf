"""TensorBoard's events say what metrics.jsonl says, also of a run that went on."""

import sys

import pytest

from tests.conftest import StopsAfter
from understudy.errors import OptionalPackageError
from understudy.trackers import TensorBoard
from understudy.training import metrics
from understudy.training.callbacks import Callback, Callbacks
from understudy.training.interrupt import Stopped

pytest.importorskip("tensorboard")


def scalars(folder):
    """What TensorBoard itself reads: for each name its epochs and values."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder)).Reload()
    return {name: [(event.step, event.value) for event in found.Scalars(name)] for name in found.Tags()["scalars"]}


def test_events_are_those_of_the_metrics_also_after_a_stop(make_run, tmp_path):
    events = tmp_path / "tensorboard"
    stops = StopsAfter(3)
    with pytest.raises(Stopped):
        make_run(callback=Callbacks(stops, TensorBoard(tmp_path)), stop=stops.stop).execute()
    make_run(callback=TensorBoard(tmp_path)).execute()
    lines = metrics.read(tmp_path / "run" / "metrics.jsonl")
    assert {path.name for path in (events / "fitnets-0").iterdir()} == {line.stage for line in lines}
    for stage in {line.stage for line in lines}:
        told = [line for line in lines if line.stage == stage]
        found = scalars(events / "fitnets-0" / stage)
        assert [epoch for epoch, _ in found["loss"]] == [line.epoch for line in told]
        assert [value for _, value in found["loss"]] == pytest.approx([line.loss for line in told])
        for term in told[0].terms:
            values = [value for _, value in found[f"terms/{term}"]]
            assert values == pytest.approx([line.terms[term] for line in told])
        assert len(found["validation/loss"]) == len(told)


def test_several_watchers_are_all_told_everything():
    told = []

    class Tells(Callback):
        def __getattribute__(self, name):
            return lambda *args: told.append((name, args))

    callbacks = Callbacks(Tells(), Tells())
    calls = [name for name in vars(Callback) if not name.startswith("_")]
    for name in calls:
        getattr(callbacks, name)("anything")
    assert told == [(name, ("anything",)) for name in calls for _ in range(2)]


def test_without_the_package_a_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(OptionalPackageError, match=r"understudy\[tensorboard\]"):
        TensorBoard(tmp_path)
