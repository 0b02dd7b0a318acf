"""How the tokens of the last layer attend and how their values relate, then the labels: MiniLM.

Stage 1 trains the student up to its last attention on the teacher's relations alone; stage 2 the whole student on the
labels. Widths and numbers of layers may differ; the numbers of heads are equal.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from understudy.bounds import Epochs
from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.methods.method import Method
from understudy.methods.shared.pairs import OnePair
from understudy.methods.shared.stages import split
from understudy.methods.shared.tokens import (
    NEVER,
    check_attention,
    check_mask,
    parts_of,
    read_relation,
    there,
    token_mean,
)
from understudy.objective.labels import CE
from understudy.objective.term import Reading, Reads
from understudy.precision import wide

SHARE = 1 / 2  # of the epochs for the relations; MiniLM's own come before any task is known


def minilm(student: Tensor, teacher: Tensor, mask: Tensor | None) -> Tensor:
    """MiniLM's transfer of a relation: KL of each token's softmax over the tokens, one value per sample.

    ``1 / (h |x|) sum_a sum_t KL(softmax(R^T_a,t) || softmax(R^S_a,t))`` over the tokens that are there

    Args:
        student, teacher: relations before the softmax, (N, heads, T, T): ``q k^T / sqrt(d)`` for the attention,
            ``v v^T / sqrt(d)`` for the values.
        mask: (N, T), which tokens are there; None: all.

    The method's loss is the sum of that of the attention and that of the values, with weight 1.

    Reference: Wang et al., "MiniLM: deep self-attention distillation for task-agnostic compression of pre-trained
    transformers", NeurIPS 2020 (arXiv 2002.10957).
    Differences: none known. The authors released networks, and no code of the distillation (microsoft/unilm at 768a3c8
    has none). A re-implementation, ``MiniLMLoss`` of Yi0yi01/xdpx, has the same KL over tokens that are there and the
    same means over heads and tokens, and takes half the sum of both losses.

    >>> minilm(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2), torch.tensor([[1, 0]]))
    tensor([0.])
    """
    check_attention(student, teacher)
    own, other = wide(student), wide(teacher)
    if mask is not None:
        check_mask(mask, own.shape[3])
        padding = (mask == 0)[:, None, None, :]
        own, other = own.masked_fill(padding, NEVER), other.masked_fill(padding, NEVER)
    own, other = own.log_softmax(3), other.log_softmax(3)
    return token_mean((other.exp() * (other - own)).sum(3).mean(1), mask)


@dataclass(frozen=True)
class MiniLM(OnePair):
    """How tokens attend, and how their values relate, in one pair of attention modules; see ``losses.minilm``.

    ``minilm(q k^T / sqrt(d)) + minilm(v v^T / sqrt(d))``

    Args:
        attention: the pair of attention modules; MiniLM takes the last of both networks.
        value_relation: whether the relation of the values counts, too.

    >>> print(MiniLM("encoder.layer.5.attention.self -> layers.1.self_attn"))
    MiniLM(attention='encoder.layer.5.attention.self -> layers.1.self_attn')
    """

    named: ClassVar[str] = "attention"
    attention: str
    value_relation: bool = True

    @property
    def reads(self) -> Reads:
        return Reads.pairs(parts_of(self.taps, "query", "key", *(("value",) if self.value_relation else ())))

    def loss(self, reading: Reading, owned: object) -> Tensor:
        query, key, value = parts_of(self.taps, "query", "key", "value")
        mask = there(reading)
        student = read_relation(reading.student, query.student, key.student)
        loss = minilm(student, read_relation(reading.teacher, query.teacher, key.teacher), mask)
        if not self.value_relation:
            return loss
        student = read_relation(reading.student, value.student, value.student)
        return loss + minilm(student, read_relation(reading.teacher, value.teacher, value.teacher), mask)


def _stages(
    config: TrainConfig, *, attention: str, value_relation: bool = True, relation_epochs: Epochs | None = None
) -> list[Stage]:
    """Stage 1: the relations of the last attention; stage 2: the labels.

    Args:
        attention: the pair of attention modules; by default the last of both networks.
        value_relation: whether the relation of the values counts, too, as published.
        relation_epochs: of stage 1, half of the epochs by default. MiniLM's own distillation comes before any task, on
            text without labels.
    """
    share = round(SHARE * config.epochs) if config.epochs > 1 else None
    relations, rest = split(config, relation_epochs or share, setting="relation_epochs")
    return [Stage("relations", MiniLM(attention, value_relation), relations), Stage("labels", CE(), rest)]


METHOD = Method(
    "minilm",
    _stages,
    family="features",
    year=2020,
    paper="Wang et al., MiniLM: deep self-attention distillation for task-agnostic compression of transformers",
)
