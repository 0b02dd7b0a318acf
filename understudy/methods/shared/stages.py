"""One config as two, for methods of two stages."""

from dataclasses import replace

from understudy.config.train import TrainConfig
from understudy.errors import UserError

SHARE = 1 / 5  # of the epochs, where nobody says how long the first stage is


def split(
    config: TrainConfig, first: int | None, *, setting: str, lr: float | None = None
) -> tuple[TrainConfig, TrainConfig]:
    """Two configs that spend the epochs of one, so that a method of two stages costs what others cost.

    No stage is shorter than an epoch: a config of a single one becomes two, which the pre-flight and the result say.

    Args:
        first: epochs of the first stage; by default a fifth of them all.
        setting: what the user calls ``first``.
        lr: the learning rate of the first stage, where it differs.
    """
    if first is not None and not 0 < first < config.epochs:
        raise UserError(f"{setting} = {first} must be above 0 and below the {config.epochs} epochs of the config")
    epochs = max(1, round(config.epochs * SHARE)) if first is None else first
    before = replace(config, epochs=epochs)
    if lr is not None:
        before = replace(before, optimizer=replace(config.optimizer, lr=lr))
    return before, replace(config, epochs=max(1, config.epochs - epochs))
