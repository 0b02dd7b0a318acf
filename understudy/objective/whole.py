"""The whole batch of a step on several processes, for the terms that look at more than their own samples."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from understudy.objective.term import Reading, Reads
from understudy.ranks import Ranks
from understudy.taps import Answer, Tap


class WholeBatch:
    """What the ranks have in common in a step: the samples of all of them, and what is drawn for these.

    Every rank computes terms with ``Reads(batch=True)`` for the whole batch, with the same draws. So their values, and
    what they own, are alike on all ranks.
    """

    def __init__(self, ranks: Ranks, device: torch.device):
        self.ranks = ranks
        self._device = device
        self._module = torch.get_device_module(device) if device.type != "cpu" else None
        self._seed = 0
        self._state: tuple[Tensor, Tensor | None] | None = None

    def begin(self, seed: int | None = None) -> None:
        """A step begins. Without a seed, the first rank draws one for all."""
        if seed is None:
            drawn = torch.randint(2**62, (1,)).to(self._device)
            self.ranks.spread_from_first([drawn])
            seed = int(drawn.item())
        self._seed, self._state = seed, None

    @contextmanager
    def draws(self) -> Iterator[None]:
        """Within it, all ranks draw the same; the rank's own draws go on after it as if nothing had been drawn."""
        own = self._generators()
        if self._state is None:
            torch.manual_seed(self._seed)
        else:
            self._set(self._state)
        try:
            yield
        finally:
            self._state = self._generators()
            self._set(own)

    def reading(self, reading: Reading, reads: Reads) -> Reading:
        """The batches of all ranks as one, as far as these terms read them."""
        ranks = self.ranks
        samples = reading.teacher_samples if reads.teacher_samples else ()
        return replace(
            reading,
            targets=ranks.whole(reading.targets),
            ids=None if reading.ids is None else ranks.gathered(reading.ids),
            student=self._answer(reading.student, reads.student_taps, output=reads.student_output),
            teachers=tuple(self._teachers(reading.teachers, reads)),
            teacher_samples=tuple(map(ranks.gathered, samples)),
            inputs=ranks.whole(reading.inputs) if reads.inputs and reading.inputs is not None else None,
        )

    def _teachers(self, teachers: tuple[Answer, ...], reads: Reads) -> Iterator[Answer]:
        taps = (reads.teacher_taps, *reads.further_taps)
        for number, teacher in enumerate(teachers):
            yield self._answer(teacher, taps[number] if number < len(taps) else (), output=reads.teacher_output)

    def _answer(self, answer: Answer, taps: tuple[Tap, ...], *, output: bool) -> Answer:
        named = {name: self.ranks.gathered(value) for name, value in answer.named.items()} if output else None
        return Answer(named, {tap: self.ranks.gathered(answer[tap]) for tap in taps if tap in answer}, answer.task)

    def _generators(self) -> tuple[Tensor, Tensor | None]:
        return torch.get_rng_state(), self._module.get_rng_state(self._device) if self._module else None

    def _set(self, state: tuple[Tensor, Tensor | None]) -> None:
        torch.set_rng_state(state[0])
        if self._module and state[1] is not None:
            self._module.set_rng_state(state[1], self._device)
