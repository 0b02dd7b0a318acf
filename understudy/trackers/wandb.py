"""What a training logs, in Weights & Biases."""

from collections.abc import Mapping
from pathlib import Path

from understudy.errors import OptionalPackageError
from understudy.trackers.tracker import Tracker


class WandB(Tracker):
    """One run of Weights & Biases for each training, in the group of the run folder's name.

    What wandb reads from its environment holds, such as ``WANDB_PROJECT``, ``WANDB_ENTITY`` and ``WANDB_MODE=offline``.

    Args:
        folder: of the run, so that a run that goes on is logged where it began.
        project: by default ``WANDB_PROJECT``, or wandb's own choice.

    >>> callback = WandB("runs/kd", project="students")  # doctest: +SKIP
    """

    package = "wandb"

    def __init__(self, folder: Path | str | None = None, *, project: str | None = None):
        try:
            import wandb
        except ImportError as error:
            raise OptionalPackageError("wandb", "wandb", "logging to Weights & Biases") from error
        super().__init__(None if folder is None else Path(folder))
        self.project = project
        self._wandb = wandb
        self._runs: dict[str, wandb.Run] = {}

    def log(self, training: str, values: Mapping[str, float], step: int) -> None:
        if training not in self._runs:
            self._runs[training] = self._wandb.init(
                project=self.project,
                name=training,
                group=self.group,
                id=self.identity(training),
                resume="allow",
                reinit="create_new",  # several trainings may go on at once
            )
        self._runs[training].log(dict(values), step=step)

    def close(self, training: str) -> None:
        if training in self._runs:
            self._runs.pop(training).finish()
