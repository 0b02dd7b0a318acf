"""Distillation in Lightning: a module that trains an objective, and a callback that adds terms to any module."""

from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import cast

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from understudy.errors import OptionalPackageError, UserError
from understudy.loops.added import AddedTerms
from understudy.nested import Nested
from understudy.objective import Objective
from understudy.objective.term import Expression
from understudy.taps import CLASSIFICATION, call
from understudy.tasks.task import Meter, Task

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ImportError as error:
    raise OptionalPackageError("lightning", "lightning", "understudy.loops.lightning") from error


class DistillationModule(LightningModule):  # type: ignore[misc]
    """Trains an objective, logs its terms, and measures the task's figures on the validation data.

    Batches are ``(inputs, targets)``, ``(inputs, targets, sample numbers)`` or inputs alone; override ``unpack`` for
    other forms. A checkpoint holds the student, what terms own, and their memories. It does not hold the teacher.

    Args:
        objective: with the bare student.
        optimizer: makes the optimizer of these parameters.
        schedule: makes the schedule of the rate, which moves once an epoch.
        adversaries: makes the optimizer of the adversaries, where the objective has any.

    >>> from understudy.terms import KD
    >>> teacher, student = torch.nn.Linear(4, 3), torch.nn.Linear(4, 3)
    >>> objective = Objective(KD(), student=student, teacher=teacher)
    >>> module = DistillationModule(objective, lambda parameters: torch.optim.SGD(parameters, lr=0.1))
    >>> module.student is student
    True
    """

    def __init__(
        self,
        objective: Objective,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        *,
        schedule: Callable[[Optimizer], LRScheduler] | None = None,
        adversaries: Callable[[Iterable[nn.Parameter]], Optimizer] | None = None,
    ):
        super().__init__()
        self._adversaries = adversaries(objective.adversaries.parameters()) if adversaries else None
        self.step = objective.as_module(self._adversaries)
        self._optimizer, self._schedule = optimizer, schedule
        self._meter: Meter | None = None

    @property
    def objective(self) -> Objective:
        return self.step.objective

    @property
    def student(self) -> nn.Module:
        """The network that is trained; save it by itself with ``understudy.models.save``."""
        return self.objective.student

    def forward(self, inputs: Nested) -> object:
        return call(self.student, inputs)

    def unpack(self, batch: object) -> tuple[Nested, Nested | None, Tensor | None]:
        """The inputs, the targets if there are any, and the numbers of the samples, which memories need."""
        if not isinstance(batch, (tuple, list)):
            return cast(Nested, batch), None, None
        inputs, targets, ids = (*batch, None, None)[:3]
        return inputs, targets, ids

    def training_step(self, batch: object, batch_idx: int) -> Tensor:
        inputs, targets, ids = self.unpack(batch)
        outcome = self.step(inputs, targets, epoch=self.current_epoch, ids=ids)
        self.log_dict(
            {"loss": outcome.loss.detach(), **{f"terms/{name}": mean for name, mean in outcome.terms.items()}}
        )
        return outcome.loss

    def on_train_batch_end(self, outputs: object, batch: object, batch_idx: int) -> None:
        self.step.learn()

    def on_validation_epoch_start(self) -> None:
        self._meter = self.objective.task.meter()

    def validation_step(self, batch: object, batch_idx: int) -> None:
        inputs, targets, _ = self.unpack(batch)
        if targets is None or self._meter is None:
            raise UserError("the validation data have no targets, so nothing can be measured: leave them out of fit()")
        self._meter.update(self.objective.task.answer(self(inputs)), targets)

    def on_validation_epoch_end(self) -> None:
        if self._meter is not None:
            figures = self._meter.compute()
            self.log_dict({f"validation/{name}": value for name, value in figures.items()}, sync_dist=True)
            self._meter = None

    def configure_optimizers(self) -> object:
        optimizer = self._optimizer(self.step.parameters())
        return optimizer if self._schedule is None else ([optimizer], [self._schedule(optimizer)])

    def on_save_checkpoint(self, checkpoint: dict[str, object]) -> None:
        checkpoint["objective"] = self.objective.state_dict()
        if self._adversaries is not None:
            checkpoint["adversaries"] = self._adversaries.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, object]) -> None:
        self.objective.load_state_dict(cast(dict[str, Tensor], checkpoint["objective"]))
        if self._adversaries is not None:
            self._adversaries.load_state_dict(cast(dict[str, object], checkpoint["adversaries"]))


class DistillationCallback(Callback):  # type: ignore[misc]
    """Adds terms to the loss of a Lightning module that knows nothing of them.

    The module's own ``training_step`` runs the student, once, and returns its own loss. The teacher gets what the
    student got. What terms own goes into the module's first optimizer, and into the checkpoint with the callback.

    Args:
        terms: what is added, such as ``0.9 * KD(temperature=4)``.
        teacher: one, or several as a list.
        student: the path of the student in the module, such as ``"model"``; empty for the module itself.
        example: a small batch of inputs, where a term reads taps or owns modules.
        targets: takes the targets from a batch, where a term reads them.
        task: the task of targets and answers.

    >>> from understudy.terms import KD
    >>> callback = DistillationCallback(0.9 * KD(temperature=4), teacher=torch.nn.Linear(4, 3), student="model")
    """

    def __init__(
        self,
        terms: Expression,
        *,
        teacher: nn.Module | list[nn.Module],
        student: str = "",
        example: Nested | None = None,
        targets: Callable[[object], Nested] | None = None,
        task: Task = CLASSIFICATION,
    ):
        self.terms, self.teacher, self.student = terms, teacher, student
        self.example, self.targets, self.task = example, targets, task
        self._added: AddedTerms | None = None
        self._own: Callable[..., object] | None = None

    @property
    def objective(self) -> Objective | None:
        """The terms on the networks, while the module is fitted."""
        return None if self._added is None else self._added.objective

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        student = pl_module.get_submodule(self.student)
        self._added = AddedTerms(
            Objective(self.terms, student=student, teacher=self.teacher, example=self.example, task=self.task)
        )
        self._own = pl_module.training_step
        pl_module.training_step = self._with_terms(pl_module, self._own, self._added)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._added is not None:
            self._added.to(pl_module.device)
            self._added.join(trainer.optimizers)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        if self._added is not None:
            self._added.learn()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self._own is not None:
            pl_module.training_step, self._own = self._own, None

    def state_dict(self) -> dict[str, object]:
        return {} if self._added is None else dict(self._added.objective.state_dict())

    def load_state_dict(self, state_dict: dict[str, Tensor]) -> None:
        if self._added is not None:
            self._added.objective.load_state_dict(state_dict)

    def _with_terms(
        self, module: LightningModule, own: Callable[..., object], added: AddedTerms
    ) -> Callable[..., object]:
        @wraps(own)
        def training_step(batch: object, *rest: object, **named: object) -> object:
            with added.observing() as seen:
                returned = own(batch, *rest, **named)
            targets = self.targets(batch) if self.targets is not None else None
            outcome = added.outcome(seen, targets, epoch=module.current_epoch)
            module.log_dict({f"terms/{name}": mean for name, mean in outcome.terms.items()})
            if isinstance(returned, Tensor):
                return returned + outcome.loss
            if isinstance(returned, Mapping) and isinstance(returned.get("loss"), Tensor):
                return {**returned, "loss": returned["loss"] + outcome.loss}
            raise UserError("training_step returns no loss to which terms could be added (manual optimization?)")

        return training_step
