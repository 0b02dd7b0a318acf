"""What the stages of several methods share: a configuration divided into two, a weight that grows at the beginning."""

from dataclasses import replace

from understudy.config.train import TrainConfig
from understudy.errors import UserError
from understudy.objective.term import Expression
from understudy.objective.weights import linear

SHARE = 1 / 5  # of the epochs, for a first stage without a set length
WARM_UP = 12  # by which the epochs are divided: 20 of 240 in the code of DKD, ReviewKD and RLD


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


def warmed_up(objective: Expression, config: TrainConfig, epochs: float | None) -> Expression:
    """An objective whose weight grows in a straight line from 0 over some epochs, by default a twelfth of them all.

    >>> from understudy.terms import KD
    >>> print(warmed_up(KD(), TrainConfig(epochs=24), None), "|", warmed_up(KD(), TrainConfig(), 0))
    KD() * linear(0, 1, epochs=2) | KD()
    """
    epochs = config.epochs / WARM_UP if epochs is None else epochs
    return objective * linear(0, 1, epochs=epochs) if epochs else objective
