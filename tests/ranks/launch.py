"""torchrun's elastic agent in a process that has imported everything, whose ranks are forked from it.

So a rank that is started again trains within a second; importing PyTorch took most of the time of a kill.
"""

import contextlib
import importlib
import multiprocessing
import os
import pkgutil
import sys
from pathlib import Path

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

import understudy

NOT_NEEDED = ("understudy.__main__", "understudy.export", "understudy.loops", "understudy.trackers")


def preload() -> None:
    """Import what ranks import."""
    importlib.import_module("torch._dynamo")  # which optimizers import
    for module in pkgutil.walk_packages(understudy.__path__, "understudy."):
        if not module.name.startswith(NOT_NEEDED):
            with contextlib.suppress(ImportError):  # an optional package
                importlib.import_module(module.name)


class Launcher:
    """A process with torchrun's agent, whose output goes into a file."""

    def __init__(self, arguments: list[str], world: int, restarts: int, log: Path):
        fork = multiprocessing.get_context("fork")
        self._process = fork.Process(target=_agent, args=(arguments, world, restarts, log))
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """The exit code; None while it runs."""
        return self._process.exitcode

    def kill(self) -> None:
        """End it with its ranks."""
        for rank in self.ranks():
            with contextlib.suppress(ProcessLookupError):
                os.kill(rank, 9)
        self._process.kill()
        self._process.join()

    def ranks(self) -> list[int]:
        """The process numbers of the ranks."""
        try:
            return sorted(map(int, Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()))
        except FileNotFoundError:
            return []


def _agent(arguments: list[str], world: int, restarts: int, log: Path) -> None:
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=world,
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        max_restarts=restarts,
        monitor_interval=0.1,
        start_method="fork",
    )
    try:
        elastic_launch(config, _rank)(arguments)
    except ChildFailedError:
        sys.exit(1)


def _rank(arguments: list[str]) -> None:
    from understudy.cli import main

    sys.argv = ["understudy", *arguments]
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
