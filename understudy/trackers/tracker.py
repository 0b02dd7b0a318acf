"""What all trackers have in common: a log for each training, and errors that end nothing."""

import hashlib
import warnings
from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path

from understudy.training.callbacks import Callback
from understudy.training.records import Epoch, TrainingRecord


class Tracker(Callback):
    """Base class of trackers: ``log`` gets the values of each epoch, ``close`` ends the log of a training.

    An error of a tracker is one warning, after which nothing more is logged to it. The trainings go on.

    Args:
        folder: of the run, so that a run that goes on is logged where it began.

    >>> class Printed(Tracker):
    ...     package = "printed"
    ...     def log(self, training, values, step): print(training, step, values)
    ...     def close(self, training): print(training, "ends")
    >>> Printed().epoch_ends(Epoch(training="kd-0", epoch=1, stage="kd", loss=0.5))
    kd-0 1 {'loss': 0.5}
    """

    package: str  # for messages

    def __init__(self, folder: Path | None = None):
        self.folder = folder
        self._failed = False
        self._before: dict[str, dict[str, int]] = {}  # of each training: the epochs before each of its stages

    @abstractmethod
    def log(self, training: str, values: Mapping[str, float], step: int) -> None:
        """Log the values of one epoch; ``step`` counts the epochs of all stages of the training."""

    @abstractmethod
    def close(self, training: str) -> None:
        """The training is complete; nothing was logged for it if it was complete before."""

    def identity(self, training: str) -> str | None:
        """The same word for the same training of the same run folder, by which a tracker finds its log again."""
        if self.folder is None:
            return None
        return hashlib.sha256(f"{self.folder.resolve()}/{training}".encode()).hexdigest()[:16]

    @property
    def group(self) -> str:
        """The run's name: that of its folder."""
        return "understudy" if self.folder is None else self.folder.resolve().name

    def training_begins(self, name: str, stages: Mapping[str, int], steps: int) -> None:
        before, epochs = {}, 0
        for stage, of_stage in stages.items():
            before[stage] = epochs
            epochs += of_stage
        self._before[name] = before

    def epoch_ends(self, epoch: Epoch) -> None:
        before = self._before.get(epoch.training, {})
        prefix = f"{epoch.stage}/" if len(before) > 1 else ""
        values = {f"{prefix}{name}": value for name, value in scalars(epoch)}
        step = before.get(epoch.stage, 0) + epoch.epoch
        self._safely(lambda: self.log(epoch.training, values, step))

    def training_ends(self, name: str, record: TrainingRecord) -> None:
        self._safely(lambda: self.close(name))

    def _safely(self, act: Callable[[], None]) -> None:
        if self._failed:
            return
        try:
            act()
        except Exception as error:  # whatever a tracker, its server or its disk raises
            self._failed = True
            what = f"{self.package}: {type(error).__name__}: {error}"
            text = f"{what}; nothing more is logged to it, the training goes on"
            try:
                warnings.warn(text, stacklevel=2)
            except Warning:  # where warnings are errors
                print(text)


def scalars(epoch: Epoch) -> list[tuple[str, float]]:
    """The epoch's figures, each under a name of its own."""
    groups = {
        "terms": epoch.terms,
        "weights": epoch.weights,
        "gradient_shares": epoch.gradient_shares,
        "train": epoch.train,
        "validation": epoch.validation,
    }
    values = [(name, value) for name, value in (("loss", epoch.loss), ("rate", epoch.lr)) if value is not None]
    return values + [(f"{group}/{name}", value) for group, named in groups.items() for name, value in named.items()]
