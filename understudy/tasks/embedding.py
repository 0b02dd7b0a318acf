"""Data without labels and a teacher whose answer is a feature vector: a student that answers with the same vector."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from understudy.bounds import Share, Whole
from understudy.errors import UserError
from understudy.nested import Nested, count, device
from understudy.precision import exact, exact_dtype, wide
from understudy.tasks.task import Figure, Meter, Numbers, Task, Told, Values, outputs_by_name

VECTOR = "embedding"
NAMES = (VECTOR, "image_embeds", "text_embeds", "pooler_output", "last_hidden_state", "logits")
NEAR = 0.02  # of the cosine, that counts as chance
SHOWN = 4


@dataclass(frozen=True)
class Embedding(Task):
    """Feature vectors of samples without labels: what counts is the cosine with the teacher's vector.

    An answer is a tensor (N, D), or the first of ``image_embeds``, ``text_embeds``, ``pooler_output`` and
    ``last_hidden_state`` that a network returns. Of tokens (N, T, D) the first counts, of a map (N, D, H, W) the mean.

    Args:
        size: D, of the teacher's vectors; 0 until a teacher has answered.
        usual: the mean cosine of the teacher's vectors with their mean: what a constant answer reaches.

    >>> Embedding(384).figures[0].title
    "cosine with the teacher's vector"
    """

    size: Whole = 0
    usual: Share | None = None

    name: ClassVar[str] = "embedding"
    labelled: ClassVar[bool] = False
    values: ClassVar[tuple[str, ...]] = (VECTOR,)

    @classmethod
    def of(cls, targets: Nested, *, names: Sequence[str] | int | None = None, **settings: object) -> "Embedding":
        return cls(**settings)  # type: ignore[arg-type]  # checked by tasks.made

    @property
    def figures(self) -> tuple[Figure, ...]:
        return (Figure("cosine", "cosine with the teacher's vector", chance=self.usual),)

    @property
    def outputs(self) -> int:
        return self.size

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(map(str, range(self.size)))

    @property
    def about(self) -> str:
        return f"no labels ({f'{self.size} features' if self.size else 'features'} of the teacher)"

    def luck(self, figure: Figure, samples: int) -> float:
        """Vectors that are all alike leave little room above chance."""
        return min(NEAR, 0.1 * (1 - (self.usual or 0.0)))

    def check(self, targets: Nested) -> None:
        return

    def converted(self, targets: Nested) -> Nested:
        """Labels, where there are any, are left out."""
        return torch.full((count(targets), 1), torch.nan, device=device(targets))

    def mixed(self, targets: Nested, partners: Nested, share: Tensor) -> Nested:
        return targets

    def answer(self, output: object) -> Values:
        named = outputs_by_name(output, VECTOR)
        vector = next((named[name] for name in NAMES if name in named), None)
        if vector is None:
            raise UserError(f"the network answers with {type(output).__name__}, which has none of {', '.join(NAMES)}")
        if vector.ndim == 4:
            return {VECTOR: vector.mean((2, 3))}
        return {VECTOR: vector[:, 0] if vector.ndim == 3 else vector}

    def misfit(self, answer: Values) -> str | None:
        shape = tuple(answer[VECTOR].shape[1:])
        if not self.size or shape == (self.size,):
            return None
        return f"it answers with shape {shape}, the teacher with {self.size} features"

    def completed(self, answer: Values) -> "Embedding":
        vectors = exact(answer[VECTOR])
        if vectors.ndim != 2 or vectors.shape[1] < 2:
            shape = " x ".join(map(str, vectors.shape[1:])) or "a single value"
            raise UserError(f"task 'embedding': the teacher answers with {shape}, and a feature vector is needed")
        if self.size and self.size != vectors.shape[1]:
            raise UserError(
                f"task 'embedding': the teacher has {vectors.shape[1]} features, and size = {self.size}: leave it out"
            )
        usual = F.cosine_similarity(vectors, vectors.mean(0, keepdim=True)).mean().item()
        return Embedding(vectors.shape[1], round(max(usual, 0.0), 2) if self.usual is None else self.usual)

    def as_targets(self, answer: Values, targets: Nested | None = None) -> Tensor:
        return answer[VECTOR].float()

    def loss(self, answer: Values, targets: Nested, *, smoothing: float = 0.0) -> Tensor:
        assert isinstance(targets, Tensor)
        return 1 - F.cosine_similarity(wide(answer[VECTOR]), wide(targets))

    def numbers(self, answer: Values, targets: Nested | None) -> Numbers:
        return Numbers(wide(answer[VECTOR]))

    def meter(self) -> Meter:
        return CosineMeter()

    def told(self, answer: Values, *, top: int = 3) -> list[Told]:
        lines = []
        for vector in answer[VECTOR].tolist():
            shown = ", ".join(f"{value:.4g}" for value in vector[:SHOWN])
            more = ", ..." if len(vector) > SHOWN else ""
            lines.append(Told(f"{len(vector)} features: {shown}{more}", {VECTOR: vector}))
        return lines


class CosineMeter:
    """The mean cosine with the teacher's vectors, from a sum.

    >>> meter = CosineMeter()
    >>> meter.update({"embedding": torch.tensor([[2.0, 0.0], [0.0, 1.0]])}, torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
    >>> meter.compute()
    {'cosine': 0.5, 'loss': 0.5}
    """

    def __init__(self) -> None:
        self.sum: Tensor | None = None
        self.count = 0

    def update(self, answer: Values, targets: Nested) -> None:
        assert isinstance(targets, Tensor)
        if targets.isnan().any():
            raise UserError(
                "the data have no labels, and no teacher has answered for them: a student is compared with its "
                "teacher's answers in a run with a teacher"
            )
        dtype = exact_dtype(targets.device)
        total = F.cosine_similarity(answer[VECTOR].to(dtype), targets.to(dtype)).sum()
        self.sum = total if self.sum is None else self.sum + total
        self.count += len(targets)

    def compute(self) -> dict[str, float]:
        if self.sum is None:
            raise UserError("there are no samples to measure on")
        cosine = (self.sum / self.count).item()
        return {"cosine": cosine, "loss": 1 - cosine}
