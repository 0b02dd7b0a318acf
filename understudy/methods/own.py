"""Objectives that the user writes down, in one stage or in several."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.errors import UserError
from understudy.methods.method import Method
from understudy.methods.notation import parse


def terms(config: TrainConfig, *, terms: str) -> list[Stage]:
    """Any sum of terms: ``terms = "CE() + 0.9 * KD(temperature=4)"``."""
    return [Stage("own terms", parse(terms), config)]


def stages(config: TrainConfig, *, stages: Sequence[Mapping[str, object]]) -> list[Stage]:
    """Several stages, each ``{terms = "...", epochs = 10}`` with a ``name`` if you like; the epochs add up as given."""
    result = []
    for number, stage in enumerate(stages, start=1):
        unknown = set(stage) - {"name", "terms", "epochs", "lr"}
        if unknown or not {"terms", "epochs"} <= set(stage):
            raise UserError(
                f"stages: stage {number} has {sorted(stage)}; it takes terms, epochs, and if you like name and lr"
            )
        epochs, lr = stage["epochs"], stage.get("lr", config.optimizer.lr)
        if not isinstance(epochs, int) or epochs < 1:
            raise UserError(f"stages: stage {number}: epochs must be a whole number above 0, not {epochs!r}")
        if not isinstance(lr, (int, float)) or not lr > 0:
            raise UserError(f"stages: stage {number}: lr must be a number above 0, not {lr!r}")
        own = replace(config, epochs=epochs, optimizer=replace(config.optimizer, lr=float(lr)))
        result.append(Stage(str(stage.get("name", f"stage {number}")), parse(str(stage["terms"])), own))
    if not result:
        raise UserError("stages: there must be one at least")
    return result


TERMS = Method("terms", terms, family="own", year=2026, paper="your own")
STAGES = Method("stages", stages, family="own", year=2026, paper="your own")
