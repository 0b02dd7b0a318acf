"""Queries, keys and values that are tapped give the attention that a network computes; padding does not count."""

import pytest
import torch
from torch import nn

from understudy import Objective, TappedNetwork, UserError
from understudy.methods.shared.tokens import NEVER, relation
from understudy.models import build
from understudy.tasks import Text
from understudy.terms import Hint, MiniLM, Patience, TinyBERT

IDS = torch.tensor([[2, 5, 6, 3, 0, 0], [2, 7, 8, 9, 10, 3], [2, 3, 0, 0, 0, 0]])
MASK = (IDS != 0).long()
INPUTS = {"input_ids": IDS, "attention_mask": MASK}
OTHER_PADDING = {"input_ids": torch.where(MASK == 1, IDS, 11), "attention_mask": MASK}
TASK = Text(("bad", "good"), ("[PAD]", "[UNK]", "[CLS]", "[SEP]", *map(str, range(8))), 6)
TARGETS = torch.tensor([0, 1, 1])


def encoder(depth=2):
    return build("text-encoder", classes=2, channels=12, size=6, width=8, depth=depth, heads=2).eval()


def bert():
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=12,
        hidden_size=8,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=8,
        num_hidden_layers=4,
        attn_implementation="eager",
    )
    return BertForSequenceClassification(config).eval()


def attention_of(network, path):
    answer = TappedNetwork(network, [f"{path}:query", f"{path}:key"])(**INPUTS)
    scores = relation(answer[f"{path}:query"], answer[f"{path}:key"])
    return scores.masked_fill((MASK == 0)[:, None, None, :], NEVER).softmax(3)


def test_attention_is_what_a_bert_computes():
    network = bert()
    expected = network(**INPUTS, output_attentions=True).attentions[3]
    torch.testing.assert_close(attention_of(network, "bert.encoder.layer.3.attention.self"), expected)


def test_attention_is_what_pytorchs_module_computes():
    network = encoder()
    seen = []

    def hook(module, args, kwargs):
        if not seen:  # the module is called once more, by this hook
            seen.append(None)
            seen.append(module(*args, **{**kwargs, "need_weights": True}, average_attn_weights=False)[1])

    with network.layers[1].self_attn.register_forward_pre_hook(hook, with_kwargs=True):
        network(**INPUTS)
    torch.testing.assert_close(attention_of(network, "layers.1.self_attn"), seen[1])


class Joint(nn.Module):
    """Attention in timm's form."""

    def __init__(self):
        super().__init__()
        self.num_heads, self.qkv = 2, nn.Linear(8, 24)

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(2, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        self.said = q, k, v
        return ((q @ k.transpose(2, 3)).softmax(3) @ v).transpose(1, 2).flatten(2)


def test_a_joint_projection_is_divided_as_timm_divides_it():
    network = nn.Sequential(Joint())
    answer = TappedNetwork(network, ["0:query", "0:key", "0:value"])(torch.rand(2, 5, 8))
    for form, expected in zip(("query", "key", "value"), network[0].said, strict=True):
        torch.testing.assert_close(answer[f"0:{form}"], expected)


class Rotary(nn.Module):
    def __init__(self):
        super().__init__()
        self.num_heads, self.q_proj, self.k_proj, self.v_proj = 2, *(nn.Linear(8, 8) for _ in range(3))

    def forward(self, x, position_embeddings):
        return x


class RotaryOfTimm(Rotary):
    def forward(self, x, rope=None):
        return x


class RotaryOfItsOwn(Rotary):
    def __init__(self):
        super().__init__()
        self.rotary_dim = 4

    def forward(self, x):
        return x


@pytest.mark.parametrize("module", [nn.Linear(8, 8), Rotary(), RotaryOfTimm(), RotaryOfItsOwn()])
def test_a_module_whose_queries_cannot_be_read_is_named(module):
    with pytest.raises(UserError, match=r"tap '0:query': .* is no attention module whose query can be read"):
        TappedNetwork(nn.Sequential(module), ["0:query"])


LAYER = "bert.encoder.layer.2 -> layers.0"
ATTENTION = "bert.encoder.layer.3.attention.self -> layers.1.self_attn"


@pytest.mark.parametrize(
    "term",
    [
        Patience(LAYER),
        TinyBERT(ATTENTION, ("bert.encoder.layer.0:input -> layers.0:input", LAYER)),
        MiniLM(ATTENTION),
        Hint(LAYER, reduce="mean", where="tokens"),
        Hint(LAYER, where="tokens"),
        Hint(LAYER, reduce="relative", where="tokens"),
    ],
    ids=str,
)
def test_padding_does_not_count(term):
    objective = Objective(term, student=encoder(), teacher=bert(), example=INPUTS, task=TASK).eval()
    losses = [objective(inputs, TARGETS).loss for inputs in (INPUTS, OTHER_PADDING)]
    torch.testing.assert_close(losses[0], losses[1])
    losses[0].backward()
    shorter = {name: value[:1, :4] for name, value in INPUTS.items()}
    alone = {name: value[:1] for name, value in INPUTS.items()}
    if not (isinstance(term, Hint) and term.reduce == "sum"):
        torch.testing.assert_close(objective(shorter, TARGETS[:1]).loss, objective(alone, TARGETS[:1]).loss)


def test_tokens_are_those_of_a_text():
    with pytest.raises(UserError, match=r"where = 'tokens' is for tokens \(N, T, D\)"):
        Objective(
            Hint("classifier -> head", where="tokens"), student=encoder(), teacher=bert(), example=INPUTS, task=TASK
        )
