"""Queries, keys and values of attention modules, by head, and the rules that propose attention modules and layers.

A tap on an attention module has the form ``query``, ``key`` or ``value``: ``"encoder.layer.5.attention.self:query"``.
Its value is the module's projection of the tokens, (N, heads, T, width of a head), without any later change of it (a
norm, say). Three kinds of modules are read:

| module | read |
|---|---|
| ``torch.nn.MultiheadAttention`` of one width | its input, projected once more |
| with layers ``query``, ``key``, ``value``, or ``q_proj``, ... or ``q_lin``, ... (Hugging Face) | what these answer |
| with a joint layer ``qkv`` (timm) | its third of what that answers |

Modules with rotary positions are none of them: what their projections answer is not what they compare. They are known
by their name, their settings or what their ``forward`` takes (``position_embeddings``, ``rope``, ``sinusoidal_pos``).
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from understudy.errors import UserError

FORMS = ("query", "key", "value")
_SEPARATE = (FORMS, ("q_proj", "k_proj", "v_proj"), ("q_lin", "k_lin", "v_lin"))
_JOINT = "qkv"
_POSITIONS = {"position_embeddings", "sinusoidal_pos"}  # rotary ones, as ``forward`` takes them in Hugging Face's
_HEADS = ("num_attention_heads", "num_heads", "n_heads")


@dataclass(frozen=True)
class Projection:
    """Where the queries, keys or values of an attention module are read.

    Args:
        module: the module with the hook.
        side: what the hook is given.
        read: makes (N, heads, T, width of a head) of the output, or of the inputs by position and by name.
    """

    module: nn.Module
    side: Literal["output", "input"]
    read: Callable[..., Tensor]


def projection(module: nn.Module, form: str, called: str) -> Projection:
    """The projection of an attention module; a ``UserError`` for any other module.

    >>> import torch
    >>> attention = nn.MultiheadAttention(8, 2, batch_first=True)
    >>> place = projection(attention, "query", "layers.0.self_attn")
    >>> tokens = torch.zeros(3, 5, 8)
    >>> place.read((tokens, tokens, tokens), {}).shape
    torch.Size([3, 2, 5, 4])
    """
    part = FORMS.index(form)
    if _is_packed(module):
        assert isinstance(module, nn.MultiheadAttention)
        return Projection(module, "input", lambda args, named: _packed(module, part, args, named))
    names = next((names for names in _SEPARATE if _has(module, names)), None)
    heads = _heads(module)
    if names and heads:
        return Projection(module.get_submodule(names[part]), "output", lambda value: _by_head(value, heads))
    if heads and _has(module, (_JOINT,)):
        return Projection(
            module.get_submodule(_JOINT), "output", lambda value: _by_head(value.chunk(3, dim=-1)[part], heads)
        )
    raise UserError(
        f"tap '{called}:{form}': {type(module).__name__} is no attention module whose {form} can be read: name one "
        "with layers query, key and value (or q_proj, q_lin, qkv), or a torch.nn.MultiheadAttention"
    )


def attention_modules(network: nn.Module) -> list[str]:
    """The paths of the attention modules that can be read, from the first layer to the last."""
    return [path for path, module in network.named_modules() if path and is_attention(module)]


def is_attention(module: nn.Module) -> bool:
    """Whether queries, keys and values of a module can be read."""
    if _is_packed(module):
        return True
    separate = any(_has(module, names) for names in _SEPARATE)
    return (separate or _has(module, (_JOINT,))) and _heads(module) > 0


def evenly(paths: Sequence[str], count: int) -> list[str]:
    """As many of the paths, evenly, the last one among them.

    >>> evenly(["0", "1", "2", "3", "4", "5"], 2)
    ['2', '5']
    """
    return [paths[-(-len(paths) * part // count) - 1] for part in range(1, count + 1)]


def list_of_layers(network: nn.Module) -> str:
    """The path of the largest list of modules of one class, by the number of their values; empty if there is none."""
    sizes: dict[str, int] = {}
    for path, module in network.named_modules():
        if path and isinstance(module, (nn.ModuleList, nn.Sequential)) and len(module) and _are_layers(module):
            sizes[path] = sum(value.numel() for value in module.state_dict().values())
    return max(sizes, key=lambda path: sizes[path], default="")


def _are_layers(modules: nn.Module) -> bool:
    """Modules of one class, each with modules inside: blocks, not a row of linear layers."""
    children = list(modules.children())
    return len({type(child) for child in children}) == 1 and all(list(child.children()) for child in children)


def _is_packed(module: nn.Module) -> bool:
    return isinstance(module, nn.MultiheadAttention) and module.in_proj_weight is not None


def _has(module: nn.Module, names: Sequence[str]) -> bool:
    children = dict(module.named_children())
    linear = all(type(children.get(name)).__name__.endswith("Linear") for name in names)
    return linear and not _is_rotary(module)


def _is_rotary(module: nn.Module) -> bool:
    taken = inspect.signature(module.forward).parameters
    if _POSITIONS & taken.keys():
        return True
    words = [*taken, *vars(module), *dict(module.named_children())]
    named = any({"rope", "rotary"} & set(word.lower().split("_")) for word in words)
    return named or any(word in type(module).__name__ for word in ("Rope", "Rotary"))


def _heads(module: nn.Module) -> int:
    return next((heads for name in _HEADS if isinstance(heads := getattr(module, name, None), int)), 0)


def _by_head(value: Tensor, heads: int) -> Tensor:
    by_head: Tensor = value.unflatten(-1, (heads, -1)).transpose(1, 2)
    return by_head


def _packed(module: nn.MultiheadAttention, part: int, args: Sequence[Tensor], named: Mapping[str, Tensor]) -> Tensor:
    tokens = args[part] if len(args) > part else named[FORMS[part]]
    if not module.batch_first:
        tokens = tokens.transpose(0, 1)
    bias = None if module.in_proj_bias is None else module.in_proj_bias.chunk(3)[part]
    assert module.in_proj_weight is not None
    projected: Tensor = F.linear(tokens, module.in_proj_weight.chunk(3)[part], bias)
    return _by_head(projected, module.num_heads)
