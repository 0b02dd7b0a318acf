"""What a checkpoint of a student that FSDP2 shards costs: seconds for which the training waits, and memory.

    MALLOC_MMAP_THRESHOLD_=1000000 torchrun --nproc-per-node=2 scripts/sharded_checkpoints.py --millions 8 25

The variable makes glibc return the memory of tensors that are freed, which would hide what is taken again.
Each size trains a network of layers of a million weights with AdamW and saves once. A line has the millions of weights,
the rank, the megabytes of the state that the rank holds (its part), the seconds for which the training waited, those
until the checkpoint was complete, the steps in between, and by how much more memory than in steps without a checkpoint
the rank used, relative to its part; last, by how much it grew when it read its part again, likewise.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from understudy.config.optimizers import AdamW
from understudy.config.settings import Settings
from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.data import from_tensors
from understudy.measure.machine import peak_memory, reset_peak_memory
from understudy.ranks import own_shard
from understudy.terms import CE
from understudy.training import checkpoints
from understudy.training.loop import Training

CPU = torch.device("cpu")
WIDTH, SAMPLES, BATCH = 1000, 96, 16


class Network(nn.Sequential):
    """Layers of a million weights each, one after another."""

    def __init__(self, layers: int):
        body = (nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU()) for _ in range(layers))
        super().__init__(nn.Flatten(), nn.Linear(100, WIDTH), *body, nn.Linear(WIDTH, 5))


def measured(millions: int, folder: Path) -> dict[str, Any]:
    """One checkpoint between two steps of a training, which goes on until it is written."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(SAMPLES, 1, 10, 10, generator=generator)
    data = from_tensors((images, torch.arange(SAMPLES) % 5), validation=16)
    torch.manual_seed(0)
    stage = Stage("one", CE(), TrainConfig(epochs=1000, batch=BATCH, optimizer=AdamW(lr=1e-4), keep="last"))
    settings = Settings(device="cpu", threads=1, parallel="fsdp")
    training = Training(Network(millions), [], [stage], data, settings=settings, every=1e9)
    with training.surroundings():
        steps = training.steps()
        next(steps)
        part = sum(own_shard(t).nbytes for t in checkpoints.flat(training._state())[1].values())
        reset_peak_memory(CPU)
        for _ in range(3):
            next(steps)
        before = peak_memory(CPU)["process"]
        training.checkpoint_folder = folder
        training.__dict__.pop("saver")  # there was none
        reset_peak_memory(CPU)
        began = time.monotonic()
        training.save()
        paused, beside = time.monotonic() - began, 0
        assert training.ranks is not None
        while training.ranks.from_first(len(list(folder.glob("*.checkpoint")))) < 1:
            next(steps)
            beside += 1
        written = time.monotonic() - began
        more = peak_memory(CPU)["process"] - before
        reset_peak_memory(CPU)
        before = peak_memory(CPU)["process"]
        newest = training._newest()
        assert newest is not None
        read = peak_memory(CPU)["process"] - before
        steps.close()
    return {"part": part, "paused": paused, "written": written, "beside": beside, "more": more, "read": read}


def rows(millions: list[int], folder: Path) -> Iterator[str]:
    for count in millions:
        figures: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(figures, measured(count, folder / str(count)))
        for rank, found in enumerate(figures):
            times = f"{found['paused']:.2f} | {found['written']:.2f} | {found['beside']}"
            memory = f"{found['more'] / found['part']:.2f} | {found['read'] / found['part']:.2f}"
            yield f"| {count} | {rank} | {found['part'] / 1e6:.0f} | {times} | {memory} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millions", type=int, nargs="+", default=[8, 25])
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    with tempfile.TemporaryDirectory() as name:
        names = [name]
        dist.broadcast_object_list(names, 0)
        for line in rows(chosen.millions, Path(names[0])):
            if dist.get_rank() == 0:
                print(line, flush=True)
        dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
