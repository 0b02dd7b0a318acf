"""Real processes in one gloo group, to which a test sends the name of a function and gets what each returns."""

import importlib
import socket
import traceback
import warnings
from datetime import timedelta
from multiprocessing.connection import Connection
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as processes


class RankError(Exception):
    """What a function raised on a rank."""


class Group:
    """The processes; a function of ``tests.ranks.cases``, or one called ``module.function``, runs in all at once."""

    def __init__(self, world: int = 2) -> None:
        context = processes.get_context("forkserver")
        context.set_forkserver_preload(["tests.ranks.cases", "torch._dynamo"])  # imported once
        pipes = [context.Pipe() for _ in range(world)]
        port = free_port()
        self.pipes = [ours for ours, _ in pipes]
        self.processes = [
            context.Process(target=serve, args=(rank, world, port, theirs), daemon=True)
            for rank, (_, theirs) in enumerate(pipes)
        ]
        for process in self.processes:
            process.start()

    def __call__(self, function: str, *args: Any) -> list[Any]:
        for pipe in self.pipes:
            pipe.send((function, args))
        answers = [pipe.recv() if pipe.poll(120) else ("failed", "no answer") for pipe in self.pipes]
        for kind, answer in answers:
            if kind == "failed":
                raise RankError(answer)
        return [answer for _, answer in answers]

    def close(self) -> None:
        for pipe in self.pipes:
            pipe.send(None)
        for process in self.processes:
            process.join(20)
            if process.is_alive():
                process.kill()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def serve(rank: int, world: int, port: int, pipe: Connection) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", category=FutureWarning)
    dist.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world, timeout=timedelta(seconds=60)
    )
    while (received := pipe.recv()) is not None:
        function, args = received
        try:
            module, _, name = function.rpartition(".")
            answer = "done", getattr(importlib.import_module(f"tests.ranks.{module or 'cases'}"), name)(rank, *args)
        except BaseException:
            answer = "failed", traceback.format_exc()
        pipe.send(answer)
    dist.destroy_process_group()
