"""Whether a teacher's answers hold anything softer than labels, and what to do where they do not."""

import math
from dataclasses import dataclass

from torch import Tensor

HARD, FLAT = 0.02, 0.95  # of the largest entropy there can be
TEMPERATURES = (2, 3, 4, 6, 8, 12, 16, 20)  # what has been used; Hinton et al. go up to 20


@dataclass(frozen=True)
class Softness:
    """Mean entropies of the teacher's answers, in nats; ``most`` is that of an answer without any preference."""

    entropy: float  # at temperature 1
    temperature: float
    softened: float  # at the run's temperature
    most: float
    hint: str | None  # what to do, in one sentence; None where there is something to learn


def entropy(logits: Tensor, *, temperature: float = 1.0) -> float:
    """The mean entropy of answers at a temperature, in nats."""
    logs = (logits.double() / temperature).log_softmax(1)
    return -(logs.exp() * logs).sum(1).mean().item()


def softness(logits: Tensor, temperature: float = 1.0) -> Softness:
    """What a student can learn from the teacher's answers beyond their first choice."""
    most = math.log(logits.shape[1])
    softened = entropy(logits, temperature=temperature)
    return Softness(entropy(logits), temperature, softened, most, _hint(logits, temperature, softened / most))


def _hint(logits: Tensor, temperature: float, share: float) -> str | None:
    if share > FLAT:
        return f"At temperature {temperature:g} the teacher's answers are all but flat: lower it."
    if share >= HARD:
        return None
    hard = f"At temperature {temperature:g} the teacher's answers are all but labels"
    warmer = (
        t
        for t in TEMPERATURES
        if t > temperature and entropy(logits, temperature=t) >= 2 * HARD * math.log(logits.shape[1])
    )
    if (enough := next(warmer, None)) is not None:
        return f"{hard}: raise it to {enough} or more."
    return (
        f"{hard}, and no temperature softens them: let an assistant of middle size, or a less trained teacher, teach."
    )
