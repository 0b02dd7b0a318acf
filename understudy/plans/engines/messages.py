"""The messages between an engine and its workers, each of which can be a line of JSON."""

import json
from typing import Literal, Self

from pydantic import JsonValue, TypeAdapter, ValidationError

from understudy.errors import FailedTrainingError, UserError
from understudy.plans.training import Job
from understudy.training.callbacks import Callback
from understudy.training.records import Epoch, Record, TrainingRecord

EventName = Literal["downloads", "training_begins", "stage_begins", "step", "epoch_ends", "note"]


class Message(Record):
    """A message that can be a line of JSON."""

    @classmethod
    def of_line(cls, line: str) -> Self:
        """The message of a line; a ``ValueError`` if it holds none."""
        return cls.model_validate(json.loads(line))

    def line(self) -> str:
        return json.dumps(self.content()) + "\n"


class Order(Message):
    """From the engine: a job, or the number of a signal after which the worker saves its state and exits."""

    job: Job | None = None
    stop: int | None = None

    def content(self) -> dict[str, JsonValue]:
        return {"stop": self.stop} if self.job is None else {"job": self.job.model_dump(mode="json")}


class Event(Message):
    """From a worker: a method of `Callback`, and the arguments with which the engine calls it."""

    event: EventName
    arguments: tuple[JsonValue, ...] = ()

    def call(self, callback: Callback) -> None:
        """Call the method."""
        arguments = map(Epoch.model_validate, self.arguments) if self.event == "epoch_ends" else self.arguments
        getattr(callback, self.event)(*arguments)


class Outcome(Message):
    """From a worker: the end of its training, in one of these ways."""

    record: TrainingRecord | None = None
    mistake: str | None = None  # a user's
    failed: str | None = None  # beside the mistake: the training failed for this reason
    stopped: int | None = None  # by a signal
    failure: str | None = None  # an error of the program, as a traceback

    def result(self, name: str) -> TrainingRecord:
        """The record of the training ``name``. An error of the worker is raised here."""
        if self.record is not None:
            return self.record
        if self.mistake is not None and self.failed is not None:
            raise FailedTrainingError(self.mistake, training=name, reason=self.failed)
        if self.mistake is not None:
            raise UserError(self.mistake)
        raise RuntimeError(f"{name}: {self.failure or 'its worker stopped unasked'}")


_FROM_WORKER = TypeAdapter[Event | Outcome](Event | Outcome)


def from_worker(line: str) -> Event | Outcome | None:
    """Parse a line of a worker; None where it is no message.

    Such lines are output from before the worker redirected its standard output, and the incomplete last line of a
    worker that died.
    """
    try:
        return _FROM_WORKER.validate_python(json.loads(line))
    except (ValueError, ValidationError):
        return None
