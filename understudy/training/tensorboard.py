"""What a training logs, as TensorBoard's events, for those who watch it there."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from understudy.errors import OptionalPackageError
from understudy.training.callbacks import Callback

EVENTS = "tensorboard"  # the folder of a run for them


class TensorBoard(Callback):
    """Writes each epoch's line into ``folder``, one log for each stage of each training.

    A run that goes on does so in a new file, which takes back what the old one says of later epochs.
    """

    def __init__(self, folder: Path):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise OptionalPackageError("tensorboard", "tensorboard", "--tensorboard") from error
        self.folder = folder
        self._open = SummaryWriter
        self._writers: dict[str, tuple[str, Any]] = {}  # of each training that goes on: its stage's

    def epoch_ends(self, record: Mapping[str, Any]) -> None:
        training, stage, epoch = record["training"], record["stage"], record["epoch"]
        if self._writers.get(training, ("", None))[0] != stage:
            self._close(training)
            path = self.folder / training / stage.replace("/", "-")
            self._writers[training] = stage, self._open(str(path), purge_step=epoch)
        _, writer = self._writers[training]
        for name, value in _scalars(record):
            writer.add_scalar(name, value, epoch)
        writer.flush()

    def training_ends(self, name: str, record: Mapping[str, Any]) -> None:
        self._close(name)

    def _close(self, training: str) -> None:
        if training in self._writers:
            self._writers.pop(training)[1].close()


def _scalars(record: Mapping[str, Any]) -> list[tuple[str, float]]:
    """The line's figures, each under a name of its own."""
    found = [("loss", record["loss"]), ("rate", record["lr"])]
    for group in ("terms", "weights", "gradient_shares", "validation"):
        found += [(f"{group}/{name}", value) for name, value in record.get(group, {}).items()]
    return found
