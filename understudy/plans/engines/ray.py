"""A Ray cluster with a training per actor, or per group of actors. All machines use the run folder on a shared disk."""

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
from understudy.plans.engines.messages import Outcome
from understudy.plans.engines.ray_actor import Actor
from understudy.plans.training import Builders, Job
from understudy.training.callbacks import Callback
from understudy.training.interrupt import Stopped, StopRequest

POLL_SECONDS = 0.2  # seconds between two polls of the workers
CONNECT = 5.0  # timeout of the connection to a cluster
LAST_WORDS = 10.0  # seconds in which a group one of whose processes has ended may still report a mistake


@dataclass(frozen=True)
class Share:
    """The resources of each process of a training on a machine of the cluster."""

    cores: int
    gpus: int = 0

    def times_in(self, machine: Mapping[str, float]) -> int:
        """The number of processes that fit on a machine with these resources."""
        times = machine.get("CPU", 0) // self.cores
        return int(min(times, machine.get("GPU", 0) // self.gpus) if self.gpus else times)

    def bundle(self) -> dict[str, float]:
        """The same for a placement group."""
        return {"CPU": self.cores, **({"GPU": self.gpus} if self.gpus else {})}

    def __str__(self) -> str:
        return f"{self.cores} CPU and {self.gpus} GPU" if self.gpus else f"{self.cores} CPU"


def room(machines: Sequence[Mapping[str, float]], share: Share, ranks: int = 1) -> int:
    """The number of trainings of so many processes that fit on the machines.

    If none fits, Ray would wait for ever, so this is an error.
    """
    held = sum(share.times_in(machine) for machine in machines)
    if held >= ranks:
        return held // ranks
    if held:
        raise UserError(
            f"each training takes {ranks} processes of {share}, and the Ray cluster has room for {held}: lower "
            "settings.ranks, or take a larger cluster"
        )
    gpus, cores = max((min(machine.get("GPU", 0), share.gpus), machine.get("CPU", 0)) for machine in machines)
    way_out = "lower settings.threads" if cores < share.cores else 'set settings.device = "cpu"'
    raise UserError(
        f"each training takes {share} of one machine, and the largest of the Ray cluster has "
        f"{Share(int(cores), int(gpus))}: {way_out}, or take a cluster with larger machines"
    )


@dataclass(frozen=True)
class Hired:
    """The actors that share trainings, of which the first one leads; of most trainings there is one.

    Args:
        answers: their first replies, which arrive when the cluster has started them.
        address: where the first one waits for the others.
        following: the replies of the others, which arrive when their processes end.
        placement: the group of places on the cluster.
    """

    actors: tuple[Any, ...]
    answers: tuple[Any, ...]
    address: Any = None
    following: tuple[Any, ...] = ()
    placement: Any = None

    def carry_out(self, job: Job) -> Any:
        """Begin a training; its outcome arrives as a reply."""
        first, written = self.actors[0], job.model_dump_json()
        if len(self.actors) == 1:
            return first.carry_out.remote(written)
        return first.lead.remote(written, len(self.actors), self.address)


class Ray(Engine):
    """``workers`` trainings at once on a cluster.

    A training of several processes takes a placement group: places on one machine if one has room for all of them.

    Args:
        workers: by default as many as fit on the cluster, and never more.
        address: of the cluster; by default the one that runs on this machine, or a new one.
        share: the cores and GPUs of each process of a training.
        ranks: the processes that share most trainings, by which their number is bounded.
    """

    takes_ranks = True

    def __init__(
        self,
        workers: int | None,
        address: str | None,
        share: Share,
        callback: Callback,
        stop: StopRequest,
        *,
        ranks: int = 1,
    ):
        try:
            import ray
        except ModuleNotFoundError as error:
            raise OptionalPackageError("ray", "ray", "--engine ray") from error
        self.ray: Any = ray
        self.callback, self.stop, self.share = callback, stop, share
        self._busy: dict[Any, tuple[Hired, Job]] = {}  # pending reply -> its actors and job
        self._free: list[Hired] = []
        self.ours = not ray.is_initialized()
        if self.ours:
            self._connect(address)
        try:
            self.workers = self._within_room(workers, ranks)
        except UserError:
            self.close()
            raise

    def start(self, job: Job) -> None:
        ranks = job.node.arithmetic.ranks
        hired = next((hired for hired in self._free if len(hired.actors) == ranks), None)
        if hired is None:
            hired = self._new_actor() if ranks == 1 else self._new_group(ranks)
        else:
            self._free.remove(hired)
        self._busy[hired.carry_out(job)] = (hired, job)

    def next(self) -> Ended:
        self._release_idle()
        while True:
            if self.stop:
                self._stop_busy(self.stop.signal_number)
                raise Stopped(self.stop.signal_number)
            done, _ = self.ray.wait(self._ending(), num_returns=1, timeout=POLL_SECONDS)
            self._listen()
            if done:
                return self._ended(done[0])

    def close(self) -> None:
        if not self.stop:
            self._stop_busy(signal.SIGTERM)
        for hired in [*self._free, *(hired for hired, _ in self._busy.values())]:
            self._kill(hired)
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

    def _machines(self) -> list[Mapping[str, float]]:
        return [machine["Resources"] for machine in self.ray.nodes() if machine["Alive"]]

    def _within_room(self, workers: int | None, ranks: int) -> int:
        most = room(self._machines(), self.share, ranks)
        if workers and workers > most:
            each = f"{self.share}" if ranks == 1 else f"{ranks} times {self.share}"
            self.callback.note(f"the Ray cluster has room for {most} of {workers} workers: each takes {each}")
        return min(workers or most, most)

    def actor(self, kind: type = Actor, **place: Any) -> Any:
        """A new actor with the share of a training, which the cluster starts when it has room."""
        options = self.ray.remote(kind).options(
            num_cpus=self.share.cores,
            num_gpus=self.share.gpus,
            max_restarts=0,
            max_concurrency=2,
            runtime_env={"env_vars": {"PYTHONPATH": python_path()}},
            **place,
        )
        return options.remote(os.getcwd())

    def _new_actor(self) -> Hired:
        actor = self.actor()
        return Hired((actor,), (actor.heard.remote(),))

    def _new_group(self, ranks: int) -> Hired:
        """Actors on the places of a placement group, which wait for each other."""
        from ray.util.placement_group import placement_group
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy as Placed

        machines = self._machines()
        room(machines, self.share, ranks)
        on_one = any(self.share.times_in(machine) >= ranks for machine in machines)
        placement = placement_group([self.share.bundle()] * ranks, strategy="STRICT_PACK" if on_one else "PACK")
        actors = tuple(self.actor(scheduling_strategy=Placed(placement, rank)) for rank in range(ranks))
        address = actors[0].address.remote()
        following = tuple(actors[rank].follow.remote(rank, ranks, address) for rank in range(1, ranks))
        return Hired(actors, tuple(actor.heard.remote() for actor in actors), address, following, placement)

    def _kill(self, hired: Hired) -> None:
        for actor in hired.actors:
            self.ray.kill(actor)
        if hired.placement is not None:
            self.ray.util.remove_placement_group(hired.placement)

    def begun(self, answers: Mapping[Any, Sequence[Any]]) -> list[Any]:
        """Those of these replies whose actors the cluster has started, by the actors' first answers."""
        waiting = [answer for of_one in answers.values() for answer in of_one]
        answered = self.ray.wait(waiting, num_returns=len(waiting), timeout=0)[0] if waiting else []
        return [reply for reply, of_one in answers.items() if all(answer in answered for answer in of_one)]

    def _begun(self) -> dict[Any, tuple[Hired, Job]]:
        """The busy workers that the cluster has started."""
        begun = self.begun({reply: hired.answers for reply, (hired, _) in self._busy.items()})
        return {reply: self._busy[reply] for reply in begun}

    def _ending(self) -> list[Any]:
        """The replies of which any one shows that a training has ended."""
        return [*self._busy, *(reply for hired, _ in self._busy.values() for reply in hired.following)]

    def _leading(self, reply: Any) -> Any:
        """The reply of the leading actor, where this is another's that ended, and after a moment for it to arrive."""
        if reply in self._busy:
            return reply
        leading = next(other for other, (hired, _) in self._busy.items() if reply in hired.following)
        self.ray.wait([leading], num_returns=1, timeout=LAST_WORDS)
        return leading

    def _release_idle(self) -> None:
        """End idle workers, whose cores other workers may need on a shared cluster."""
        if self._free and len(self._begun()) < len(self._busy):
            for hired in self._free:
                self._kill(hired)
            self._free.clear()

    def _ended(self, reply: Any) -> Ended:
        """The end of the training of this reply, which is the leading actor's, or one of the others' that ended."""
        reply = self._leading(reply)
        hired, job = self._busy.pop(reply)
        try:
            outcome: Outcome = self.ray.get(reply, timeout=0)
        except (
            self.ray.exceptions.RayActorError,
            self.ray.exceptions.OutOfMemoryError,
            self.ray.exceptions.GetTimeoutError,
        ) as error:
            self._kill(hired)  # it may only be unreachable, and must not continue beside the next one
            silent = isinstance(error, self.ray.exceptions.GetTimeoutError)
            return Ended(job.name, lost="one of its processes ended" if silent else type(error).__name__)
        if hired.following and self.ray.wait(list(hired.following), num_returns=1, timeout=0)[0]:
            self._kill(hired)
        else:
            self._free.append(hired)
        return Ended(job.name, outcome.result(job.name))

    def _listen(self) -> None:
        """Pass on the events of the workers. The death of one shows at the end of its training."""
        for hired, job in self._begun().values():
            with contextlib.suppress(self.ray.exceptions.RayActorError, self.ray.exceptions.GetTimeoutError):
                for event in self.ray.get(hired.actors[0].heard.remote(), timeout=POLL_SECONDS):
                    event.call(self.callback.of(job.name))

    def _stop_busy(self, number: int) -> None:
        """Let all trainings save their state and end. One that has not started has no state, and may never start."""
        begun = self._begun()
        for hired, _ in (self._busy.pop(reply) for reply in list(self._busy) if reply not in begun):
            self._kill(hired)
        for hired, _ in begun.values():
            hired.actors[0].stop.remote(int(number))
        while self._busy:  # a group one of whose processes is lost may wait for it
            (done, *_), _ = self.ray.wait(self._ending(), num_returns=1)
            hired, _ = self._busy.pop(self._leading(done))
            self._kill(hired)


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
    share = Share(request.threads, request.gpus)
    return Ray(request.workers, request.address, share, callback, stop, ranks=request.ranks)


ENGINE = EngineEntry("ray", "a Ray cluster", _ray, sharing=lambda workers: workers or cores())
