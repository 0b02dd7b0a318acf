"""Worker processes on this machine; a training in each."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from multiprocessing.reduction import ForkingPickler
from queue import Empty, Queue

from understudy import files
from understudy.errors import UserError
from understudy.methods import Method
from understudy.plans.engines.base import Ended, Engine, EngineEntry, Request, python_path
from understudy.plans.engines.here import Here
from understudy.plans.engines.messages import Event, Order, Outcome, from_worker
from understudy.plans.training import Builders, Job
from understudy.recipe.objects import Objects
from understudy.training.callbacks import Callback
from understudy.training.filling import Filled
from understudy.training.interrupt import Stopped, StopRequest

POLL_SECONDS = 0.2  # seconds between two checks for a request to stop


Heard = Queue[tuple["Worker", Event | Outcome | None]]  # None: the worker has ended


class Worker:
    """One process and its current training. It receives plain data as lines of JSON."""

    def __init__(self, heard: Heard, ranks: int = 1):
        self.job: Job | None = None
        self.ranks = ranks  # processes that share its trainings
        self._begin()
        self.hearing = threading.Thread(target=self._hear, args=(heard,), daemon=True)
        self.hearing.start()

    def carry_out(self, job: Job) -> None:
        self.job = job
        self.send(Order(job=job))

    def _begin(self) -> None:
        one = [sys.executable, "-m", "understudy.plans.engines.worker"]
        several = [sys.executable, "-m", "understudy.plans.group_worker", str(self.ranks)]
        self.process = subprocess.Popen(
            one if self.ranks == 1 else several,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": python_path()},
            start_new_session=True,  # the engine handles Ctrl-C and passes it on
            text=True,
            encoding="utf-8",
            errors="replace",
        )

    def send(self, order: Order) -> None:
        assert self.process.stdin is not None
        try:
            files.send(self.process.stdin, order.line().rstrip("\n"))
        except OSError:  # a dead worker, which the end of its messages shows
            self.kill()

    def kill(self) -> None:
        if self.ranks > 1:  # the first process ends with its input, and the others with it
            assert self.process.stdin is not None
            with contextlib.suppress(OSError):
                self.process.stdin.close()
        self.process.kill()

    def end(self) -> str:
        """End an idle or dead worker and return its exit code."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        code = self.process.wait()
        self.hearing.join()
        self.process.stdout.close()
        return _ending(code)

    def _messages(self) -> Iterator[Event | Outcome]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            message = from_worker(line)
            if message is not None:
                yield message

    def _hear(self, heard: Heard) -> None:
        """Pass on its messages, and in any case its end, for which the engine waits."""
        try:
            for message in self._messages():
                heard.put((self, message))
        finally:
            heard.put((self, None))


class ObjectWorker(Worker):
    """A process that receives networks and data as objects over its own pipe, as the workers of a DataLoader do."""

    def __init__(self, heard: Heard, objects: Objects):
        self.objects = objects
        super().__init__(heard)

    def _begin(self) -> None:
        from understudy.plans.engines.worker import serve_objects  # late: workers are started as this module

        spawn = multiprocessing.get_context("spawn")
        self.pipe, theirs = spawn.Pipe()
        self.child = spawn.Process(target=serve_objects, args=(theirs, self.objects))
        self.child.start()
        theirs.close()

    def send(self, order: Order) -> None:
        try:
            self.pipe.send(order)
        except OSError:  # as above
            self.kill()

    def kill(self) -> None:
        self.child.kill()

    def end(self) -> str:
        with contextlib.suppress(OSError):
            self.pipe.send(None)  # closing it is not enough: a pipe stays open while a thread reads it
        self.child.join()
        self.hearing.join()
        self.pipe.close()
        return _ending(self.child.exitcode or 0)

    def _messages(self) -> Iterator[Event | Outcome]:
        with contextlib.suppress(EOFError, OSError):
            while True:
                yield self.pipe.recv()


def check_sendable(objects: Objects, methods: Iterable[Method] = ()) -> None:
    """A UserError that names the object that cannot be sent to another process."""
    parts: dict[str, object] = {network.called: network for network in objects.networks.values()}
    parts |= {"data": objects.data, "unlabelled": objects.unlabelled}
    parts |= {f"method {method.name!r}": method for method in methods}
    for called, part in parts.items():
        try:
            ForkingPickler.dumps(part)
        except Exception as error:  # a user's code may raise anything
            raise UserError(
                f"workers: {called} cannot be sent to another process ({str(error).splitlines()[0]}): define its class "
                "or function at the top of a module, or leave workers at 1"
            ) from error


def _ending(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


class Processes(Engine):
    """``workers`` trainings at once, each in a process, or a group of processes, that is reused for the next one.

    Args:
        objects: networks and data that were passed as objects, which each process receives at its start.
    """

    takes_ranks = True

    def __init__(self, workers: int, callback: Callback, stop: StopRequest, objects: Objects | None = None):
        self.workers, self.callback, self.stop, self.objects = workers, callback, stop, objects
        self._heard: Heard = Queue()
        self._alive: list[Worker] = []

    def start(self, job: Job) -> None:
        ranks = job.node.arithmetic.ranks
        worker = next((worker for worker in self._alive if worker.job is None and worker.ranks == ranks), None)
        if worker is None:
            worker = ObjectWorker(self._heard, self.objects) if self.objects else Worker(self._heard, ranks)
            self._alive.append(worker)
        worker.carry_out(job)

    def next(self) -> Ended:
        while True:
            if self.stop:
                self._stop_busy(self.stop.signal_number)
                raise Stopped(self.stop.signal_number)
            try:
                worker, message = self._heard.get(timeout=POLL_SECONDS)
            except Empty:
                continue
            ended = self._ended(worker, message)
            if ended is not None:
                return ended

    def store_answers(self, job: Job) -> list[Filled]:
        raise UserError(
            "answers are stored by this process, or by those that torchrun starts: leave settings.ranks out"
        )

    def close(self) -> None:
        if self.stop:  # a second request to stop: do not wait any longer
            for worker in self._alive:
                worker.kill()
        else:
            self._stop_busy(signal.SIGTERM)
        for worker in self._alive:
            worker.end()

    def _ended(self, worker: Worker, message: Event | Outcome | None) -> Ended | None:
        """The end of a training in a worker's message; None for other messages."""
        job = worker.job
        if message is None:
            self._alive.remove(worker)
            how = worker.end()
            return Ended(job.name, lost=how) if job else None
        assert job is not None
        if isinstance(message, Event):
            message.call(self.callback.of(job.name))
            return None
        worker.job = None
        return Ended(job.name, message.result(job.name))

    def _stop_busy(self, number: int) -> None:
        """Let all trainings save their state and end, and then their workers."""
        busy = [worker for worker in self._alive if worker.job]
        for worker in busy:
            worker.send(Order(stop=int(number)))
        while any(worker.job for worker in busy):
            worker, message = self._heard.get()
            if not isinstance(message, Event):
                worker.job = None
        for worker in busy:
            self._alive.remove(worker)
            worker.end()


def _local(request: Request, builders: Builders, callback: Callback, stop: StopRequest) -> Engine:
    """The engine for so many workers; one worker is this process."""
    if request.ranks == 1 and request.workers in (None, 1):
        return Here(builders, callback, stop)
    return Processes(request.workers or 1, callback, stop)


ENGINE = EngineEntry("local", "worker processes of this machine", _local)
