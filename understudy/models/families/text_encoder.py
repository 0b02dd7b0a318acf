"""A small transformer encoder for texts: token ids and a mask in, logits out."""

from typing import Literal

import torch
from torch import Tensor, nn

from understudy.bounds import Count, Layers, Pixels, ShareBelowOne, Width
from understudy.errors import UserError
from understudy.models.family import Family


class TextEncoder(nn.Module):
    """Token and position embeddings, pre-norm encoder layers, a mean over the tokens that are there (or what ``pool``
    says), and ``head``.

    Called with ``input_ids`` and ``attention_mask``, both (N, length).
    """

    def __init__(
        self, vocabulary: int, length: int, classes: int, width: int, depth: int, heads: int, dropout: float, pool: str
    ):
        super().__init__()
        self.pool = pool
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Parameter(torch.zeros(length, width))
        self.drop = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, heads, 4 * width, dropout, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)
        nn.init.normal_(self.tokens.weight, std=0.02)
        nn.init.normal_(self.positions, std=0.02)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        there = attention_mask.bool()
        x = self.drop(self.tokens(input_ids) + self.positions[: input_ids.shape[1]])
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=~there)
        x = self.norm(x)
        if self.pool == "mean":
            weight = there.to(x.dtype).unsqueeze(2)
            x = (x * weight).sum(1) / weight.sum(1).clamp_min(1)
        elif self.pool == "first":
            x = x[:, 0]
        logits: Tensor = self.head(x)
        return logits


def text_encoder(
    classes: Width = 2,
    channels: Count = 30522,
    size: Pixels = 64,
    *,
    width: Width = 64,
    depth: Layers = 2,
    heads: Width = 4,
    dropout: ShareBelowOne = 0.1,
    pool: Literal["mean", "first", "none"] = "mean",
) -> TextEncoder:
    """A transformer encoder; for texts, ``channels`` is the number of different tokens and ``size`` that of positions.

    Args:
        width, depth, heads: of the encoder.
        dropout: in embeddings and layers.
        pool: ``"mean"`` over the tokens that are there, the ``"first"`` token alone, or ``"none"`` for an answer to
            each token, as the task ``tags`` has it.

    >>> network = text_encoder(2, channels=10, size=5, width=8, depth=1, heads=2)
    >>> ids = torch.zeros(3, 5, dtype=torch.int64)
    >>> network(input_ids=ids, attention_mask=ids + 1).shape
    torch.Size([3, 2])
    """
    if width % heads:
        raise UserError(f"text-encoder: width {width} cannot be divided among {heads} heads")
    return TextEncoder(channels, size, classes, width, depth, heads, dropout, pool)


FAMILY = Family("text-encoder", "transformer encoder for texts, of a width, depth and heads as you say", text_encoder)
