"""Terms that are added to the loss of somebody else's loop, whose own code runs the student."""

from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch
from torch.optim import Optimizer

from understudy.errors import UserError
from understudy.nested import Nested
from understudy.objective import Objective, Outcome
from understudy.objective.term import Reading
from understudy.taps import Observation


class AddedTerms:
    """An objective beside a loss that the loop computes itself.

    >>> from understudy.terms import KD
    >>> teacher, student = torch.nn.Linear(4, 3), torch.nn.Linear(4, 3)
    >>> added = AddedTerms(Objective(KD(), student=student, teacher=teacher))
    >>> with added.observing() as seen:
    ...     own_loss = student(torch.rand(2, 4)).square().mean()
    >>> loss = own_loss + added.outcome(seen).loss
    """

    def __init__(self, objective: Objective):
        if objective.has_adversaries:
            raise UserError(
                "a term has an adversary, which takes steps of its own: train the step as one module, "
                "objective.as_module(adversaries=optimizer)"
            )
        self.objective = objective
        self._reading: Reading | None = None  # of the last step, for memories, which move after it

    def observing(self) -> AbstractContextManager[Observation]:
        """Within it, the loop runs the student once."""
        self.learn()
        return self.objective.observing()

    def outcome(
        self, seen: Observation, targets: Nested | None = None, *, inputs: Nested | None = None, epoch: float = 0.0
    ) -> Outcome:
        """The terms on what was observed; the teacher gets the student's inputs, unless others are given."""
        given = seen.inputs if inputs is None else inputs
        reading = self.objective.read(given, targets, student=seen.answer, epoch=epoch)
        outcome = self.objective.judge(reading)
        if self.objective.learns and torch.is_grad_enabled():
            self._reading = self.objective.remembered(reading)
        return outcome

    def learn(self) -> None:
        """Move memories, after the optimizer's step. The next call of ``observing`` does so as well."""
        reading, self._reading = self._reading, None
        if reading is not None:
            self.objective.learn(reading)

    def to(self, device: torch.device) -> None:
        """Move the teachers and what terms own, to where the student is."""
        for module in (self.objective, *(teacher.network for teacher in self.objective.teachers)):
            module.to(device)

    def join(self, optimizers: Sequence[Optimizer]) -> None:
        """Put what terms own into the first group of the first optimizer, unless it is in one of them.

        No group is added, because schedules of the rate count the groups.
        """
        known = {id(value) for optimizer in optimizers for group in optimizer.param_groups for value in group["params"]}
        missing = [value for value in self.objective.owned.parameters() if id(value) not in known]
        optimizers[0].param_groups[0]["params"].extend(missing)
