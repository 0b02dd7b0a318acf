"""The config of a training: for how long, in which steps, on which views, and what is kept."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from understudy.bounds import STRICT, Count, Epochs, Interval, NonNegative, Positive, Seed, ShareBetween
from understudy.config.optimizers import SGD, Optimizer
from understudy.config.schedules import Cosine, Schedule
from understudy.data.augmentation import PLAIN, Augmentation
from understudy.errors import UserError


@dataclass(frozen=True)
class TrainConfig:
    """How one network is trained; every method gets the same one, so that comparisons are fair.

    Args:
        epochs, batch: how long, in which steps.
        optimizer, schedule: what moves the weights, and its learning rate over time.
        augmentation: the views of each sample that are drawn for training.
        repeats: so many views of each sample stand in one batch, and an epoch sees as many samples fewer (repeated
            augmentation); over as many epochs the same views are seen as without it. None: one view.
        order_seed: of the order and views of the samples, where they are to be alike for all seeds, which then differ
            in what networks begin with and draw for themselves (dropout); None: each training's own seed.
        group_by_length: of texts, sort the samples of so many batches by their length, so that a batch is as long as
            its longest text and no longer; None: batches are drawn regardless of it.
        patience: stop after so many epochs without a better validation value (the rule of FitNets); None: never.
        keep: which weights are the student: those of the ``best`` epoch on validation, or the ``last``.
        ema: decay of a running mean of the student's weights, which is then what is measured and kept; None: none.
        lr_scale: pattern of parameter names -> factor on the learning rate (FitNets: ``"conv*" = 0.05``).
        max_norm: pattern of weight names -> bound on the length of each kernel (FitNets: ``"conv*" = 0.9``).

    >>> from understudy import optimizers
    >>> TrainConfig(epochs=10, optimizer=optimizers.AdamW(lr=2e-3)).epochs
    10
    """

    epochs: Epochs = 30
    batch: Count = 128
    optimizer: Optimizer = field(default_factory=SGD)
    schedule: Schedule = field(default_factory=Cosine)
    augmentation: Augmentation = field(default_factory=Augmentation)
    repeats: Annotated[int, Interval(ge=2, le=1_000)] | None = None
    order_seed: Seed | None = None
    group_by_length: Count | None = None
    patience: Epochs | None = None
    keep: Literal["best", "last"] = "best"
    ema: ShareBetween | None = None
    lr_scale: Mapping[str, NonNegative] = field(default_factory=dict)
    max_norm: Mapping[str, Positive] = field(default_factory=dict)
    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    def __post_init__(self) -> None:
        if self.repeats is None:
            return
        if self.augmentation == PLAIN:
            raise UserError(
                f"repeats = {self.repeats}: without augmentation all views of a sample are one: leave it out"
            )
        if self.batch % self.repeats:
            raise UserError(f"repeats = {self.repeats} does not divide batch = {self.batch}: make it a multiple")
