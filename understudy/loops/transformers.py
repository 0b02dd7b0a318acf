"""Distillation in the ``Trainer`` of Hugging Face's transformers."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from understudy.errors import OptionalPackageError
from understudy.loops.added import AddedTerms
from understudy.nested import Nested, each
from understudy.objective import Objective
from understudy.objective.term import Expression
from understudy.taps import CLASSIFICATION
from understudy.tasks.task import Task

try:
    from transformers import Trainer
except ImportError as error:
    raise OptionalPackageError("transformers", "transformers", "understudy.loops.transformers") from error

STATE = "understudy.safetensors"  # in a checkpoint: what terms own


class DistillationMixin:
    """Adds terms to the loss of a ``Trainer``; write it first: ``class Mine(DistillationMixin, SomeTrainer)``.

    The trainer runs the student, once, and computes its own loss. The teacher gets the student's inputs without the
    labels. What terms own goes into the trainer's optimizer and into its checkpoints. Evaluation is the trainer's.

    Args:
        terms: what is added, such as ``0.9 * KD(temperature=4)``.
        teacher: one, or several as a list.
        example: a small batch of inputs without labels, where a term reads taps or owns modules.
        targets: takes the targets from a batch, where a term reads them.
        task: the task of targets and answers.
    """

    def __init__(
        self,
        *args: object,
        terms: Expression,
        teacher: nn.Module | list[nn.Module],
        example: Nested | None = None,
        targets: Callable[[Mapping[str, Tensor]], Nested] | None = None,
        task: Task = CLASSIFICATION,
        **settings: object,
    ):
        super().__init__(*args, **settings)
        trainer = cast(Trainer, self)
        for network in teacher if isinstance(teacher, list) else [teacher]:
            network.to(trainer.args.device)
        if example is not None:
            example = each(lambda value: value.to(trainer.args.device), example)
        student = cast(nn.Module, trainer.model)
        self.added = AddedTerms(Objective(terms, student=student, teacher=teacher, example=example, task=task))
        self._targets = targets

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> object:
        trainer, usual = cast(Trainer, self), super().compute_loss  # type: ignore[misc]
        if not model.training:
            return usual(model, inputs, return_outputs=return_outputs, num_items_in_batch=num_items_in_batch)
        without_labels = {name: value for name, value in inputs.items() if name not in trainer.label_names}
        targets = self._targets(inputs) if self._targets is not None else None
        with self.added.observing() as seen:
            loss, outputs = usual(model, inputs, return_outputs=True, num_items_in_batch=num_items_in_batch)
        outcome = self.added.outcome(seen, targets, inputs=without_labels, epoch=trainer.state.epoch or 0.0)
        loss = loss + outcome.loss / self._accumulated(num_items_in_batch)
        return (loss, outputs) if return_outputs else loss

    def _accumulated(self, num_items_in_batch: Tensor | int | None) -> int:
        """By what terms, which are means over their batch, are divided where the trainer does not divide the loss."""
        trainer = cast(Trainer, self)
        divided = getattr(trainer, "loss_is_scaled_for_ga", None)
        if divided is None:
            by_the_model = trainer.model_accepts_loss_kwargs and num_items_in_batch is not None
            divided = by_the_model or trainer.compute_loss_func is not None
        return trainer.current_gradient_accumulation_steps if divided else 1

    def create_optimizer(self, *args: object, **settings: object) -> torch.optim.Optimizer:
        optimizer: torch.optim.Optimizer = super().create_optimizer(*args, **settings)  # type: ignore[misc]
        self.added.join([optimizer])
        # The trainer clears the gradients of its model, which does not hold what terms own.
        optimizer.register_step_post_hook(lambda *_: self.added.objective.zero_grad())
        return optimizer

    def _save_checkpoint(self, *args: object, **settings: object) -> None:
        super()._save_checkpoint(*args, **settings)  # type: ignore[misc]
        self.added.learn()
        trainer = cast(Trainer, self)
        folder = Path(trainer._get_output_dir(trial=None)) / f"checkpoint-{trainer.state.global_step}"
        if trainer.args.should_save:
            state = self.added.objective.state_dict()
            save_file({name: value.contiguous() for name, value in state.items()}, folder / STATE)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, *args: object, **settings: object) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, *args, **settings)  # type: ignore[misc]
        if (file := Path(resume_from_checkpoint) / STATE).exists():
            self.added.objective.load_state_dict(load_file(file))


class DistillationTrainer(DistillationMixin, Trainer):  # type: ignore[misc]
    """Transformers' own ``Trainer`` with terms, see `DistillationMixin`."""
