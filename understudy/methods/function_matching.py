"""Soft targets alone, on mixed pictures that both networks see alike: ``KL(t || s)`` (Beyer et al., CVPR 2022)."""

from dataclasses import replace
from typing import Annotated

from torch import Tensor

from understudy.bounds import Interval, NonNegative, Temperature
from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.methods.kd import KD, kd
from understudy.methods.method import Method


def function_matching(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Function matching: the KL of soft targets as the only loss, one value per sample.

    ``T^2 KL(softmax(t/T) || softmax(s/T))`` with T of 1

    Args:
        student_logits, teacher_logits: (N, C), both for the very same view of the image, mixup included.
        temperature: T; the paper uses 1.

    Weight in the objective: 1, mean over the batch, and no term of labels at all. What makes the method is outside of
    the loss: one view for both networks, aggressive mixup, and a very long schedule.
    Reference: Beyer et al., "Knowledge distillation: a good teacher is patient and consistent", CVPR 2022.
    Differences: the same value as ``kd(temperature=1)``; it has a name of its own for its default. The authors' code
    (big_vision) too multiplies by T^2, and adds up the divergences where there are several teachers.

    >>> function_matching(torch.tensor([[2.0, 0.0]]), torch.tensor([[2.0, 0.0]]))
    tensor([0.])
    """
    return kd(student_logits, teacher_logits, temperature=temperature)


def _stages(
    config: TrainConfig,
    *,
    mixup: NonNegative = 1.0,
    longer: Annotated[int, Interval(ge=1, le=10_000)] = 1,
    temperature: Temperature = 1.0,
    weight: NonNegative = 1.0,
) -> list[Stage]:
    """Soft targets alone, on mixed pictures that both networks see alike: ``KL(t || s)``.

    Args:
        mixup: alpha of the mixtures; 1 draws their shares evenly, as the paper does. The labels' mixtures are not
            read. The other views are the config's.
        longer: so many times the epochs of the config. Patience is half of the method: the paper's schedules are ten
            to a hundred times as long as usual, up to 9,600 epochs. 1 keeps the comparison with other methods fair.
        temperature: 1 in the paper.
        weight: of the only term.

    Differences: the paper also crops at random, down to small parts of the image, the same for both networks.
    """
    patient = replace(config, epochs=config.epochs * longer, augmentation=replace(config.augmentation, mixup=mixup))
    return [Stage("function matching", weight * KD(temperature), patient)]


METHOD = Method(
    "function-matching",
    _stages,
    family="logits",
    year=2022,
    paper="Beyer et al., Knowledge distillation: a good teacher is patient and consistent",
)
