"""Worker processes on this machine; a training in each."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from queue import Empty, Queue
from typing import Any

from understudy.plans.engines.base import Ended, Engine, EngineEntry, Request, ended, python_path
from understudy.plans.engines.here import Here
from understudy.plans.training import Casts, Job
from understudy.training.interrupt import Stopped, StopRequest
from understudy.training.watch import Watcher

LOOK = 0.2  # seconds between two looks at whether somebody asked to stop


class Worker:
    """One process, and the training that it is at."""

    def __init__(self, heard: "Queue[tuple[Worker, dict[str, Any] | None]]"):
        self.job: Job | None = None
        self.process = subprocess.Popen(
            [sys.executable, "-m", "understudy.plans.engines.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": python_path()},
            start_new_session=True,  # Ctrl-C is for the engine, which passes it on
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        self.hearing = threading.Thread(target=self._hear, args=(heard,), daemon=True)
        self.hearing.start()

    def send(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):  # it has died, as the end of what it says will tell
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()

    def end(self) -> str:
        """Let it go, idle or dead; how it ended."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        code = self.process.wait()
        self.hearing.join()
        self.process.stdout.close()
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    def _hear(self, heard: "Queue[tuple[Worker, dict[str, Any] | None]]") -> None:
        """Pass on its messages, and its end whatever happens, since somebody waits for that."""
        assert self.process.stdout is not None
        try:
            for line in self.process.stdout:
                message = _read(line)
                if message is not None:
                    heard.put((self, message))
        finally:
            heard.put((self, None))


def _read(line: str) -> dict[str, Any] | None:
    """The message in a line; None for noise, which is of no account.

    Noise is what was printed before the worker took its standard output for itself, and half a line, the last one of a
    worker that died.
    """
    try:
        message = json.loads(line)
    except ValueError:
        return None
    return message if isinstance(message, dict) else None


class Processes(Engine):
    """``workers`` trainings at once, each in a process that stays for the next one."""

    def __init__(self, workers: int, watcher: Watcher, stop: StopRequest):
        self.workers, self.watcher, self.stop = workers, watcher, stop
        self._heard: Queue[tuple[Worker, dict[str, Any] | None]] = Queue()
        self._alive: list[Worker] = []

    def start(self, job: Job) -> None:
        worker = next((worker for worker in self._alive if worker.job is None), None)
        if worker is None:
            worker = Worker(self._heard)
            self._alive.append(worker)
        worker.job = job
        worker.send({"job": job.model_dump(mode="json")})

    def next(self) -> Ended:
        while True:
            if self.stop:
                self._stop_busy(self.stop.signal_number)
                raise Stopped(self.stop.signal_number)
            try:
                worker, message = self._heard.get(timeout=LOOK)
            except Empty:
                continue
            ended = self._ended(worker, message)
            if ended is not None:
                return ended

    def close(self) -> None:
        if self.stop:  # they had their time: somebody asked twice
            for worker in self._alive:
                worker.process.kill()
        else:
            self._stop_busy(signal.SIGTERM)
        for worker in self._alive:
            worker.end()

    def _ended(self, worker: Worker, message: dict[str, Any] | None) -> Ended | None:
        """What a worker's message says about its training's end, if it is about that."""
        job = worker.job
        if message is None:
            self._alive.remove(worker)
            how = worker.end()
            return Ended(job.name, lost=how) if job else None
        assert job is not None
        if "event" in message:
            getattr(self.watcher.of(job.name), message["event"])(*message["arguments"])
            return None
        worker.job = None
        return ended(job.name, message)

    def _stop_busy(self, number: int) -> None:
        """Every training saves its state and leaves; so do their workers, which would not begin anew."""
        busy = [worker for worker in self._alive if worker.job]
        for worker in busy:
            worker.send({"stop": int(number)})
        while any(worker.job for worker in busy):
            worker, message = self._heard.get()
            if message is None or "event" not in message:
                worker.job = None
        for worker in busy:
            self._alive.remove(worker)
            worker.end()


def _local(request: Request, casts: Casts, watcher: Watcher, stop: StopRequest) -> Engine:
    """One training after another needs no process of its own."""
    if request.workers is None or request.workers == 1:
        return Here(casts, watcher, stop)
    return Processes(request.workers, watcher, stop)


ENGINE = EngineEntry("local", "worker processes of this machine", _local)
