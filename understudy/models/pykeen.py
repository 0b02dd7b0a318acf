"""Models of PyKEEN as teachers of link prediction; PyKEEN itself is not imported."""

from collections.abc import Callable, Mapping
from typing import cast

import torch
from torch import Tensor, nn

from understudy.errors import UserError, did_you_mean
from understudy.tasks.links import Links


class PyKEEN(nn.Module):
    """A trained model of PyKEEN in the form of the task ``links``.

    Tails are scored by the model's ``score_t``, and heads, for which the task asks by inverse relations, by its
    ``score_h``; of a model that was trained with ``create_inverse_triples``, also by ``score_t``, for its own inverse
    relations, as its ``predict_h`` does. Its numbers of entities and relations are those of its triples factory; they
    are brought into the order of the task.

    Args:
        module: the model.
        task: the task of the data.
        entity_to_id, relation_to_id: of the model's triples factory, by names.

    >>> teacher = PyKEEN(model, data.task, factory.entity_to_id, factory.relation_to_id)  # doctest: +SKIP
    >>> run = understudy.distill(teacher, student, data, method="kd")  # doctest: +SKIP
    """

    def __init__(
        self, module: nn.Module, task: Links, entity_to_id: Mapping[str, int], relation_to_id: Mapping[str, int]
    ):
        super().__init__()
        for name in ("score_t", "score_h"):
            if not callable(getattr(module, name, None)):
                raise UserError(f"a {type(module).__name__} is no model of PyKEEN: it has no {name}")
        self.model = module
        self.has_inverses = bool(getattr(module, "use_inverse_triples", False))
        self.entities: Tensor
        self.relations: Tensor
        self.register_buffer("entities", _numbers(task.entities, entity_to_id, "entity"), persistent=False)
        self.register_buffer("relations", _numbers(task.relations, relation_to_id, "relation"), persistent=False)

    def forward(self, head: Tensor, relation: Tensor, candidates: Tensor | None = None) -> Tensor:
        """Scores (N, E) of all entities, or (N, C) of candidates (N, C) that are the same in every row."""
        chosen = self.entities if candidates is None else self.entities[candidates[0]]
        asked, count = self.entities[head], len(self.relations)
        kinds = self.relations[relation % count]
        scores = torch.zeros(len(head), len(chosen), device=head.device)
        for inverse in (False, True):
            rows = ((relation >= count) == inverse).nonzero().flatten()
            if len(rows):
                kind, known, by_head = kinds[rows], asked[rows], inverse
                if self.has_inverses:  # its relation r has the number 2 r, the inverse of it 2 r + 1
                    kind, by_head = 2 * kind + inverse, False
                score = cast(Callable[[Tensor], Tensor], self.model.score_h if by_head else self.model.score_t)
                pair = (kind, known) if by_head else (known, kind)
                scores[rows] = score(torch.stack(pair, 1))[:, chosen].to(scores.dtype)
        return scores


def _numbers(names: tuple[str, ...], known: Mapping[str, int], kind: str) -> Tensor:
    missing = [name for name in names if name not in known]
    if missing:
        raise UserError(
            f"PyKEEN's model knows no {kind} {missing[0]!r}{did_you_mean(missing[0], known)} ({len(missing)} are "
            "missing): train it on a factory with all names of the data"
        )
    return torch.tensor([known[name] for name in names])
