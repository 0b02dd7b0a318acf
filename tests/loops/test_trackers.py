"""Trackers log what metrics.jsonl says, offline; one that fails is a warning once, and the training goes on."""

import warnings

import pytest

from tests.conftest import StopsAfter
from understudy.trackers import MLflow, TensorBoard, Trackio, WandB, by_name
from understudy.training.callbacks import Callbacks
from understudy.training.interrupt import Stopped

ALL = {"mlflow": MLflow, "tensorboard": TensorBoard, "trackio": Trackio, "wandb": WandB}


@pytest.fixture
def _offline(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "WANDB_MODE": "offline",
        "WANDB_SILENT": "true",
        "WANDB_DIR": str(tmp_path),
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
        "TRACKIO_DIR": str(tmp_path / "trackio"),
    }.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("_offline")
@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.parametrize("name", ALL)
def test_a_run_is_logged_also_when_it_goes_on(make_run, name, tmp_path) -> None:
    stops = StopsAfter(2)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", f"{name}: ")  # what a tracker that fails says
        with pytest.raises(Stopped):
            make_run(f'trackers=["{name}"]', callback=stops, stop=stops.stop).execute()
        make_run(f'trackers=["{name}"]').execute()
    if name == "mlflow":
        from mlflow import MlflowClient

        client = MlflowClient()
        runs = client.search_runs([client.get_experiment_by_name("run").experiment_id])
        student = next(run for run in runs if run.info.run_name == "fitnets-0")
        history = client.get_metric_history(student.info.run_id, "hint/loss")
        assert len({metric.step for metric in history}) == max(metric.step for metric in history)
        assert student.info.status == "FINISHED"
    elif name == "wandb":
        assert list((tmp_path / "wandb").glob("offline-run-*"))
    elif name == "trackio":
        assert list((tmp_path / "trackio").glob("*"))
    else:
        assert (tmp_path / "run" / "tensorboard" / "fitnets-0").is_dir()


@pytest.mark.usefixtures("_offline")
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_run_folders_of_one_name_have_runs_of_their_own_in_trackio(tmp_path) -> None:
    from trackio.sqlite_storage import SQLiteStorage

    before = set(SQLiteStorage.get_runs("kd"))
    for parent in ("a", "b", "a"):  # the last one goes on
        tracker = Trackio(tmp_path / parent / "kd")
        tracker.log("kd-0", {"loss": 0.5}, 1)
        tracker.close("kd-0")
    assert len(set(SQLiteStorage.get_runs("kd")) - before) == 2


@pytest.mark.parametrize("name", ALL)
def test_a_tracker_that_fails_is_one_warning(make_run, name, tmp_path, monkeypatch) -> None:
    tracker = by_name(name, tmp_path / "run")
    calls = []

    def fails(*args, **named):
        calls.append(args)
        raise OSError("no space left on device")

    monkeypatch.setattr(ALL[name], "log", fails)
    with pytest.warns(UserWarning, match=f"{name}: OSError: no space left.*the training goes on"):
        make_run(callback=Callbacks(tracker)).execute()
    assert len(calls) == 1
    assert (tmp_path / "run" / "result.json").exists()
