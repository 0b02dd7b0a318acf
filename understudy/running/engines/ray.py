"""A Ray cluster: a training in each of its actors. All machines read and write the run folder over a shared disk."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

from understudy.errors import OptionalPackageError, UserError
from understudy.running.engines.base import Ended, Engine, python_path
from understudy.running.work import Casts, Job
from understudy.running.worker import Message, Telling, perform
from understudy.training.interrupt import Stopped, StopRequest
from understudy.training.watch import Watcher

LOOK = 0.2  # seconds between two looks at what the workers say


class Actor:
    """One worker of the cluster; it hears of a stop, and is asked what happened, while it trains."""

    def __init__(self, folder: str):
        with contextlib.suppress(OSError):  # paths in a recipe may be relative
            os.chdir(folder)
        self.stopping, self.said = StopRequest(), list[Message]()
        self.casts: Casts | None = None

    def carry_out(self, job: str) -> Message:
        read, watcher = Job.model_validate_json(job), Telling(self.said.append)
        if self.casts is None or self.casts.trusted != read.trusted:
            self.casts = Casts(read.trusted)
        return perform(read, self.casts, watcher, self.stopping)

    def heard(self) -> list[Message]:
        """What happened since it was asked last."""
        said, self.said[:] = list(self.said), []
        return said

    def stop(self, number: int) -> None:
        self.stopping.signal_number = number


class Ray(Engine):
    """``workers`` trainings at once on a cluster.

    Args:
        workers: as many as the cluster's cores allow, where none are said.
        address: of the cluster; without one, that which runs on this machine, or one of its own.
        threads: of each training; so many cores are asked for.
    """

    def __init__(self, workers: int | None, address: str | None, threads: int, watcher: Watcher, stop: StopRequest):
        try:
            import ray
        except ModuleNotFoundError as error:
            raise OptionalPackageError("ray", "ray", "--engine ray") from error
        self.ray: Any = ray
        self.watcher, self.stop, self.threads = watcher, stop, threads
        self.ours = not ray.is_initialized()
        if self.ours:
            self._connect(address)
        cores = int(ray.cluster_resources().get("CPU", 1))
        self.workers = workers or max(1, cores // threads)
        self._busy: dict[Any, tuple[Any, Job]] = {}  # what is waited for -> who is at it, and at what
        self._free: list[Any] = []

    def start(self, job: Job) -> None:
        actor = self._free.pop() if self._free else self._hired(job)
        self._busy[actor.carry_out.remote(job.model_dump_json())] = (actor, job)

    def next(self) -> Ended:
        while True:
            if self.stop:
                self._stop_busy(self.stop.signal_number)
                raise Stopped(self.stop.signal_number)
            done, _ = self.ray.wait(list(self._busy), num_returns=1, timeout=LOOK)
            self._listen()
            if done:
                return self._ended(done[0])

    def close(self) -> None:
        if not self.stop:
            self._stop_busy(signal.SIGTERM)
        for actor in [*self._free, *(actor for actor, _ in self._busy.values())]:
            self.ray.kill(actor)
        if self.ours:
            self.ray.shutdown()

    def _connect(self, address: str | None) -> None:
        try:
            with _own_signals():
                self.ray.init(address=address, log_to_driver=False, logging_level="warning")
        except (ConnectionError, ValueError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(f"no Ray cluster answers at {address or 'this machine'}: {reason}") from error

    def _hired(self, job: Job) -> Any:
        gpus = 1 if job.node.arithmetic.torch_device.type == "cuda" else 0
        actor = self.ray.remote(Actor).options(
            num_cpus=self.threads,
            num_gpus=gpus,
            max_restarts=0,
            max_concurrency=2,
            runtime_env={"env_vars": {"PYTHONPATH": python_path()}},
        )
        return actor.remote(os.getcwd())

    def _ended(self, waited: Any) -> Ended:
        actor, job = self._busy.pop(waited)
        try:
            message: Message = self.ray.get(waited)
        except self.ray.exceptions.RayActorError as error:
            return Ended(job.name, lost=type(error).__name__)
        self._free.append(actor)
        if "record" in message:
            return Ended(job.name, message["record"])
        if "mistake" in message:
            raise UserError(message["mistake"])
        raise RuntimeError(f"{job.name}: {message.get('failure', 'its worker stopped unasked')}")

    def _listen(self) -> None:
        """Pass on what the workers say; that one has died is told by its training's end."""
        for actor, job in list(self._busy.values()):
            with contextlib.suppress(self.ray.exceptions.RayActorError, self.ray.exceptions.GetTimeoutError):
                for message in self.ray.get(actor.heard.remote(), timeout=LOOK):
                    getattr(self.watcher.of(job.name), message["event"])(*message["arguments"])

    def _stop_busy(self, number: int) -> None:
        """Every training saves its state and leaves."""
        for actor, _ in self._busy.values():
            actor.stop.remote(int(number))
        if self._busy:
            self.ray.wait(list(self._busy), num_returns=len(self._busy))
        for actor, _ in self._busy.values():
            self.ray.kill(actor)
        self._busy.clear()


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Ray takes SIGTERM for itself, which here asks trainings to save and leave."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
