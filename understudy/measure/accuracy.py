"""How often a network is right: of all samples, among its first choices, of each class; and its loss."""

import torch.nn.functional as F
from torch import Tensor


def accuracy(logits: Tensor, labels: Tensor, *, top: int = 1) -> float:
    """The share of samples whose label is among the ``top`` first choices."""
    if top == 1:
        return (logits.argmax(1) == labels).double().mean().item()
    first = logits.topk(min(top, logits.shape[1])).indices
    return (first == labels[:, None]).any(1).double().mean().item()


def loss(logits: Tensor, labels: Tensor) -> float:
    """Mean cross-entropy, in nats."""
    return F.cross_entropy(logits.double(), labels).item()


def class_accuracies(logits: Tensor, labels: Tensor) -> list[float | None]:
    """The accuracy on the samples of each class; None for a class without any."""
    classes = logits.shape[1]
    counts = labels.bincount(minlength=classes)
    right = labels[logits.argmax(1) == labels].bincount(minlength=classes)
    return [r / n if n else None for r, n in zip(right.tolist(), counts.tolist(), strict=True)]
