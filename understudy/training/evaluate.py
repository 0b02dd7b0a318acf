"""What a network is worth on a part of the data, or an objective where there are no logits."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from understudy.data.parts import Batch, Part
from understudy.objective import Objective, evaluating
from understudy.settings import Settings
from understudy.taps import Answer, logits_in

BATCH = 500


def answers(network: nn.Module, part: Part, settings: Settings) -> tuple[Tensor, Tensor]:
    """Logits (float32) and labels of every sample of a part, in order, on the CPU."""
    logits, labels = [], []
    with torch.no_grad(), evaluating(network), settings.autocast():
        for batch in part.in_order(BATCH, settings.torch_device):
            answer = logits_in(network(settings.prepare(batch.inputs)))
            logits.append(answer.float().cpu())
            labels.append(batch.targets.cpu())
    return torch.cat(logits), torch.cat(labels)


def scores(network: nn.Module, part: Part, settings: Settings) -> dict[str, float]:
    """Accuracy (a share) and mean cross-entropy."""
    logits, labels = answers(network, part, settings)
    return {
        "accuracy": (logits.argmax(1) == labels).double().mean().item(),
        "loss": F.cross_entropy(logits.double(), labels).item(),
    }


def objective_loss(
    objective: Objective,
    part: Part,
    settings: Settings,
    *,
    epoch: float,
    batch: int,
    answers: Callable[[Batch, Tensor], Sequence[Answer]] | None = None,
) -> dict[str, float]:
    """The objective's mean over a part, for stages that are cut below the logits (FitNets' hint error).

    ``batch`` is that of the training, since relations between samples depend on it. ``answers`` gives the teachers',
    where they need not be asked.
    """
    total = torch.zeros((), dtype=torch.float64, device=settings.torch_device)
    gradients = torch.set_grad_enabled(objective.terms.reads.gradients)  # a term may ask for some within its loss
    with gradients, evaluating(objective), evaluating(objective.student), settings.autocast():
        for found in part.in_order(batch, settings.torch_device):
            inputs = settings.prepare(found.inputs)
            there = answers(found, inputs) if answers else None
            reading = objective.read(inputs, found.targets, epoch=epoch, ids=found.ids, answers=there)
            outcome = objective.judge(reading)
            total += outcome.loss.detach().double() * len(found)
    return {"loss": total.item() / len(part)}


def together(logits: Sequence[Tensor]) -> Tensor:
    """What several networks answer: the logarithm of the average of their probabilities; one's logits as they are."""
    if len(logits) == 1:
        return logits[0]
    mean = torch.stack([answer.double().softmax(1) for answer in logits]).mean(0)
    return mean.log()
