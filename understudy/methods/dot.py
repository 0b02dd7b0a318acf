"""Soft targets and labels, each with a momentum of its own: ``0.1 * CE + 0.9 * T^2 KL``, trained by DOT.

SGD keeps two momenta, that of the labels' gradient with ``momentum - gap`` and that of the soft targets' with
``momentum + gap``; a step is the sum of both. So the soft targets dominate the optimization. A step goes backwards
twice. Any other method is trained so by ``train.optimizer.momentum_gap = 0.075`` in a recipe, or
``SGD(momentum_gap=0.075)``.

Reference: Zhao et al., "DOT: a distillation-oriented trainer", ICCV 2023.
Gap: ``train.optimizer.momentum_gap`` where it is set, else 0.075, the default of the authors' code and of its
configurations for KD on CIFAR-100 and Tiny-ImageNet, beside a momentum of 0.9; those for ImageNet have 0.09.
Differences: the authors' code has no Nesterov momentum; here it is as the training configuration says. Weight decay is
part of the labels' gradient in both.
"""

from dataclasses import replace

from understudy.bounds import NonNegative, ShareBetween
from understudy.config.optimizers import SGD
from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.errors import UserError
from understudy.methods.kd import KD
from understudy.methods.method import Method
from understudy.objective.labels import CE

GAP = 0.075


def _stages(
    config: TrainConfig,
    term: KD,
    *,
    gap: ShareBetween | None = None,
    weight: NonNegative = 0.9,
    label_weight: NonNegative = 0.1,
) -> list[Stage]:
    """See the module.

    Args:
        gap: by default the ``momentum_gap`` of the training configuration, or 0.075 where it has none.
        weight, label_weight: of the soft targets and of the labels.
    """
    optimizer = require_sgd(config, "dot")
    given = optimizer.momentum_gap if gap is None else gap
    apart = replace(config, optimizer=replace(optimizer, momentum_gap=GAP if given is None else given))
    return [Stage("labels and soft targets", label_weight * CE() + weight * term, apart)]


def require_sgd(config: TrainConfig, method: str) -> SGD:
    """The optimizer of a method that sets momenta; a UserError if it is not SGD."""
    if isinstance(config.optimizer, SGD):
        return config.optimizer
    raise UserError(
        f"method {method!r} sets the momentum of SGD, and the optimizer is {config.optimizer.name!r}: "
        'set train.optimizer.name = "sgd"'
    )


METHOD = Method(
    "dot",
    _stages,
    term=KD,
    family="logits",
    year=2023,
    paper="Zhao et al., DOT: a distillation-oriented trainer",
    doc=__doc__,
)
