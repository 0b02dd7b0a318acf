"""FitNets (Romero et al., ICLR 2015): hints for thin deep nets, in the two stages of the paper."""

from understudy.methods._base import Method
from understudy.methods._split import split
from understudy.regressors import Regressor
from understudy.stage import Stage
from understudy.terms import CE, KD, Hint
from understudy.terms.hint import Reduce
from understudy.training.course import Course
from understudy.weights import linear


def fitnets(
    course: Course,
    *,
    pair: str,
    hint_epochs: int | None = None,
    hint_lr: float | None = None,
    hint_reduce: Reduce = "relative",
    regressor: Regressor = "auto",
    temperature: float = 3.0,
    weight: float = 4.0,
    final_weight: float = 1.0,
    anneal_epochs: float | None = None,
    squared: bool = False,
    label_weight: float = 1.0,
    student_temperature: float | None = None,
) -> list[Stage]:
    """Stage 1 trains up to the guided layer on the hint alone; stage 2 the whole student on CE + lambda(t) KD.

    Stage 1: ``1/2 ||u_h(x) - r(v_g(x))||^2``, both networks cut at the pair. Stage 2: ``CE + lambda KL`` at
    temperature 3 without T^2, lambda from 4 to 1, as published.

    Args:
        pair: the teacher's hint layer and the student's guided layer, ``"conv2 -> conv11"``.
        hint_epochs: of the course's epochs, so many are stage 1 (a fifth by default), so that the whole costs what
            other methods cost. The paper ran each stage to its own early stop, up to 500 epochs.
        hint_lr: the learning rate of stage 1, where it differs.
        hint_reduce: "sum" is the paper's distance. Under its RMSProp a constant factor changes nothing; under SGD a sum
            of thousands of values diverges, so that by default it is the mean, relative to the hint's variance.
        regressor: "maxout" is the paper's for a maxout teacher.
        temperature, weight, final_weight: the paper's 3, 4 and 1.
        anneal_epochs: lambda reaches its end after so many epochs (the paper: 500 on CIFAR, 150 on MNIST);
            by default over the whole of stage 2.
        squared: multiply by T^2. The paper does not.
        label_weight: of the labels in stage 2.
        student_temperature: 1 is what the released code computes; the paper writes the teacher's.
    """
    hint_course, rest = split(course, hint_epochs, setting="hint_epochs", lr=hint_lr)
    soft = KD(temperature, squared=squared, student_temperature=student_temperature)
    objective = soft * linear(weight, final_weight, epochs=anneal_epochs or rest.epochs)
    if label_weight:
        objective = label_weight * CE() + objective
    return [
        Stage("hint", Hint(pair, reduce=hint_reduce, regressor=regressor), hint_course),
        Stage("soft targets", objective, rest),
    ]


def fitnets_joint(course: Course, *, pair: str, weight: float = 100.0, regressor: Regressor = "crd") -> list[Stage]:
    """The one-stage variant that later papers call FitNet: ``CE + 100 MSE``, no soft targets.

    As in CRD's benchmark (and mdistiller after it): mean squared difference through a convolution with batch norm
    and ReLU, weight 100.
    """
    return [Stage("labels and hint", CE() + weight * Hint(pair, reduce="mean", regressor=regressor), course)]


_PAPER = "Romero et al., FitNets: hints for thin deep nets"
METHOD = Method("fitnets", fitnets, family="features", year=2015, paper=_PAPER)
JOINT = Method(
    "fitnets-joint", fitnets_joint, family="features", year=2015, paper=f"{_PAPER}, as CRD's benchmark runs it"
)
