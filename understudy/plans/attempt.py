"""The store through which the processes of one start of torchrun's agent find each other.

The agent has one store for all starts, in which the addresses of processes that have ended remain, so that a process
that was started again may connect to one that is gone, or wait for it for ever (pytorch/pytorch#135712). The number of
restarts is not the same on all machines. The processes therefore agree on a prefix that no other start has.
"""

import hashlib
import os
import time
import uuid
from datetime import timedelta

from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from understudy.errors import UserError

NAME = "understudy/start"
PATIENCE = timedelta(minutes=30)
PAUSE = 0.02  # seconds between two looks


def fresh_store() -> tuple[Store, int, int] | None:
    """The store, this process's rank and the number of ranks; None where nothing of another start can be there."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    store, rank, world = next(rendezvous("env://", timeout=PATIENCE))
    return PrefixStore(common_prefix(store, rank, world), store), rank, world


def common_prefix(store: Store, rank: int, world: int) -> str:
    """The same on all ranks of a start, and different at every start.

    Each rank writes a name of its own. Rank 0 lists the names, also again if one of them was of another start; who
    finds its own name in the list confirms that list, and the one that all have confirmed is valid.
    """
    own, listed, until = uuid.uuid4().hex, "", time.monotonic() + PATIENCE.total_seconds()
    store.set(f"{NAME}/name/{rank}", own)
    names = [f"{NAME}/name/{other}" for other in range(world)]
    while time.monotonic() < until:
        if rank and store.check([f"{NAME}/list"]):
            listed = store.get(f"{NAME}/list").decode()
        elif not rank and store.check(names):
            present = ",".join(store.get(name).decode() for name in names)
            if present != listed:
                listed = present
                store.set(f"{NAME}/list", listed)
        if own in listed.split(","):
            valid = f"{NAME}/{hashlib.sha256(listed.encode()).hexdigest()[:32]}"
            confirmations = [f"{valid}/{other}" for other in range(1, world)]
            if rank:
                store.set(f"{valid}/{rank}", "")
            elif store.check(confirmations):
                store.set(valid, "")
            if store.check([valid]):
                return valid
        time.sleep(PAUSE)
    raise UserError(f"{world} processes were to start, and not all of them did within {PATIENCE}")
