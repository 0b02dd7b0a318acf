"""In teacher we trust (Shen, Vesdapunt, Boddeti, Kitani, 2016)."""

from typing import Literal

from understudy._terms.confidence import Confidence
from understudy.methods.method import Method
from understudy.methods.shared.logits import Reduce
from understudy.stage import Stage
from understudy.terms import CE
from understudy.training.course import Course


def confidence(
    course: Course,
    *,
    samples: int = 10,
    covariance: Literal["full", "diagonal"] = "full",
    ridge: float = 1.0,
    dropout: float = 0.5,
    weight: float = 1.0,
    label_weight: float = 1.0,
    reduce: Reduce = "mean",
) -> list[Stage]:
    """Labels, and the teacher's logits as far as dropout leaves them alone.

    ``label_weight CE + weight 1/2 (s - m)^T (S + ridge)^-1 (s - m)``, m and S the mean and covariance of the teacher's
    logits over draws of dropout masks.

    Args:
        samples: draws for each batch; each costs a pass of a teacher that has dropout modules, and little of others.
        covariance: "full", or "diagonal" for independent classes.
        ridge: with 1 a teacher that is quite sure makes this the regression of logits.
        dropout: the rate before the classifier of a teacher that has no dropout modules.
        weight, label_weight: the paper's are not known to us, nor its samples and ridge.
        reduce: "sum" is the log-likelihood, "mean" the same divided by half the number of classes, which SGD stands.
    """
    term = Confidence(samples, covariance, ridge, reduce, dropout)
    return [Stage("labels and confidence", label_weight * CE() + weight * term, course)]


METHOD = Method(
    "confidence",
    confidence,
    family="logits",
    year=2016,
    paper="Shen et al., In teacher we trust: learning compressed models for pedestrian detection",
)
