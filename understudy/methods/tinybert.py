"""Attention and hidden states of all layers, then soft targets: TinyBERT's task-specific distillation.

Stage 1 trains the layers on the teacher's attention scores, hidden states and embeddings; stage 2 the whole student on
the teacher's soft targets alone.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from understudy.bounds import Epochs, NonNegative, Temperature
from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.errors import UserError
from understudy.methods.kd import KD
from understudy.methods.method import Method
from understudy.methods.shared.maps import difference
from understudy.methods.shared.pairs import named_pairs, parsed, summed
from understudy.methods.shared.stages import split
from understudy.methods.shared.tokens import (
    check_attention,
    check_mask,
    parts_of,
    read_relation,
    there,
    token_mse,
)
from understudy.objective.labels import CE
from understudy.objective.term import Expression, Reading, Reads, Shapes, Term
from understudy.taps.regressors import regressor

SHARE = 10 / 13  # of the epochs for the layers: the published commands have 10 for them, and 3 for the soft targets


def tinybert_attention(student: Tensor, teacher: Tensor, mask: Tensor | None) -> Tensor:
    """TinyBERT's attention loss: mean squared difference of the scores before the softmax, one value per sample.

    ``1/h sum_i mean (a_i^t - a_i^s)^2`` over the pairs of tokens that are there, ``a_i = q_i k_i^T / sqrt(d)``

    Args:
        student, teacher: attention scores (N, heads, T, T) of as many heads.
        mask: (N, T), which tokens are there; None: all.

    The loss of the layers is its sum over them, with weight 1.

    Reference: Jiao et al., "TinyBERT: distilling BERT for natural language understanding", Findings of EMNLP 2020.
    Differences: padding does not count. The authors' code sets the scores of padded columns to 0 and averages over all
    T x T places, so that rows of padded tokens count, and short sentences count less.

    >>> tinybert_attention(torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2), torch.tensor([[1, 0]]))
    tensor([1.])
    """
    check_attention(student, teacher)
    squared = difference(student, teacher).square().mean(1)
    if mask is None:
        return squared.mean((1, 2))
    check_mask(mask, squared.shape[1])
    weights = mask.to(squared.dtype)
    pairs = weights.unsqueeze(2) * weights.unsqueeze(1)
    return (squared * pairs).sum((1, 2)) / pairs.sum((1, 2)).clamp_min(1)


def tinybert_hidden(student: Tensor, teacher: Tensor, mask: Tensor | None) -> Tensor:
    """TinyBERT's hidden loss: mean squared difference of hidden states or embeddings, one value per sample.

    ``mean (t - s W)^2`` over the tokens that are there

    Args:
        student: hidden states after the projection W, (N, T, D).
        teacher: hidden states (N, T, D).
        mask: (N, T), which tokens are there; None: all.

    The loss of the layers is its sum over the embeddings and all layers, with weight 1.

    Reference: Jiao et al., "TinyBERT: distilling BERT for natural language understanding", Findings of EMNLP 2020.
    Differences: padding does not count; the authors' code averages over all T tokens.

    >>> tinybert_hidden(torch.zeros(1, 2, 3), torch.ones(1, 2, 3), torch.tensor([[1, 0]]))
    tensor([1.])
    """
    return token_mse(student, teacher, mask)


@dataclass(frozen=True)
class TinyBERT(Term):
    """Attention scores and hidden states of several layers; see ``losses.tinybert_attention`` and ``tinybert_hidden``.

    ``sum_l attention(l) + sum_m hidden(m)``

    Args:
        attentions: pairs of attention modules, ``"encoder.layer.2.attention.self -> layers.0.self_attn"``.
        pairs: of embeddings and layers, whose outputs are tokens (N, T, D).

    Differences: a projection for each pair, where the widths differ. The authors' code has a single one for all layers
    and the embeddings, always; the paper one for the layers and one for the embeddings.

    >>> print(TinyBERT("self -> self", "layer.2 -> layer.0"))
    TinyBERT(attentions=('self -> self',), pairs=('layer.2 -> layer.0',))
    """

    attentions: tuple[str, ...]
    pairs: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "attentions", named_pairs(self, self.attentions))
        object.__setattr__(self, "pairs", named_pairs(self, self.pairs))

    @property
    def reads(self) -> Reads:
        scores = [part for pair in parsed(self.attentions) for part in parts_of(pair, "query", "key")]
        return Reads.pairs((*scores, *parsed(self.pairs)))

    def build(self, shapes: Shapes) -> nn.Module | None:
        made = list[nn.Module | None]()
        for pair in parsed(self.pairs):
            student, teacher = shapes.student[pair.student], shapes.teacher[pair.teacher]
            if student.ndim != 3 or teacher.ndim != 3:
                raise UserError(
                    f"TinyBERT reads tokens (N, T, D), not {tuple(student.shape)} and {tuple(teacher.shape)} as at "
                    f"'{pair}': tap the layers of transformers"
                )
            made.append(regressor(student, teacher, kind="auto"))
        return None if all(one is None for one in made) else nn.ModuleList(one or nn.Identity() for one in made)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        mask, losses = there(reading), list[Tensor]()
        for pair in parsed(self.attentions):
            query, key = parts_of(pair, "query", "key")
            student = read_relation(reading.student, query.student, key.student)
            teacher = read_relation(reading.teacher, query.teacher, key.teacher)
            losses.append(tinybert_attention(student, teacher, mask))
        brought = list(owned.children()) if owned is not None else [nn.Identity()] * len(self.pairs)
        for bring, pair in zip(brought, parsed(self.pairs), strict=True):
            student, teacher = bring(reading.student[pair.student]), reading.teacher[pair.teacher]
            losses.append(tinybert_hidden(student, teacher, mask))
        return summed(losses)


def _stages(
    config: TrainConfig,
    *,
    attentions: tuple[str, ...],
    pairs: tuple[str, ...],
    layer_epochs: Epochs | None = None,
    temperature: Temperature = 1.0,
    label_weight: NonNegative = 0.0,
) -> list[Stage]:
    """Stage 1: the layers, ``sum attention + sum hidden``; stage 2: soft targets, ``KD`` at temperature 1.

    Args:
        attentions: of attention modules; by default every k-th of the teacher's beside the student's.
        pairs: the embeddings and the same layers.
        layer_epochs: of stage 1; by default ten of thirteen epochs, as in the published commands.
        temperature: of the soft targets.
        label_weight: of the labels in stage 2; the published method has none.

    Differences: the authors' code averages the soft targets over the classes too, so that they are as many times
    weaker there as there are classes; its optimizer (Adam) hardly feels it.
    """
    share = min(round(SHARE * config.epochs), config.epochs - 1) or None
    layers, rest = split(config, layer_epochs or share, setting="layer_epochs")
    soft: Expression = KD(temperature)
    return [
        Stage("layers", TinyBERT(attentions, pairs), layers),
        Stage("soft targets", label_weight * CE() + soft if label_weight else soft, rest),
    ]


METHOD = Method(
    "tinybert",
    _stages,
    family="features",
    year=2020,
    paper="Jiao et al., TinyBERT: distilling BERT for natural language understanding",
    proposed_by={"pairs": "embeddings and layers"},
)
