"""Networks of texts whose answers depend on padding, which ``group_by_length`` takes off their batches."""

from collections.abc import Sequence

import torch
from torch import nn

from understudy.config.settings import Settings
from understudy.data.lengths import shortened
from understudy.data.parts import Data, Part
from understudy.errors import UserError
from understudy.objective import evaluating
from understudy.taps import call
from understudy.tasks import Task
from understudy.tasks.words import MASK

SAMPLES = 32  # the shortest texts, of which most is cut off


def refuse_readers_of_padding(networks: Sequence[nn.Module], data: Data, settings: Settings) -> None:
    """A ``UserError`` if the answers to short texts differ without their padding; the student is the first network."""
    lengths = data.train.lengths
    shortest = data.train.ids[lengths[MASK][data.train.ids].argsort(stable=True)[:SAMPLES]]
    (whole,) = Part(data.train.source, shortest).in_order(SAMPLES, settings.torch_device)
    batches = whole, shortened(whole, lengths)
    for number, network in enumerate(networks):
        called = f"teacher {number}" if number else "student"
        try:
            with evaluating(network), torch.no_grad():
                answers = [data.task.answer(call(network, settings.prepare(batch.inputs))) for batch in batches]
        except (RuntimeError, ValueError, IndexError) as error:
            raise UserError(
                f"group_by_length makes batches of many lengths, and the {called} fails on a shorter one ({error}): "
                "leave it out"
            ) from error
        if data.task.rows_per_sample == "many":  # an answer to each token: the others are of padding
            columns = next(iter(answers[1].values())).shape[1]
            answers[0] = {name: value[:, :columns] for name, value in answers[0].items()}
        if reason := Task.changed(data.task, *answers):  # stricter than the task's own rule
            raise UserError(
                f"group_by_length takes padding off texts, and without it the {called} answers otherwise: {reason}. "
                "Let the network mask its padding, or leave group_by_length out"
            )
