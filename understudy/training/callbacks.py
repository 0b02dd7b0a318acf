"""Callbacks: objects whose methods a training calls as it proceeds, such as a live display, a log, a test."""

import sys
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:  # the command line's help imports this file, and must not import PyTorch
    from understudy.tasks import Figure
    from understudy.training.records import Epoch, TrainingRecord


class Callback:
    """The base of callbacks. Its methods do nothing; override those that you need.

    An exception that a method raises ends the training.

    >>> class Names(Callback):
    ...     def training_begins(self, name, stages, steps):
    ...         print(name, stages)
    >>> Names().training_begins("kd", {"soft targets": 30}, steps=120)
    kd {'soft targets': 30}
    """

    def downloads(self, file: str, done: int, total: int | None) -> None:
        """``done`` bytes of a data file have been downloaded, or of a cache of decoded images written."""

    def run_begins(self, trainings: Sequence[str], figure: "Figure") -> None:
        """A run with these trainings, in this order; ``figure`` is the task's first one, which selects."""

    def of(self, training: str) -> "Callback":
        """The callback of one training; several trainings may go on at once."""
        return self

    def training_begins(self, name: str, stages: Mapping[str, int], steps: int) -> None:
        """A training begins, with its stages, their epochs, and the number of all steps."""

    def stage_begins(self, name: str, objective: str, epochs: int, epoch: int) -> None:
        """A stage begins, or continues at ``epoch``."""

    def step(self, done: int, loss: float | None) -> None:
        """``step`` steps of the training are done; the loss is passed where it is known without a synchronisation."""

    def epoch_ends(self, epoch: "Epoch") -> None:
        """An epoch has ended; ``epoch`` was also written as a line of ``metrics.jsonl``."""

    def training_ends(self, name: str, record: "TrainingRecord") -> None:
        """A training is complete, just now or earlier; ``record`` is its ``result.json``."""

    def note(self, text: str) -> None:
        """A note of one line."""


class WarnNotes(Callback):
    """Turns notes into Python warnings."""

    def note(self, text: str) -> None:
        warnings.warn(text, stacklevel=2)


class PrintEpochs(WarnNotes):
    """Prints a line for each stage and each epoch, for a script or a notebook.

    Args:
        file: where the lines go; by default standard error.

    >>> import sys
    >>> PrintEpochs(sys.stdout).stage_begins("soft targets", "CE() + KD()", epochs=30, epoch=0)
    stage 'soft targets': CE() + KD(), 30 epochs
    """

    def __init__(self, file: TextIO | None = None):
        self.file = file
        self.figure: Figure | None = None

    def run_begins(self, trainings: Sequence[str], figure: "Figure") -> None:
        self.figure = figure

    def stage_begins(self, name: str, objective: str, epochs: int, epoch: int) -> None:
        again = f", going on after epoch {epoch}" if epoch else ""
        self.say(f"stage {name!r}: {objective}, {epochs} epochs{again}")

    def epoch_ends(self, epoch: "Epoch") -> None:
        validation = f", {text}" if (text := on_validation(epoch, self.figure, digits=1)) else ""
        self.say(f"epoch {epoch.epoch}: loss {epoch.loss or 0.0:.4g}{validation}, {epoch.seconds or 0.0:.0f} s so far")

    def say(self, line: str) -> None:
        print(line, file=self.file or sys.stderr, flush=True)


class Callbacks(Callback):
    """Several callbacks as one: each is called in turn.

    >>> Callbacks(PrintEpochs(sys.stdout), Callback()).stage_begins("labels", "CE()", epochs=3, epoch=0)
    stage 'labels': CE(), 3 epochs
    """

    def __init__(self, *callbacks: Callback):
        self.callbacks = callbacks
        for name in vars(Callback):
            if not name.startswith("_") and name != "of":
                setattr(self, name, partial(self._call, name))

    def of(self, training: str) -> Callback:
        return Callbacks(*(callback.of(training) for callback in self.callbacks))

    def _call(self, name: str, *arguments: object, **named: object) -> None:
        for callback in self.callbacks:
            getattr(callback, name)(*arguments, **named)


def on_validation(record: "Epoch | TrainingRecord", figure: "Figure | None", digits: int = 2) -> str:
    """The selecting figure as text; empty where there is none.

    Args:
        figure: its description; None where it is not known, and the figure is named as in the record.

    >>> from understudy.tasks import Figure
    >>> from understudy.training.records import Epoch
    >>> epoch = Epoch(training="kd-0", epoch=1, validation={"accuracy": 0.75, "loss": 0.5})
    >>> on_validation(epoch, Figure("accuracy", "accuracy", unit="share")), on_validation(epoch, None)
    ('validation 75.00 %', 'validation accuracy 0.75')
    """
    if record.selecting_value is None:
        return ""
    name = next(name for name, value in record.validation.items() if value == record.selecting_value)
    if figure is None or figure.name != name:
        return f"validation {name} {record.selecting_value:.{digits + 2}g}"
    title = "" if figure.unit == "share" else f"{figure.title} "
    return f"validation {title}{figure.text(record.selecting_value, digits)}"
