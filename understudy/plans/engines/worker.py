"""A worker process: jobs come as lines of JSON, what happens and how each ends goes out as lines of JSON.

``python -m understudy.plans.engines.worker`` is started by an engine, not by hand. When the engine dies, so does
the worker, at once: its last checkpoint is what the training goes on from.
"""

import contextlib
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
from understudy.training.records import Epoch

Send = Callable[[Event | Outcome], None]
OFTEN = 0.1  # seconds between two steps of which the engine is told


class Sending(Callback):
    """Sends every call of a ``Callback``'s method on as an `Event`."""

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


def perform(job: Job, builders: Builders, callback: Callback, stop: StopRequest) -> Outcome:
    """Carry a job out, and say how it ended."""
    try:
        return Outcome(record=carry_out(job, builders, callback, stop))
    except FailedTrainingError as failed:
        return Outcome(mistake=str(failed), failed=failed.reason)
    except UserError as mistake:
        return Outcome(mistake=str(mistake))
    except Stopped as stopped:
        return Outcome(stopped=stopped.signal_number)
    except Exception:
        return Outcome(failure=traceback.format_exc())


def main() -> None:
    """Serve an engine over standard input and output."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a user's own network prints must not come between the lines
    out.write("\n")  # nor what was printed before and did not end its line

    def send(message: Event | Outcome) -> None:
        try:
            files.send(out, message.line().rstrip("\n"))
        except OSError:  # the engine is gone, and nothing waits for the result of the training
            os._exit(1)

    serve(lines(), send)


def lines() -> Iterator[Order]:
    """The orders on standard input, a line each."""
    return map(Order.of_line, sys.stdin)


def serve_objects(engine: Connection, objects: Objects) -> None:
    """Serve an engine over a pipe, with networks and data that were given as objects."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the engine, which passes it on
    serve(_received(engine), engine.send, objects)


def _received(engine: Connection) -> Iterator[Order]:
    """The orders of an engine, until it takes its leave with a None or dies."""
    with contextlib.suppress(EOFError, OSError):
        while (order := engine.recv()) is not None:
            yield order


def serve(orders: Iterable[Order], send: Send, objects: Objects | None = None) -> None:
    """Carry out the jobs of the orders, until there are no more."""
    stop, jobs = StopRequest(), Queue[Job | None]()
    busy = threading.Event()
    threading.Thread(target=_listen, args=(orders, jobs, stop, busy), daemon=True).start()
    callback = Sending(send)
    builders: Builders | None = None
    while job := jobs.get():
        if builders is None or builders.trusted != job.trusted:
            builders = Builders(job.trusted, callback.downloads, objects or Objects())
        outcome = perform(job, builders, callback, stop)
        busy.clear()
        send(outcome)


def _listen(orders: Iterable[Order], jobs: Queue[Job | None], stop: StopRequest, busy: threading.Event) -> None:
    try:
        for order in orders:
            if order.stop is not None:
                stop.signal_number = order.stop
            elif order.job is not None:
                busy.set()  # here: an engine that dies now would leave a job whose result nothing waits for
                jobs.put(order.job)
    finally:  # the engine is gone, in the middle of a line perhaps
        if busy.is_set():
            os._exit(1)
        jobs.put(None)


if __name__ == "__main__":
    main()
