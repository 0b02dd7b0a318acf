"""FitNets: hints for thin deep nets (Romero et al., ICLR 2015), in the two stages of the paper, and in one.

Stage 1 trains up to the guided layer on the hint alone, both networks cut at the pair; stage 2 trains the whole student
on the labels and on soft targets whose weight falls.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from torch import Tensor, nn

from understudy.bounds import MOST_EPOCHS, Count, Epochs, Interval, NonNegative, Positive, Temperature
from understudy.config.optimizers import bound_kernels
from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.errors import UserError
from understudy.methods.kd import KD
from understudy.methods.method import Method, one_stage
from understudy.methods.shared.maps import difference, feature_mse, require_maps
from understudy.methods.shared.pairs import PairTerm
from understudy.methods.shared.stages import split
from understudy.methods.shared.tokens import check_mask, mask_of
from understudy.nested import Nested
from understudy.objective.labels import CE, cross_entropy
from understudy.objective.term import Expression, Reading, Reads, Shapes, Term, needs_classes
from understudy.objective.weights import linear
from understudy.precision import wide
from understudy.taps import Tap
from understudy.taps.regressors import Regressor, regressor
from understudy.tasks.task import Task
from understudy.tasks.words import MASK

Reduce = Literal["sum", "mean", "relative"]
Where = Literal["targets", "tokens"]


def hint(guided: Tensor, hint: Tensor) -> Tensor:
    """FitNets' hint loss: half the squared distance to the teacher's hint layer, one value per sample.

    ``1/2 || u_h(x) - r(v_g(x)) ||^2``, summed over all elements of a sample

    Args:
        guided: the student's guided layer after its regressor, (N, ...).
        hint: the teacher's hint layer, of the same shape.

    Reference: Romero et al., "FitNets: hints for thin deep nets", ICLR 2015, equation 3.
    Differences: the authors' code averages over all elements but the rows of the map (1/2 H times the mean).

    >>> hint(torch.zeros(1, 2), torch.tensor([[3.0, 4.0]]))
    tensor([12.5000])
    """
    return 0.5 * difference(guided, hint).square().flatten(1).sum(1)


@dataclass(frozen=True)
class Hint(PairTerm):
    """Draws the student's guided layer to the teacher's hint layer, through a regressor.

    Args:
        pair: ``"teacher.tap -> student.tap"``.
        reduce: ``"sum"`` is the paper's ``1/2 ||.||^2``; ``"mean"`` the mean squared difference of later benchmarks;
            ``"relative"`` that mean over the hint's variance: 1 is a regressor that has learned nothing but a mean.
        regressor: how the student's map is brought to the teacher's shape; see ``understudy.taps.regressors``.
        where: ``"targets"`` weighs each place of the map by what the task's targets say of it (``Task.places``): the
            objects of a segmentation, say. ``"tokens"`` leaves the padding of texts out, by their attention mask.
            Weights have a mean of 1 over the map or the tokens, but under ``"sum"``.
        max_norm: the bound on the length of each kernel of the regressor, which the trainer keeps after each step; the
            authors' code has .9. None: no bound.

    >>> print(100.0 * Hint("layer2 -> layer2", reduce="mean"))
    100 * Hint(pair='layer2 -> layer2', reduce='mean')
    """

    reduce: Reduce = "sum"
    regressor: Regressor = "auto"
    where: Where | None = None
    max_norm: Positive | None = None

    @property
    def reads(self) -> Reads:
        return super().reads | Reads(labels=self.where == "targets")

    def misfit(self, task: Task) -> str | None:
        if self.where == "targets" and type(task).places is Task.places:
            return f"where = 'targets' weighs places, and the targets of task {task.name!r} say nothing of places"
        return None

    def build(self, shapes: Shapes) -> nn.Module | None:
        guided, hint = self.traced(shapes)
        if self.where == "tokens":
            self._tokens_of(shapes.inputs, hint)
        built = regressor(guided, hint, kind=self.regressor)
        if built is not None and self.max_norm is not None:
            bound_kernels(built, self.max_norm)
        return InUnits(built, hint) if self.reduce == "relative" else built

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        guided, teacher = self.values(reading)
        brought = guided if owned is None else owned(guided)
        if self.where is not None:
            brought, teacher = self._weighed(reading, brought, teacher)
        if self.reduce == "sum":
            return hint(brought, teacher)
        distance = feature_mse(brought, teacher)
        return distance / owned.scale.square() if isinstance(owned, InUnits) else distance

    def _weighed(self, reading: Reading, brought: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        """Both maps times the root of the weights, so that squared differences are weighted."""
        if self.where == "tokens":
            root = self._of_mean_one(self._tokens_of(reading.inputs, teacher), (1,)).sqrt().unsqueeze(2)
            return wide(brought) * root, wide(teacher) * root
        require_maps(self, teacher)
        grid = teacher.shape[2], teacher.shape[3]
        size = reading.task.extent(reading.inputs)
        if size is None:
            raise UserError(f"{self}: where = 'targets' weighs places of images, and the inputs are none")
        weights = reading.task.places(reading.targets, grid, size)
        if weights is None:
            raise UserError(f"{self}: the targets of task {reading.task.name!r} say nothing of places")
        root = self._of_mean_one(weights, (1, 2)).sqrt().unsqueeze(1)
        return wide(brought) * root, wide(teacher) * root

    def _of_mean_one(self, weights: Tensor, places: tuple[int, ...]) -> Tensor:
        return weights if self.reduce == "sum" else weights / weights.mean(places, keepdim=True).clamp_min(1e-6)

    def _tokens_of(self, inputs: Nested | None, value: Tensor) -> Tensor:
        """Which tokens are there, (N, T), of a tapped value (N, T, D)."""
        mask = mask_of(inputs)
        if mask is None or value.ndim != 3:
            raise UserError(
                f"{self}: where = 'tokens' is for tokens (N, T, D) of inputs with an {MASK}, not for "
                f"{tuple(value.shape)}" + ("" if mask is not None else " of inputs without one")
            )
        check_mask(mask, value.shape[1])
        return wide(mask.to(value.dtype))


@dataclass(frozen=True)
class TapLabels(Term):
    """The labels, named by a linear classifier on a hidden value of the student, in place of a hint.

    The paper tried labels for the guided layer (section 3.1) and found hints better. Beside ``CE()`` on the output it
    is deep supervision, with a cross-entropy.

    Args:
        tap: of the student; a map is averaged over its places, and tokens over their number.
        classes: how many; by default as many as the task has.

    Reference: Romero et al., "FitNets: hints for thin deep nets", ICLR 2015, section 3.1.

    >>> print(CE() + 0.3 * TapLabels("layer2"))
    CE() + 0.3 * TapLabels(tap='layer2')
    """

    tap: str
    classes: Count | None = None

    @property
    def reads(self) -> Reads:
        return Reads(student_taps=(Tap.parse(self.tap),), labels=True)

    def misfit(self, task: Task) -> str | None:
        return needs_classes(task, distributions=True)

    def build(self, shapes: Shapes) -> nn.Module:
        value = _pooled(shapes.student[Tap.parse(self.tap)])
        classes = self.classes or len(shapes.student.task.names)
        if not classes:
            raise UserError(f"TapLabels({self.tap!r}): the task names no classes: say how many, classes = ...")
        return nn.Linear(value.shape[1], classes).to(value.dtype)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        assert owned is not None
        return cross_entropy(owned(_pooled(reading.student[Tap.parse(self.tap)])), reading.labels)


def _pooled(value: Tensor) -> Tensor:
    """(N, D): a map (N, D, H, W) averaged over its places, tokens (N, T, D) over their number."""
    return value.flatten(2).mean(2) if value.ndim == 4 else value.mean(1) if value.ndim == 3 else value


class InUnits(nn.Module):
    """A regressor that answers in units of the hint's standard deviation, as it was when the shapes were traced.

    Hints may be a hundredth or a hundred; a fresh regressor answers with values around 1. Without the unit it first has
    to shrink by orders of magnitude, and what it passes back to the student shrinks with it.
    """

    scale: Tensor

    def __init__(self, regressor: nn.Module | None, hint: Tensor):
        super().__init__()
        self.regressor = regressor
        self.register_buffer("scale", hint.float().std().clamp_min(1e-6))

    def forward(self, guided: Tensor) -> Tensor:
        return guided if self.regressor is None else self.regressor(guided) * self.scale


def _stages(
    config: TrainConfig,
    *,
    pair: str,
    further: tuple[str, ...] = (),
    hint_epochs: Epochs | None = None,
    hint_lr: Positive | None = None,
    hint_reduce: Reduce = "relative",
    regressor: Regressor = "auto",
    regressor_max_norm: Positive | None = None,
    temperature: Temperature = 3.0,
    weight: NonNegative = 4.0,
    final_weight: NonNegative = 1.0,
    anneal_epochs: Annotated[float, Interval(gt=0, le=MOST_EPOCHS)] | None = None,
    squared: bool = False,
    label_weight: NonNegative = 1.0,
    student_temperature: Temperature | None = None,
    soft_lr_scale: Mapping[str, NonNegative] | None = None,
) -> list[Stage]:
    """Stage 1 trains up to the guided layer on the hint alone; stage 2 the whole student on CE + lambda(t) KD.

    Stage 1: ``1/2 ||u_h(x) - r(v_g(x))||^2``, both networks cut at the pair. Stage 2: ``CE + lambda KL`` at
    temperature 3 without T^2, lambda from 4 to 1, as published.

    Args:
        pair: the teacher's hint layer and the student's guided layer, ``"conv2 -> conv11"``.
        further: pairs whose hints are learned beside it in stage 1; both networks are cut at the deepest one. The paper
            has one.
        hint_epochs: of the config's epochs, so many are stage 1 (a fifth by default), so that the whole costs what
            other methods cost. The paper ran each stage to its own early stop, up to 500 epochs.
        hint_lr: the learning rate of stage 1, where it differs.
        hint_reduce: "sum" is the paper's distance. Under its RMSProp a constant factor changes nothing; under SGD a sum
            of thousands of values diverges, so that by default it is the mean, relative to the hint's variance.
        regressor: "maxout" is the paper's for a maxout teacher.
        regressor_max_norm: the bound on the length of each of its kernels; .9 in the released code, none in the paper.
        temperature, weight, final_weight: the paper's 3, 4 and 1.
        anneal_epochs: lambda reaches its end after so many epochs (the paper: 500 on CIFAR, 150 on MNIST);
            by default over the whole of stage 2.
        squared: multiply by T^2. The paper does not.
        label_weight: of the labels in stage 2.
        student_temperature: 1 is what the released code computes; the paper writes the teacher's.
        soft_lr_scale: the config's ``lr_scale`` of stage 2, where it differs there, so that layers that stage 1 has
            trained take smaller steps (``-lrs`` of the released code, 1 by default).
    """
    hint_course, rest = split(config, hint_epochs, setting="hint_epochs", lr=hint_lr)
    of_all = Hint(pair, reduce=hint_reduce, regressor=regressor, max_norm=regressor_max_norm)
    hints: Expression = of_all
    for another in further:
        hints = hints + replace(of_all, pair=another)
    if soft_lr_scale is not None:
        rest = replace(rest, lr_scale=soft_lr_scale)
    soft = KD(temperature, squared=squared, student_temperature=student_temperature)
    objective = soft * linear(weight, final_weight, epochs=anneal_epochs or rest.epochs)
    if label_weight:
        objective = label_weight * CE() + objective
    return [
        Stage("hint", hints, hint_course),
        Stage("soft targets", objective, rest),
    ]


_PAPER = "Romero et al., FitNets: hints for thin deep nets"
METHOD = Method("fitnets", _stages, family="features", year=2015, paper=_PAPER, of_assistants={"further": None})
JOINT = one_stage(
    "fitnets-joint",
    Hint,
    stage="labels and hint",
    weight=100.0,
    preset={"reduce": "mean", "regressor": "crd"},
    family="features",
    year=2015,
    paper=f"{_PAPER}, as CRD's benchmark runs it",
    doc="""The one-stage variant that later papers call FitNet: ``CE + 100 MSE``, no soft targets.

    As in CRD's benchmark (and mdistiller after it): mean squared difference through a convolution with batch norm and
    ReLU, weight 100.""",
)
