"""The log of a training as TensorBoard events."""

from pathlib import Path
from typing import TYPE_CHECKING

from understudy.errors import OptionalPackageError
from understudy.training.callbacks import Callback
from understudy.training.records import Epoch, TrainingRecord

if TYPE_CHECKING:
    pass

EVENTS = "tensorboard"  # the folder of a run for them


class TensorBoard(Callback):
    """Writes each epoch's line into ``folder``, one log for each stage of each training.

    A resumed run writes a new file, which replaces later epochs of the old one.
    """

    def __init__(self, folder: Path):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise OptionalPackageError("tensorboard", "tensorboard", "--tensorboard") from error
        self.folder = folder
        self._open = SummaryWriter
        self._writers: dict[str, tuple[str, SummaryWriter]] = {}  # of each running training: that of its stage

    def epoch_ends(self, epoch: Epoch) -> None:
        if self._writers.get(epoch.training, ("", None))[0] != epoch.stage:
            self._close(epoch.training)
            path = self.folder / epoch.training / epoch.stage.replace("/", "-")
            self._writers[epoch.training] = epoch.stage, self._open(str(path), purge_step=epoch.epoch)
        _, writer = self._writers[epoch.training]
        for name, value in _scalars(epoch):
            writer.add_scalar(name, value, epoch.epoch)
        writer.flush()

    def training_ends(self, name: str, record: TrainingRecord) -> None:
        self._close(name)

    def _close(self, training: str) -> None:
        if training in self._writers:
            self._writers.pop(training)[1].close()


def _scalars(epoch: Epoch) -> list[tuple[str, float]]:
    """The epoch's figures, each with its own name."""
    groups = {
        "terms": epoch.terms,
        "weights": epoch.weights,
        "gradient_shares": epoch.gradient_shares,
        "validation": epoch.validation,
    }
    scalars = [(name, value) for name, value in (("loss", epoch.loss), ("rate", epoch.lr)) if value is not None]
    return scalars + [(f"{group}/{name}", value) for group, values in groups.items() for name, value in values.items()]
