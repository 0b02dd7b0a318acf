"""A whole training step as one module, for what averages gradients over several processes."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from understudy import nested
from understudy.errors import UserError, warn_caller
from understudy.nested import Nested
from understudy.objective.objective import Objective, Outcome
from understudy.objective.refusals import UNAVERAGED
from understudy.objective.term import Reading
from understudy.objective.whole import WholeBatch
from understudy.ranks import Ranks, averaging, is_sharded, ranks, unsharded, wrapper
from understudy.whole_norm import over_ranks


class Step(nn.Module):
    """The student, what the terms own and, beside them, the teachers: called with a batch, it returns the `Outcome`.

    Its parameters are those of the student and of what learns with it. DistributedDataParallel, ``fully_shard``,
    Lightning, Fabric and Accelerate wrap it as they wrap any module. On several processes, each with an equal slice of
    the batch, the student and the owned modules get the gradient of one process: terms that look at the whole batch
    (``Reads(batch=True)``) get the readings of all ranks, and batch norms of owned modules their statistics.

    ``outcome.terms`` are the means over this rank's samples, of terms on the whole batch those over all samples.

    >>> from understudy.terms import CE, KD
    >>> teacher, student = torch.nn.Linear(4, 3), torch.nn.Linear(4, 3)
    >>> step = Objective(CE() + KD(), student=student, teacher=teacher).as_module()
    >>> step(torch.rand(2, 4), torch.tensor([0, 2])).loss.backward()
    >>> len(list(step.parameters()))
    2

    Args:
        objective: with the bare student.
        adversaries: the optimizer of ``objective.adversaries``, which step first; needed where there are any.
    """

    def __init__(self, objective: Objective, adversaries: torch.optim.Optimizer | None = None):
        super().__init__()
        if name := wrapper(objective.student):
            raise UserError(f"the student is wrapped in {name} already: make the objective with the student itself")
        if objective.has_adversaries and adversaries is None:
            raise UserError(
                "the objective has an adversary, which takes a step of its own: pass as_module(adversaries=optimizer), "
                "an optimizer of objective.adversaries.parameters()"
            )
        self.student, self.owned = objective.student, objective.owned
        self._objective, self._adversaries = (objective,), adversaries
        self._reading: Reading | None = None  # of the last step, for what moves after it
        self._alike = False
        objective.in_step = True
        if group := ranks():
            self._spread(group)

    @property
    def objective(self) -> Objective:
        """The objective, to be called on one process, and for its state."""
        return self._objective[0]

    if TYPE_CHECKING:

        def __call__(
            self,
            inputs: Nested,
            targets: Nested | None = None,
            *,
            epoch: float | None = None,
            ids: Tensor | None = None,
        ) -> Outcome: ...

    def forward(
        self, inputs: Nested, targets: Nested | None = None, *, epoch: float | None = None, ids: Tensor | None = None
    ) -> Outcome:
        """One step on this rank's slice of a batch, as `Objective` takes it on a whole batch."""
        objective = self.objective
        if objective.training != self.training:  # Lightning sets the mode of each module that it knows
            objective.train(self.training)
        if not self._alike:
            self._make_alike()
        self._learn()
        if objective.whole is not None:
            self._begin(objective.whole, inputs)
        reading = objective.read(inputs, targets, epoch=epoch, ids=ids)
        training = self.training and torch.is_grad_enabled()
        if training and self._adversaries is not None:
            self._step_adversaries(self._adversaries, reading)
        outcome = objective.judge(reading)
        if training and objective.learns:
            self._reading = objective.remembered(reading)
        return outcome

    def learn(self) -> None:
        """Move memories, after the optimizer's step. The next call does so as well; before a checkpoint, call it."""
        with unsharded(self):
            self._learn()

    def _learn(self) -> None:
        reading, self._reading = self._reading, None
        if reading is not None:
            self.objective.learn(reading)

    def train(self, mode: bool = True) -> "Step":
        super().train(mode)
        self.objective.train(mode)
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Step":
        """Whatever moves the step moves the teachers and the adversaries, too, which are not its own."""
        super()._apply(fn, recurse)
        objective = self.objective
        for module in (*(teacher.network for teacher in objective.teachers), objective.adversaries):
            module._apply(fn)
        if objective.balance is not None:
            objective.balance._apply(fn)
        return self

    def _make_alike(self) -> None:
        """At the first call: what the ranks own begins as on the first one."""
        self._alike = True
        group, objective = ranks(), self.objective
        if group is None:
            return
        objective.whole = WholeBatch(group, next(self.student.parameters()).device)
        if is_sharded(self) and objective.balance is not None:
            raise UserError("auto() measures gradients on whole parameters, which fully_shard splits: give weights")
        if not is_sharded(self) and averaging(self) is None:
            warn_caller(UNAVERAGED)
        self._spread(group)
        for name, owned in objective.owned.items():
            if not objective.parts[name].term.reads.batch:
                over_ranks(owned)

    def _spread(self, group: Ranks) -> None:
        """All ranks take the first one's weights, memories and statistics."""
        objective = self.objective
        kept = (self, objective.adversaries, *([objective.balance] if objective.balance else []))
        group.spread_from_first(tensor for module in kept for tensor in _whole_tensors(module))

    def _begin(self, whole: WholeBatch, inputs: Nested) -> None:
        device = nested.device(inputs)
        assert device is not None
        whole.ranks.equal_counts(nested.count(inputs), device)
        if self.objective.terms.reads.batch or self.objective.terms.reads.teacher_samples:
            whole.begin()

    def _step_adversaries(self, optimizer: torch.optim.Optimizer, reading: Reading) -> None:
        loss = self.objective.adversary_loss(reading)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def _whole_tensors(module: nn.Module) -> Iterator[Tensor]:
    """Parameters and buffers, without those that are sharded: of these each rank holds its part of one value."""
    for tensor in (*module.parameters(), *module.buffers()):
        if not hasattr(tensor, "placements"):
            yield tensor
