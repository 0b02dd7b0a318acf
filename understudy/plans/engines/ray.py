"""A Ray cluster with one training per actor. All machines use the run folder on a shared disk."""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from understudy.config.hardware import cores
from understudy.errors import OptionalPackageError, UserError
from understudy.plans.engines.base import Ended, Engine, EngineEntry, Request, python_path
from understudy.plans.engines.messages import Event, Outcome
from understudy.plans.engines.worker import Sending, perform
from understudy.plans.training import Builders, Job
from understudy.training.callbacks import Callback
from understudy.training.interrupt import Stopped, StopRequest

POLL_SECONDS = 0.2  # seconds between two polls of the workers
CONNECT = 5.0  # timeout of the connection to a cluster


@dataclass(frozen=True)
class Share:
    """The resources of each training on a machine of the cluster."""

    cores: int
    gpus: int = 0

    def times_in(self, machine: Mapping[str, float]) -> int:
        """The number of trainings that fit on a machine with these resources."""
        times = machine.get("CPU", 0) // self.cores
        return int(min(times, machine.get("GPU", 0) // self.gpus) if self.gpus else times)

    def __str__(self) -> str:
        return f"{self.cores} CPU and {self.gpus} GPU" if self.gpus else f"{self.cores} CPU"


def room(machines: Sequence[Mapping[str, float]], share: Share) -> int:
    """The number of trainings that fit on the machines. If none fits, Ray would wait for ever, so this is an error."""
    held = sum(share.times_in(machine) for machine in machines)
    if held:
        return held
    gpus, cores = max((min(machine.get("GPU", 0), share.gpus), machine.get("CPU", 0)) for machine in machines)
    way_out = "lower settings.threads" if cores < share.cores else 'set settings.device = "cpu"'
    raise UserError(
        f"each training takes {share} of one machine, and the largest of the Ray cluster has "
        f"{Share(int(cores), int(gpus))}: {way_out}, or take a cluster with larger machines"
    )


class Actor:
    """One worker of the cluster. It accepts a stop and returns its events while it trains."""

    def __init__(self, folder: str):
        with contextlib.suppress(OSError):  # paths in a recipe may be relative
            os.chdir(folder)
        self.stopping, self.events = StopRequest(), list[Event]()
        self.builders: Builders | None = None

    def carry_out(self, job: str) -> Outcome:
        read, callback = Job.model_validate_json(job), Sending(self._keep)
        if self.builders is None or self.builders.trusted != read.trusted:
            self.builders = Builders(read.trusted)
        return perform(read, self.builders, callback, self.stopping)

    def heard(self) -> list[Event]:
        """The events since the last call."""
        events, self.events[:] = list(self.events), []
        return events

    def _keep(self, message: Event | Outcome) -> None:
        if isinstance(message, Event):
            self.events.append(message)

    def stop(self, number: int) -> None:
        self.stopping.signal_number = number


@dataclass(frozen=True)
class ActorHandle:
    """An actor and its first reply, which arrives when the cluster has started it."""

    actor: Any
    answer: Any


class Ray(Engine):
    """``workers`` trainings at once on a cluster.

    Args:
        workers: by default as many as fit on the cluster, and never more.
        address: of the cluster; by default the one that runs on this machine, or a new one.
        share: the cores and GPUs of each training.
    """

    def __init__(self, workers: int | None, address: str | None, share: Share, callback: Callback, stop: StopRequest):
        try:
            import ray
        except ModuleNotFoundError as error:
            raise OptionalPackageError("ray", "ray", "--engine ray") from error
        self.ray: Any = ray
        self.callback, self.stop, self.share = callback, stop, share
        self._busy: dict[Any, tuple[ActorHandle, Job]] = {}  # pending reply -> its actor and job
        self._free: list[ActorHandle] = []
        self.ours = not ray.is_initialized()
        if self.ours:
            self._connect(address)
        try:
            self.workers = self._within_room(workers)
        except UserError:
            self.close()
            raise

    def start(self, job: Job) -> None:
        hired = self._free.pop() if self._free else self._new_actor()
        self._busy[hired.actor.carry_out.remote(job.model_dump_json())] = (hired, job)

    def next(self) -> Ended:
        self._release_idle()
        while True:
            if self.stop:
                self._stop_busy(self.stop.signal_number)
                raise Stopped(self.stop.signal_number)
            done, _ = self.ray.wait(list(self._busy), num_returns=1, timeout=POLL_SECONDS)
            self._listen()
            if done:
                return self._ended(done[0])

    def close(self) -> None:
        if not self.stop:
            self._stop_busy(signal.SIGTERM)
        for hired in [*self._free, *(hired for hired, _ in self._busy.values())]:
            self.ray.kill(hired.actor)
        if self.ours:
            self.ray.shutdown()

    def _connect(self, address: str | None) -> None:
        try:
            _check_reachable(address)
            with _own_signals():
                self.ray.init(address=address, log_to_driver=False, logging_level="warning")
        except (OSError, ValueError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(f"no Ray cluster answers at {address or 'this machine'}: {reason}") from error

    def _within_room(self, workers: int | None) -> int:
        machines = [machine["Resources"] for machine in self.ray.nodes() if machine["Alive"]]
        most = room(machines, self.share)
        if workers and workers > most:
            self.callback.note(f"the Ray cluster has room for {most} of {workers} workers: each takes {self.share}")
        return min(workers or most, most)

    def _new_actor(self) -> ActorHandle:
        options = self.ray.remote(Actor).options(
            num_cpus=self.share.cores,
            num_gpus=self.share.gpus,
            max_restarts=0,
            max_concurrency=2,
            runtime_env={"env_vars": {"PYTHONPATH": python_path()}},
        )
        actor = options.remote(os.getcwd())
        return ActorHandle(actor, actor.heard.remote())

    def _begun(self) -> dict[Any, tuple[ActorHandle, Job]]:
        """The busy workers that the cluster has started."""
        answers = [hired.answer for hired, _ in self._busy.values()]
        answered = self.ray.wait(answers, num_returns=len(answers), timeout=0)[0] if answers else []
        return {waited: busy for waited, busy in self._busy.items() if busy[0].answer in answered}

    def _release_idle(self) -> None:
        """End idle workers, whose cores other workers may need on a shared cluster."""
        if self._free and len(self._begun()) < len(self._busy):
            for hired in self._free:
                self.ray.kill(hired.actor)
            self._free.clear()

    def _ended(self, waited: Any) -> Ended:
        hired, job = self._busy.pop(waited)
        try:
            outcome: Outcome = self.ray.get(waited)
        except (self.ray.exceptions.RayActorError, self.ray.exceptions.OutOfMemoryError) as error:
            self.ray.kill(hired.actor)  # it may only be unreachable, and must not continue beside the next one
            return Ended(job.name, lost=type(error).__name__)
        self._free.append(hired)
        return Ended(job.name, outcome.result(job.name))

    def _listen(self) -> None:
        """Pass on the events of the workers. The death of one shows at the end of its training."""
        for hired, job in self._begun().values():
            with contextlib.suppress(self.ray.exceptions.RayActorError, self.ray.exceptions.GetTimeoutError):
                for event in self.ray.get(hired.actor.heard.remote(), timeout=POLL_SECONDS):
                    event.call(self.callback.of(job.name))

    def _stop_busy(self, number: int) -> None:
        """Let all trainings save their state and end. One that has not started has no state, and may never start."""
        begun = self._begun()
        for waited, (hired, _) in self._busy.items():
            if waited in begun:
                hired.actor.stop.remote(int(number))
            else:
                self.ray.kill(hired.actor)
        if begun:
            self.ray.wait(list(begun), num_returns=len(begun))
        for hired, _ in begun.values():
            self.ray.kill(hired.actor)
        self._busy.clear()


def _check_reachable(address: str | None) -> None:
    """Fail at once where nothing listens at the address: Ray itself tries for half a minute."""
    place = urlsplit("//" + (address or "").removeprefix("ray://"))
    if place.hostname and place.port:
        socket.create_connection((place.hostname, place.port), timeout=CONNECT).close()


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Keep the handler of SIGTERM, by which trainings save and end, and which Ray replaces."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _ray(request: Request, builders: Builders, callback: Callback, stop: StopRequest) -> Engine:
    return Ray(request.workers, request.address, Share(request.threads, request.gpus), callback, stop)


ENGINE = EngineEntry("ray", "a Ray cluster", _ray, sharing=lambda workers: workers or cores())
