"""A worker process. It reads jobs and writes events and results, each as a line of JSON.

``python -m understudy.plans.engines.worker`` is started by an engine, not by hand. When the engine dies, so does
the worker at once, and the training continues from its last checkpoint.
"""

import contextlib
import io
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from multiprocessing.connection import Connection
from queue import Queue

from pydantic import JsonValue

from understudy import files
from understudy.errors import FailedTrainingError, UserError
from understudy.plans.engines.messages import Event, EventName, Order, Outcome
from understudy.plans.training import Builders, Job, carry_out
from understudy.recipe.objects import Objects
from understudy.training.callbacks import Callback
from understudy.training.interrupt import Stopped, StopRequest
from understudy.training.records import Epoch, TrainingRecord

CarryOut = Callable[[Job, Builders, Callback, StopRequest], TrainingRecord]
Send = Callable[[Event | Outcome], None]
OFTEN = 0.1  # seconds between two steps that are reported to the engine


class Sending(Callback):
    """Sends every call of a ``Callback`` as an `Event`."""

    def __init__(self, send: Send):
        self.send, self.sent = send, 0.0

    def downloads(self, file: str, done: int, total: int | None) -> None:
        self._event("downloads", file, done, total)

    def training_begins(self, name: str, stages: Mapping[str, int], steps: int) -> None:
        self._event("training_begins", name, dict(stages), steps)

    def stage_begins(self, name: str, objective: str, epochs: int, epoch: int) -> None:
        self._event("stage_begins", name, objective, epochs, epoch)

    def step(self, done: int, loss: float | None) -> None:
        if time.monotonic() - self.sent >= OFTEN:
            self.sent = time.monotonic()
            self._event("step", done, loss)

    def epoch_ends(self, epoch: Epoch) -> None:
        self._event("epoch_ends", epoch.content())

    def note(self, text: str) -> None:
        self._event("note", text)

    def _event(self, event: EventName, *arguments: JsonValue) -> None:
        self.send(Event(event=event, arguments=arguments))


def perform(
    job: Job, builders: Builders, callback: Callback, stop: StopRequest, train: CarryOut = carry_out
) -> Outcome:
    """Run a job and report its end."""
    try:
        return Outcome(record=train(job, builders, callback, stop))
    except FailedTrainingError as failed:
        return Outcome(mistake=str(failed), failed=failed.reason)
    except UserError as mistake:
        return Outcome(mistake=str(mistake))
    except Stopped as stopped:
        return Outcome(stopped=stopped.signal_number)
    except Exception:
        return Outcome(failure=traceback.format_exc())


def main(train: CarryOut = carry_out) -> None:
    """Serve an engine over standard input and output."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # the output of a user's network must not mix with the messages
    out.write("\n")  # nor may an unfinished line from before

    def send(message: Event | Outcome) -> None:
        try:
            files.send(out, message.line().rstrip("\n"))
        except OSError:  # the engine has ended, and nothing waits for the result
            os._exit(1)

    serve(lines(), send, train=train)


def lines() -> Iterator[Order]:
    """The orders on standard input, one per line.

    ``sys.stdin`` is another file from here on: a process that is forked to read data closes it as it begins, and would
    wait forever for the thread that reads the orders.
    """
    orders, sys.stdin = sys.stdin, io.StringIO()
    return map(Order.of_line, orders)


def serve_objects(engine: Connection, objects: Objects) -> None:
    """Serve an engine over a pipe, with networks and data that were passed as objects."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the engine handles Ctrl-C and passes it on
    serve(_received(engine), engine.send, objects)


def _received(engine: Connection) -> Iterator[Order]:
    """The orders of an engine, until it sends None or ends."""
    with contextlib.suppress(EOFError, OSError):
        while (order := engine.recv()) is not None:
            yield order


def serve(orders: Iterable[Order], send: Send, objects: Objects | None = None, *, train: CarryOut = carry_out) -> None:
    """Run the jobs of the orders until there are no more."""
    stop, jobs = StopRequest(), Queue[Job | None]()
    busy = threading.Event()
    threading.Thread(target=_listen, args=(orders, jobs, stop, busy), daemon=True).start()
    callback = Sending(send)
    builders: Builders | None = None
    while job := jobs.get():
        if builders is None or builders.trusted != job.trusted:
            builders = Builders(job.trusted, callback.downloads, objects or Objects())
        outcome = perform(job, builders, callback, stop, train)
        busy.clear()
        send(outcome)


def _listen(orders: Iterable[Order], jobs: Queue[Job | None], stop: StopRequest, busy: threading.Event) -> None:
    try:
        for order in orders:
            if order.stop is not None:
                stop.signal_number = order.stop
            elif order.job is not None:
                busy.set()  # an engine that ends now would leave a job whose result nothing waits for
                jobs.put(order.job)
    finally:  # the engine has ended, perhaps in the middle of a line
        if busy.is_set():
            os._exit(1)
        jobs.put(None)


if __name__ == "__main__":
    main()
