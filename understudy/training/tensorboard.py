"""What a training logs, as TensorBoard's events, for those who watch it there."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from understudy.errors import OptionalPackageError
from understudy.training.watch import Watcher

EVENTS = "tensorboard"  # the folder of a run for them


class TensorBoard(Watcher):
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
        self._writer: Any = None
        self._of: tuple[str, str] | None = None

    def epoch_ends(self, record: Mapping[str, Any]) -> None:
        stage, epoch = (record["training"], record["stage"]), record["epoch"]
        if stage != self._of:
            self._close()
            path = self.folder / stage[0] / stage[1].replace("/", "-")
            self._writer, self._of = self._open(str(path), purge_step=epoch), stage
        for name, value in _scalars(record):
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def training_ends(self, name: str, record: Mapping[str, Any]) -> None:
        self._close()

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer = self._of = None


def _scalars(record: Mapping[str, Any]) -> list[tuple[str, float]]:
    """The line's figures, each under a name of its own."""
    found = [("loss", record["loss"]), ("rate", record["lr"])]
    for group in ("terms", "weights", "gradient_shares", "validation"):
        found += [(f"{group}/{name}", value) for name, value in record.get(group, {}).items()]
    return found
