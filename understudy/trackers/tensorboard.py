"""What a training logs, as TensorBoard's events."""

from collections.abc import Mapping
from pathlib import Path

from understudy.errors import OptionalPackageError
from understudy.trackers.tracker import Tracker, scalars
from understudy.training.records import Epoch

EVENTS = "tensorboard"  # the folder of a run for them


class TensorBoard(Tracker):
    """Writes each epoch's line into the run's folder ``tensorboard/``, one log for each stage of each training.

    A run that goes on does so in a new file, which takes back what the old one says of later epochs.

    Args:
        folder: of the run.

    >>> callback = TensorBoard("runs/kd")  # doctest: +SKIP
    """

    package = "tensorboard"

    def __init__(self, folder: Path | str = "."):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise OptionalPackageError("tensorboard", "tensorboard", "logging to TensorBoard") from error
        super().__init__(Path(folder))
        self._open = SummaryWriter
        self._writers: dict[str, tuple[str, SummaryWriter]] = {}  # of each training that goes on: its stage's

    def epoch_ends(self, epoch: Epoch) -> None:
        self._safely(lambda: self._write(epoch))

    def log(self, training: str, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._writers[training][1].add_scalar(name, value, step)

    def close(self, training: str) -> None:
        if training in self._writers:
            self._writers.pop(training)[1].close()

    def _write(self, epoch: Epoch) -> None:
        if self._writers.get(epoch.training, ("", None))[0] != epoch.stage:
            self.close(epoch.training)
            assert self.folder is not None
            path = self.folder / EVENTS / epoch.training / epoch.stage.replace("/", "-")
            self._writers[epoch.training] = epoch.stage, self._open(str(path), purge_step=epoch.epoch)
        self.log(epoch.training, dict(scalars(epoch)), epoch.epoch)
        self._writers[epoch.training][1].flush()
