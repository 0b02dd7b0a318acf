"""Whoever wants to see a training go on: a live display, a log, a test."""

import sys
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, TextIO


class Callback:
    """Told what happens; does nothing itself. Override what you want to see. What it raises ends the training.

    >>> class Names(Callback):
    ...     def training_begins(self, name, stages, steps):
    ...         print(name, stages)
    >>> Names().training_begins("kd", {"soft targets": 30}, steps=120)
    kd {'soft targets': 30}
    """

    def downloads(self, file: str, done: int, total: int | None) -> None:
        """So many bytes of a data file have come."""

    def run_begins(self, trainings: Sequence[str]) -> None:
        """A run with these trainings, in this order."""

    def of(self, training: str) -> "Callback":
        """Who is told of one training; several may go on at once."""
        return self

    def training_begins(self, name: str, stages: Mapping[str, int], steps: int) -> None:
        """A training with its stages, each with its epochs, and the steps of all of them."""

    def stage_begins(self, name: str, objective: str, epochs: int, epoch: int) -> None:
        """A stage begins, or goes on at ``epoch``."""

    def step(self, done: int, loss: float | None) -> None:
        """So many steps of the training are done; the loss where it is known without waiting for the device."""

    def epoch_ends(self, record: Mapping[str, Any]) -> None:
        """The line that also went to ``metrics.jsonl``."""

    def training_ends(self, name: str, record: Mapping[str, Any]) -> None:
        """A training is complete, just now or earlier."""

    def note(self, text: str) -> None:
        """Something worth a line."""


class WarnNotes(Callback):
    """For where nobody watches: what is worth a line is a warning."""

    def note(self, text: str) -> None:
        warnings.warn(text, stacklevel=2)


class PrintEpochs(WarnNotes):
    """For a script or a notebook: a line for each stage and each epoch, on standard error unless told otherwise.

    >>> import sys
    >>> PrintEpochs(sys.stdout).stage_begins("soft targets", "CE() + KD()", epochs=30, epoch=0)
    stage 'soft targets': CE() + KD(), 30 epochs
    """

    def __init__(self, file: TextIO | None = None):
        self.file = file

    def stage_begins(self, name: str, objective: str, epochs: int, epoch: int) -> None:
        again = f", going on after epoch {epoch}" if epoch else ""
        self.say(f"stage {name!r}: {objective}, {epochs} epochs{again}")

    def epoch_ends(self, record: Mapping[str, Any]) -> None:
        validation = record.get("validation", {})
        share = f", validation {100 * validation['accuracy']:.1f} %" if "accuracy" in validation else ""
        self.say(f"epoch {record['epoch']}: loss {record['loss']:.4g}{share}, {record['seconds']:.0f} s so far")

    def say(self, line: str) -> None:
        print(line, file=self.file or sys.stderr, flush=True)


class Callbacks(Callback):
    """Several, each told everything in turn."""

    def __init__(self, *callbacks: Callback):
        self.callbacks = callbacks
        for name in vars(Callback):
            if not name.startswith("_") and name != "of":
                setattr(self, name, partial(self._tell, name))

    def of(self, training: str) -> Callback:
        return Callbacks(*(callback.of(training) for callback in self.callbacks))

    def _tell(self, name: str, *told: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, name)(*told)
