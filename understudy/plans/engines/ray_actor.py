"""What runs on the machines of a Ray cluster: an actor that trains alone, leads a group of actors, or follows one."""

import contextlib
import os
import socket
from functools import partial

from understudy.plans import group_worker
from understudy.plans.engines.messages import Event, Outcome
from understudy.plans.engines.worker import CarryOut, Sending, perform
from understudy.plans.group import Group
from understudy.plans.training import Builders, Job, carry_out
from understudy.training.interrupt import StopRequest


class Actor:
    """One worker of the cluster. It accepts a stop and returns its events while it trains."""

    def __init__(self, folder: str):
        with contextlib.suppress(OSError):  # paths in a recipe may be relative
            os.chdir(folder)
        self.stopping, self.events = StopRequest(), list[Event]()
        self.builders: Builders | None = None

    def carry_out(self, job: str) -> Outcome:
        return self._perform(job, carry_out)

    def address(self) -> tuple[str, int]:
        """Where this actor, the first of a group, waits for the others: its machine and a free port."""
        import ray

        with socket.socket() as door:
            door.bind(("", 0))
            return ray.util.get_node_ip_address(), door.getsockname()[1]

    def lead(self, job: str, world: int, address: tuple[str, int]) -> Outcome:
        """Carry out a job together with the others of the group."""
        return self._perform(job, partial(group_worker.lead, joined(0, world, address)))

    def follow(self, rank: int, world: int, address: tuple[str, int]) -> None:
        """Take part in the jobs of the first actor of the group, until it ends."""
        group_worker.follow(joined(rank, world, address))

    def heard(self) -> list[Event]:
        """The events since the last call."""
        events, self.events[:] = list(self.events), []
        return events

    def stop(self, number: int) -> None:
        self.stopping.signal_number = number

    def _perform(self, job: str, train: CarryOut) -> Outcome:
        read, callback = Job.model_validate_json(job), Sending(self._keep)
        if self.builders is None or self.builders.trusted != read.trusted:
            self.builders = Builders(read.trusted)
        return perform(read, self.builders, callback, self.stopping, train)

    def _keep(self, message: Event | Outcome) -> None:
        if isinstance(message, Event):
            self.events.append(message)


def joined(rank: int, world: int, address: tuple[str, int]) -> Group:
    """The group of this process, which is made at the first call, as torchrun would tell it.

    Ray shows each process its own GPUs only, so that each takes the first one that it sees.
    """
    host, port = address
    told = {"RANK": rank, "WORLD_SIZE": world, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": world}
    os.environ |= {name: str(value) for name, value in {**told, "MASTER_ADDR": host, "MASTER_PORT": port}.items()}
    group = Group.started()
    assert group is not None
    return group
