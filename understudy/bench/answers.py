"""How fast the networks of a training answer: one sample, and a batch."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from understudy import nested
from understudy.measure import Latency, latencies
from understudy.runs.result import THROUGHPUT_BATCH
from understudy.training.loop import Training


@dataclass(frozen=True)
class AnswerTimes:
    """Of one network, measured beside the others."""

    one: Latency
    batch: Latency


def answer_times(training: Training, *, seconds: float = 5.0) -> dict[str, AnswerTimes]:
    """The student and the teachers of a training by name, in its settings; half of the time for each size."""
    settings, several = training.settings, len(training.teachers) > 1
    networks: Mapping[str, nn.Module] = {"student": training.student} | {
        f"teacher{number}" if several else "teacher": teacher
        for number, teacher in enumerate(training.teachers, start=1)
    }
    example = settings.prepare(training.data.example(THROUGHPUT_BATCH, settings.torch_device))
    with settings.in_force():
        one = latencies(networks, nested.chosen(example, slice(1)), seconds=seconds / 2)
        many = latencies(networks, example, seconds=seconds / 2)
    return {name: AnswerTimes(one[name], many[name]) for name in networks}
