"""Loops of other libraries on two processes: what ``Objective.as_module()`` trains there against one process.

    pip install lightning accelerate
    for library in lightning fabric accelerate; do torchrun --nproc-per-node=2 scripts/own_loops.py $library; done

Each trains a small network by labels, soft targets, a hint through a regressor and a relation between all samples of
the batch. The weights of the student and of the regressor are compared with those of a plain loop on one process with
the whole batch: it prints the largest distance of a tensor, relative to its norm, and fails above ``BOUND``.
"""

import argparse
import os
from collections.abc import Callable, Iterator
from importlib import metadata
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from understudy import Objective
from understudy.objective.term import Expression
from understudy.terms import CE, KD, SP, Hint

TERMS: Expression = CE() + 0.9 * KD(temperature=4) + Hint("body.2 -> body.2", reduce="mean") + SP("body.2 -> body.2")
BATCH, SAMPLES, EPOCHS, CLASSES = 16, 64, 3, 5
BOUND = 1e-4


class Network(nn.Module):
    """Without batch norm, whose statistics the loop's owner chooses."""

    def __init__(self, width: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1), nn.GELU(), nn.Conv2d(width, width, 3, padding=1), nn.GELU()
        )
        self.head = nn.Linear(width, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(images).mean((2, 3)))
        return logits


def data(batch: int) -> "DataLoader[tuple[Tensor, ...]]":
    images = torch.randn(SAMPLES, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    return DataLoader(TensorDataset(images, torch.arange(SAMPLES) % CLASSES), batch_size=batch)


def made() -> Objective:
    torch.manual_seed(0)
    teacher, student = Network(8).eval().requires_grad_(False), Network(6)
    return Objective(TERMS, student=student, teacher=teacher, example=torch.randn(2, 3, 8, 8))


def optimizer_of(module: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9)


def loop(
    model: Callable[..., Any],
    optimizer: Any,
    loader: Any,
    backward: Callable[[Tensor], object] = torch.Tensor.backward,
) -> None:
    for epoch in range(EPOCHS):
        for images, labels in loader:
            outcome = model(images, labels, epoch=epoch)
            optimizer.zero_grad()
            backward(outcome.loss)
            optimizer.step()


def by_lightning(objective: Objective) -> None:
    import lightning

    class Distillation(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.step = objective.as_module()

        def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
            loss: Tensor = self.step(*batch, epoch=self.current_epoch).loss
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return optimizer_of(self.step)

    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = lightning.Trainer(
        accelerator="cpu", devices=2, strategy="ddp", max_epochs=EPOCHS, use_distributed_sampler=False, **quiet
    )
    samples = data(BATCH).dataset  # in the order of the other loops, which Lightning would shuffle
    sampler: DistributedSampler[object] = DistributedSampler(samples, 2, int(os.environ["RANK"]), shuffle=False)
    trainer.fit(Distillation(), DataLoader(samples, batch_size=BATCH // 2, sampler=sampler))


def by_fabric(objective: Objective) -> None:
    from lightning.fabric import Fabric

    fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp")
    fabric.launch()
    step = objective.as_module()
    model, optimizer = fabric.setup(step, optimizer_of(step))
    loop(model, optimizer, fabric.setup_dataloaders(data(BATCH // 2)), fabric.backward)


def by_accelerate(objective: Objective) -> None:
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    step = objective.as_module()
    model, optimizer, loader = accelerator.prepare(step, optimizer_of(step), data(BATCH // 2))
    assert isinstance(model, DistributedDataParallel)
    loop(model, optimizer, loader, accelerator.backward)


LIBRARIES = {
    "lightning": ("lightning", by_lightning),
    "fabric": ("lightning", by_fabric),
    "accelerate": ("accelerate", by_accelerate),
}


def weights(objective: Objective) -> Iterator[tuple[str, Tensor]]:
    yield from objective.student.state_dict().items()
    yield from objective.owned.state_dict().items()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", choices=list(LIBRARIES))
    chosen = parser.parse_args().library
    torch.set_num_threads(1)
    alone, together = made(), made()
    step = alone.as_module()
    loop(step, optimizer_of(step), data(BATCH))
    package, train = LIBRARIES[chosen]
    train(together)
    assert torch.distributed.get_world_size() == 2
    pairs = zip(weights(together), weights(alone), strict=True)
    apart = max(((one - other).norm() / other.norm()).item() for (_, one), (_, other) in pairs)
    if torch.distributed.get_rank() == 0:
        print(f"{chosen} ({package} {metadata.version(package)}): {apart:.1e} from one process")
    torch.distributed.destroy_process_group()
    if not apart <= BOUND:
        raise SystemExit(f"{chosen}: farther than {BOUND:g}")


if __name__ == "__main__":
    main()
