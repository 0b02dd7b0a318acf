"""What a training logs, in trackio."""

from collections.abc import Mapping
from pathlib import Path

from understudy.errors import OptionalPackageError
from understudy.trackers.tracker import Tracker


class Trackio(Tracker):
    """One run of trackio for each training, in the group of the run folder's name.

    Its name is that of the training and, with a folder, six characters of a hash of the folder's path.

    Args:
        folder: of the run, so that a run that goes on is logged where it began.
        project: by default the name of the run folder.

    >>> callback = Trackio("runs/kd", project="students")  # doctest: +SKIP
    """

    package = "trackio"

    def __init__(self, folder: Path | str | None = None, *, project: str | None = None):
        try:
            import trackio
        except ImportError as error:
            raise OptionalPackageError("trackio", "trackio", "logging to trackio") from error
        super().__init__(None if folder is None else Path(folder))
        self.project = project or self.group
        self._trackio = trackio
        self._runs: dict[str, trackio.Run] = {}

    def log(self, training: str, values: Mapping[str, float], step: int) -> None:
        if training not in self._runs:
            self._runs[training] = self._trackio.init(
                project=self.project,
                name=self._name(training),
                group=self.group,
                resume="never" if self.folder is None else "allow",
                embed=False,
            )
        self._runs[training].log(dict(values), step=step)

    def close(self, training: str) -> None:
        if training in self._runs:
            self._runs.pop(training).finish()

    def _name(self, training: str) -> str:
        """The name by which trackio resumes a run; other run folders of the same name have others."""
        identity = self.identity(training)
        return training if identity is None else f"{training}-{identity[:6]}"
