"""A worker process: jobs come as lines of JSON, what happens and how each ends goes out as lines of JSON.

``python -m understudy.plans.engines.worker`` is started by an engine, not by hand. When the engine dies, so does
the worker, at once: its last checkpoint is what the training goes on from.
"""

import contextlib
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from multiprocessing.connection import Connection
from queue import Queue
from typing import Any

from understudy import files
from understudy.errors import FailedTrainingError, UserError
from understudy.plans.training import Casts, Job, carry_out
from understudy.recipe.objects import Objects
from understudy.training.callbacks import Callback
from understudy.training.interrupt import Stopped, StopRequest

Message = dict[str, Any]
OFTEN = 0.1  # seconds between two steps of which the engine is told


class Telling(Callback):
    """Passes on what happens, as the name of a ``Callback``'s method and its arguments."""

    def __init__(self, send: Callable[[Message], None]):
        self.send, self.told = send, 0.0

    def downloads(self, file: str, done: int, total: int | None) -> None:
        self._tell("downloads", file, done, total)

    def training_begins(self, name: str, stages: Mapping[str, int], steps: int) -> None:
        self._tell("training_begins", name, dict(stages), steps)

    def stage_begins(self, name: str, objective: str, epochs: int, epoch: int) -> None:
        self._tell("stage_begins", name, objective, epochs, epoch)

    def step(self, done: int, loss: float | None) -> None:
        if time.monotonic() - self.told >= OFTEN:
            self.told = time.monotonic()
            self._tell("step", done, loss)

    def epoch_ends(self, record: Mapping[str, Any]) -> None:
        self._tell("epoch_ends", dict(record))

    def note(self, text: str) -> None:
        self._tell("note", text)

    def _tell(self, event: str, *arguments: Any) -> None:
        self.send({"event": event, "arguments": arguments})


def perform(job: Job, casts: Casts, callback: Callback, stop: StopRequest) -> Message:
    """Carry a job out, and say how it ended."""
    try:
        return {"record": carry_out(job, casts, callback, stop)}
    except FailedTrainingError as failed:
        return {"mistake": str(failed), "failed": failed.reason}
    except UserError as mistake:
        return {"mistake": str(mistake)}
    except Stopped as stopped:
        return {"stopped": stopped.signal_number}
    except Exception:
        return {"failure": traceback.format_exc()}


def main() -> None:
    """Serve an engine over standard input and output."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a user's own network prints must not come between the lines
    out.write("\n")  # nor what was printed before and did not end its line

    def send(message: Message) -> None:
        try:
            files.send(out, json.dumps(message))
        except OSError:  # the engine is gone, and nobody hears what becomes of the training
            os._exit(1)

    serve(lines(), send)


def lines() -> Iterator[Message]:
    """The messages on standard input, a line each."""
    return (json.loads(line) for line in sys.stdin)


def serve_objects(engine: Connection, objects: Objects) -> None:
    """Serve an engine over a pipe, with networks and data that were given as objects."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the engine, which passes it on
    serve(_received(engine), engine.send, objects)


def _received(engine: Connection) -> Iterator[Message]:
    """The messages of an engine, until it takes its leave with a None or dies."""
    with contextlib.suppress(EOFError, OSError):
        while (message := engine.recv()) is not None:
            yield message


def serve(messages: Iterable[Message], send: Callable[[Message], None], objects: Objects | None = None) -> None:
    """Carry out the jobs that come as messages, until there are no more."""
    stop, jobs = StopRequest(), Queue[Job | None]()
    busy = threading.Event()
    threading.Thread(target=_listen, args=(messages, jobs, stop, busy), daemon=True).start()
    callback = Telling(send)
    casts: Casts | None = None
    while job := jobs.get():
        if casts is None or casts.trusted != job.trusted:
            casts = Casts(job.trusted, callback.downloads, objects or Objects())
        ended = perform(job, casts, callback, stop)
        busy.clear()
        send(ended)


def _listen(messages: Iterable[Message], jobs: Queue[Job | None], stop: StopRequest, busy: threading.Event) -> None:
    try:
        for message in messages:
            if "stop" in message:
                stop.signal_number = message["stop"]
            else:
                job = Job.model_validate(message["job"])
                busy.set()  # here, or else one who dies now would leave a job that is carried out for nobody
                jobs.put(job)
    finally:  # whoever gave the job is gone, in the middle of a line perhaps
        if busy.is_set():
            os._exit(1)
        jobs.put(None)


if __name__ == "__main__":
    main()
