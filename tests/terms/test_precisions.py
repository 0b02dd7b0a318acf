"""Every method on networks that are not in float32, and beside a teacher that masks a class."""

import copy

import pytest
import torch
from torch import Tensor, nn

from tests.methods.test_methods import ATTENTION, OF_UNLABELLED
from understudy import Objective, UserError, methods
from understudy.config.train import TrainConfig
from understudy.methods import METHODS
from understudy.models import build
from understudy.objective.term import Facts
from understudy.taps.defaults import PROPOSALS
from understudy.tasks import Classification

SAMPLES = 6
IMAGES, LABELS = torch.rand(SAMPLES, 3, 8, 8), torch.arange(SAMPLES) % 10
FITTING = methods.fitting(Classification(("a", "b")))
NEEDING_NO_MORE = sorted(
    name for name in FITTING if set(METHODS[name].needed) <= set(PROPOSALS) and name not in ATTENTION | OF_UNLABELLED
)

# Of those on the teacher's scores: what compares the scores themselves cannot take a masked class, and says so.
ON_PROBABILITIES = [
    *("kd", "takd", "dkd", "mlkd", "dist", "ctkd", "dml", "dgkd", "function-matching", "standardised-kd", "nkd", "ofa"),
    *("born-again-cwtm", "several-teachers", "vote", "tf-kd-reg"),
]


class Masking(nn.Module):
    """A teacher that masks its last class."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        scores = self.network(images)
        return torch.cat([scores[:, :-1], torch.full_like(scores[:, -1:], -torch.inf)], 1)


def gradients(name: str, teacher: nn.Module, student: nn.Module) -> list[Tensor]:
    """Of one step of every stage of a method with the taps that it proposes, all of them finite."""
    torch.manual_seed(0)
    method = methods.find(name)
    given = {key: PROPOSALS[method.proposed_by.get(key, key)](teacher, student, IMAGES[:2]) for key in method.needed}
    if method.grafts:
        method.grafts(student, teacher, method.complete(given))
    for stage in method(TrainConfig(epochs=4), **given):
        objective = Objective(
            stage.objective,
            student=student,
            teacher=[teacher, teacher],
            example=IMAGES[:2],
            facts=Facts(SAMPLES, LABELS),
        )
        reading = objective.read(IMAGES, LABELS, epoch=2.0, ids=torch.arange(SAMPLES))
        if objective.has_adversaries:
            objective.adversary_loss(reading).backward()
        outcome = objective.judge(reading)
        assert torch.isfinite(outcome.loss), stage.name
        if outcome.loss.requires_grad:
            outcome.loss.backward()
        objective.learn(reading)
    found = [p.grad for p in student.parameters() if p.grad is not None]
    assert all(torch.isfinite(gradient).all() for gradient in found)
    return found


@pytest.fixture(scope="module")
def pair() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    return build("resnet8", widths=(4, 6, 8)).eval(), build("resnet8", widths=(4, 4, 6))


@pytest.mark.parametrize("dtypes", [("float64", "float64"), ("float32", "bfloat16")], ids=str)
@pytest.mark.parametrize("name", NEEDING_NO_MORE)
def test_methods_work_on_networks_in_other_precisions(name, dtypes, pair):
    teacher, student = (copy.deepcopy(n).to(getattr(torch, dtype)) for n, dtype in zip(pair, dtypes, strict=True))
    assert gradients(name, teacher, student)


@pytest.mark.parametrize("name", [name for name in ON_PROBABILITIES if name in METHODS])
def test_a_teacher_may_mask_a_class(name, pair):
    teacher, student = map(copy.deepcopy, pair)
    assert gradients(name, Masking(teacher), student)


@pytest.mark.parametrize(
    "name", ["kd", "dkd", "mlkd", "dist", "ctkd", "dml", "standardised-kd", "tf-kd-reg", "nkd", "alone"]
)
def test_a_single_class_is_refused(name):
    with pytest.raises(UserError, match="single score"):
        gradients(
            name, build("resnet8", widths=(4, 6, 8), classes=1).eval(), build("resnet8", widths=(4, 4, 6), classes=1)
        )
