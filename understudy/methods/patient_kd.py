"""The first token of several layers: ``(1 - a) CE + a KD + b PT``.

The student's layers learn the direction of the teacher's first token ([CLS]), beside labels and soft targets.

Settings:
    pairs: layers of both networks; by default every k-th of the teacher's beside the student's, without the last.
    patience_weight: b. The authors' code tries 10, 100, 500 and 1000.
    normalize: compare directions, as the paper does; the authors' code has it as an option, and tries both.
    weight, label_weight: a and 1 - a; the code tries 0.2, 0.5 and 0.7 as a. It averages the soft targets over the
        classes too, so that they are as many times weaker there as there are classes.
    temperature: of the soft targets; the code tries 5, 10 and 20.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from understudy.bounds import NonNegative, Temperature
from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.errors import UserError
from understudy.methods.kd import KD
from understudy.methods.method import LabelWeight, Method, weight_of_labels
from understudy.methods.shared.maps import feature_mse
from understudy.methods.shared.pairs import PairsTerm, summed
from understudy.methods.shared.relations import unit
from understudy.objective.labels import CE
from understudy.objective.term import Expression, Reading, Shapes
from understudy.precision import wide
from understudy.taps.regressors import regressor


def patience(student: Tensor, teacher: Tensor, *, normalize: bool = True) -> Tensor:
    """Patient knowledge distillation: squared difference of two directions, one value per sample.

    ``1/D || t / |t| - s / |s| ||^2``

    Args:
        student, teacher: the first token of a layer, (N, D).
        normalize: compare directions; otherwise the values themselves.

    The paper's sum over layers is a sum of this loss, the authors' code has the mean over the layers. Its weight in the
    code is one of 10, 100, 500 and 1000.

    Reference: Sun et al., "Patient knowledge distillation for BERT model compression", EMNLP 2019.
    Differences: none to the authors' code (``patience_loss``), which averages over the D values; the paper's equation
    sums over them.

    >>> patience(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 3.0]]))
    tensor([1.])
    """
    if normalize:
        student, teacher = unit(wide(student)), unit(wide(teacher))
    return feature_mse(student, teacher)


@dataclass(frozen=True)
class Patience(PairsTerm):
    """The first token of several layers, as the teacher has it; see ``losses.patience``.

    ``1/L sum_l 1/D || t_l / |t_l| - s_l / |s_l| ||^2``

    Args:
        pairs: of layers, whose outputs are tokens (N, T, D), or vectors (N, D).
        normalize: compare directions.

    Differences: a student of another width is brought to the teacher's by a linear layer; the paper has equal widths.

    >>> print(100.0 * Patience("encoder.layer.2 -> encoder.layer.0"))
    100 * Patience(pairs=('encoder.layer.2 -> encoder.layer.0',))
    """

    normalize: bool = True

    def build(self, shapes: Shapes) -> nn.Module | None:
        values = [(self._first(student), self._first(teacher)) for student, teacher in self.traced(shapes)]
        made = [regressor(student, teacher, kind="auto") for student, teacher in values]
        return None if all(one is None for one in made) else nn.ModuleList(one or nn.Identity() for one in made)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        brought = list(owned.children()) if owned is not None else [nn.Identity()] * len(self.pairs)
        losses = [
            patience(bring(self._first(student)), self._first(teacher), normalize=self.normalize)
            for bring, (student, teacher) in zip(brought, self.values(reading), strict=True)
        ]
        return summed(losses) / len(losses)

    def _first(self, value: Tensor) -> Tensor:
        if value.ndim not in (2, 3):
            raise UserError(f"{self} reads tokens (N, T, D), not {tuple(value.shape)}: tap the layers of a transformer")
        return value[:, 0] if value.ndim == 3 else value


def _stages(
    config: TrainConfig,
    *,
    pairs: tuple[str, ...],
    patience_weight: NonNegative = 100.0,
    normalize: bool = True,
    weight: NonNegative = 0.5,
    label_weight: LabelWeight = "rest",
    temperature: Temperature = 10.0,
) -> list[Stage]:
    objective: Expression = weight * KD(temperature) + patience_weight * Patience(pairs, normalize)
    if labels := weight_of_labels(weight, label_weight):
        objective = labels * CE() + objective
    return [Stage("labels, soft targets and layers", objective, config)]


METHOD = Method(
    "patient-kd",
    _stages,
    family="features",
    year=2019,
    paper="Sun et al., Patient knowledge distillation for BERT model compression",
    proposed_by={"pairs": "layers before the last"},
)
