"""Divides one training configuration into two, for methods of two stages."""

from dataclasses import replace

from understudy.config.train import TrainConfig
from understudy.errors import UserError

SHARE = 1 / 5  # of the epochs, for a first stage without a set length


def split(
    config: TrainConfig, first: int | None, *, setting: str, lr: float | None = None
) -> tuple[TrainConfig, TrainConfig]:
    """Two configurations with the epochs of one, so that a method of two stages costs as much as others.

    No stage is shorter than an epoch: one epoch becomes two, which the pre-flight check and the result report.

    Args:
        first: epochs of the first stage; by default a fifth of them all.
        setting: the name of ``first`` for the user.
        lr: the learning rate of the first stage, where it differs.
    """
    if first is not None and not 0 < first < config.epochs:
        raise UserError(f"{setting} = {first} must be above 0 and below the {config.epochs} epochs of the config")
    epochs = max(1, round(config.epochs * SHARE)) if first is None else first
    before = replace(config, epochs=epochs)
    if lr is not None:
        before = replace(before, optimizer=replace(config.optimizer, lr=lr))
    return before, replace(config, epochs=max(1, config.epochs - epochs))
