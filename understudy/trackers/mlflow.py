"""What a training logs, in MLflow."""

from collections.abc import Mapping
from pathlib import Path

from understudy.errors import OptionalPackageError
from understudy.trackers.tracker import Tracker

TAG = "understudy.training"  # of an MLflow run, by which it is found again


class MLflow(Tracker):
    """One MLflow run for each training, in an experiment of the run folder's name.

    What mlflow reads from its environment holds, such as ``MLFLOW_TRACKING_URI``.

    Args:
        folder: of the run, so that a run that goes on is logged where it began.
        experiment: its name; by default that of the run folder.
        uri: of the tracking server, or of a database; by default mlflow's own choice.

    >>> callback = MLflow("runs/kd", experiment="students")  # doctest: +SKIP
    """

    package = "mlflow"

    def __init__(self, folder: Path | str | None = None, *, experiment: str | None = None, uri: str | None = None):
        try:
            from mlflow import MlflowClient
        except ImportError as error:
            raise OptionalPackageError("mlflow", "mlflow", "logging to MLflow") from error
        super().__init__(None if folder is None else Path(folder))
        self.experiment = experiment or self.group
        self._connect = lambda: MlflowClient(uri)
        self._client: MlflowClient | None = None
        self._runs: dict[str, str] = {}

    def log(self, training: str, values: Mapping[str, float], step: int) -> None:
        if self._client is None:
            self._client = self._connect()
        if training not in self._runs:
            self._runs[training] = self._run(training)
        for name, value in values.items():
            self._client.log_metric(self._runs[training], name, value, step=step)

    def close(self, training: str) -> None:
        if training in self._runs and self._client is not None:
            self._client.set_terminated(self._runs.pop(training))

    def _run(self, training: str) -> str:
        """The number of the run of an earlier session, or of a new one."""
        client, identity = self._client, self.identity(training)
        assert client is not None
        known = client.get_experiment_by_name(self.experiment)
        experiment: str = known.experiment_id if known else client.create_experiment(self.experiment)
        runs = client.search_runs([experiment], f"tags.`{TAG}` = '{identity}'") if identity else []
        if runs:
            client.update_run(runs[0].info.run_id, status="RUNNING")
            return str(runs[0].info.run_id)
        tags = {TAG: identity} if identity else {}
        return str(client.create_run(experiment, run_name=training, tags=tags).info.run_id)
