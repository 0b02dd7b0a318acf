"""A worker of several processes that share each training. An engine starts it, with their number.

``python -m understudy.plans.group_worker 2`` is torchrun with two ranks, and ends quietly when one of them dies: the
engine sees the end, and starts the training again. The first rank serves the engine, as a worker of one process does.
"""

import contextlib
import logging
import os
import sys
from functools import partial

from understudy.errors import UserError
from understudy.plans.engines import worker
from understudy.plans.group import Group, LostRankError, Message
from understudy.plans.training import Builders, Job, carry_out, take_part
from understudy.training.callbacks import Callback
from understudy.training.interrupt import Stopped, StopRequest
from understudy.training.records import TrainingRecord


def launch(ranks: int) -> int:
    """Start the ranks, and wait for them."""
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)
    options = ["--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0", f"--nproc-per-node={ranks}"]
    try:
        torchrun([*options, "-m", "understudy.plans.group_worker"])
    except ChildFailedError:
        return 1
    return 0


def lead(group: Group, job: Job, builders: Builders, callback: Callback, stop: StopRequest) -> TrainingRecord:
    """Carry out a job with the other ranks. Where one of them is lost, this process ends, and the engine sees it."""
    try:
        group.tell(Message(job=job))
    except RuntimeError:  # it was lost since the last job
        os._exit(1)
    try:
        return group.trained(lambda: carry_out(job, builders, callback, stop))
    except LostRankError:
        os._exit(1)


def follow(group: Group) -> None:
    """Take part in the jobs of the first rank, until it ends."""
    builders: Builders | None = None
    while (message := group.told()) is not None:
        assert message.job is not None
        if builders is None or builders.trusted != message.job.trusted:
            builders = Builders(message.job.trusted)
        with contextlib.suppress(UserError, Stopped):  # the first rank reports them
            group.trained(partial(take_part, message.job, builders, StopRequest()))


def work() -> None:
    """The work of one rank."""
    group = Group.started()
    assert group is not None
    if group.rank:
        os.dup2(2, 1)  # the output of a user's network must not mix with the messages of the first rank
        follow(group)
        return
    try:
        worker.main(partial(lead, group))
    finally:
        with contextlib.suppress(RuntimeError):  # ranks that have ended need no message
            group.tell(None)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(launch(int(sys.argv[1])))
    work()
