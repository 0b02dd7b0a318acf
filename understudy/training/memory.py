"""A device without memory enough: an evaluation takes smaller batches, and a training step says which would fit."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from understudy.config.settings import Settings
from understudy.data.parts import Batch
from understudy.errors import UserError
from understudy.training.averaged import microbatches

T = TypeVar("T")
LACKING = ("out of memory", "can't allocate memory", "not enough memory")


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device, or the machine, has no memory left.

    >>> out_of_memory(torch.OutOfMemoryError()), out_of_memory(RuntimeError("shapes differ"))
    (True, False)
    """
    told = isinstance(error, RuntimeError) and any(text in str(error) for text in LACKING)
    return told or isinstance(error, (torch.OutOfMemoryError, MemoryError))


class Halving:
    """Work on batches, in halves where the memory does not hold a whole one; from then on no larger ones are tried.

    Not ``allowed`` are halves of networks that are sharded, which all ranks must call equally often.
    """

    def __init__(self, *, allowed: bool = True) -> None:
        self.allowed = allowed
        self.most: int | None = None

    def __call__(self, batch: Batch, work: Callable[[Batch], T]) -> list[T]:
        """The results of the parts of a batch, in order."""
        done: list[T] = []
        waiting = [batch]
        while waiting:
            part, *waiting = [*microbatches(waiting[0], self.most), *waiting[1:]]
            try:
                done.append(work(part))
                continue
            except Exception as error:
                if not self.allowed or len(part) == 1 or not out_of_memory(error):
                    raise
            self.most = -(-len(part) // 2)  # here, where nothing of the failed pass is held any more
            waiting.insert(0, part)
        return done


@contextmanager
def told_in_steps(name: str, batch: int, settings: Settings) -> Iterator[None]:
    """A context for the steps of a training; where memory is lacking, an error with a smaller batch to take."""
    try:
        yield
    except Exception as error:
        if not out_of_memory(error):
            raise
        at_once = min(batch, settings.microbatch or batch)
        lacking = f"{name}: {settings.torch_device.type} has no memory for a step with"
        if at_once == 1:
            raise UserError(f"{lacking} one sample: take a smaller network, or smaller samples") from error
        raise UserError(
            f"{lacking} {at_once} samples: set settings.microbatch = {at_once // 2}, which adds up the same gradient, "
            "or a smaller train.batch"
        ) from error
