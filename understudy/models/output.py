"""The answer of a network that returns several tensors: which of them, by name, by number, or by a function."""

import hashlib
from collections.abc import Callable, Mapping
from types import CodeType
from typing import Any, TypeAlias

from torch import Tensor, nn

from understudy.errors import UserError, did_you_mean

# The name of an entry or field, the place in a tuple, or a function of what the network returns.
OutputChoice: TypeAlias = str | int | Callable[[Any], Tensor]


class Output(nn.Module):
    """A network whose answer is one of the tensors that it returns.

    ``logits``, the first tensor of a tuple, and ``scores``, ``output`` or ``prediction`` alone are found without it.
    Taps and weights ignore the wrapper: the paths are those of the network.

    Args:
        module: the network.
        output: the name of an entry of a mapping or of a field, as in ``"scores"``; the place in a tuple, as in ``1``;
            or a function of what the network returns, which is not saved with a student.

    >>> heads = torch.nn.ModuleDict({"kind": torch.nn.Linear(4, 3), "colour": torch.nn.Linear(4, 2)})
    >>> heads.forward = lambda x: {name: head(x) for name, head in heads.items()}
    >>> Output(heads, "colour")(torch.rand(5, 4)).shape
    torch.Size([5, 2])
    """

    is_preprocessing_of = True  # understudy.taps looks through it

    def __init__(self, module: nn.Module, output: OutputChoice):
        super().__init__()
        self.module, self.output = module, output

    def forward(self, *args: object, **kwargs: object) -> Tensor:
        return self.pick(self.module(*args, **kwargs))

    def pick(self, returned: object) -> Tensor:
        """The answer, of all that the network returns."""
        picked = self.output(returned) if callable(self.output) else _entry(returned, self.output)
        if not isinstance(picked, Tensor):
            raise UserError(f"output {self.output!r} of the network is a {type(picked).__name__}, not a tensor")
        return picked

    def extra_repr(self) -> str:
        return f"output={_described(self.output)}"


def _described(output: OutputChoice) -> str:
    """The choice as text; a function by its name and a digest of its code, since two lambdas have one name."""
    if not callable(output):
        return repr(output)
    code = getattr(output, "__code__", None)
    if not isinstance(code, CodeType):
        return getattr(output, "__qualname__", repr(output))
    cells = [cell.cell_contents for cell in getattr(output, "__closure__", None) or ()]
    parts = [*_code(code), *map(repr, cells), repr(getattr(output, "__defaults__", None))]
    return f"{output.__qualname__} {hashlib.sha256('/'.join(parts).encode()).hexdigest()[:8]}"


def _code(code: CodeType) -> list[str]:
    """What a function does, without its place in a file: instructions, names, constants."""
    parts = [code.co_code.hex(), repr(code.co_names)]
    for constant in code.co_consts:
        parts += _code(constant) if isinstance(constant, CodeType) else [repr(constant)]
    return parts


def _entry(returned: object, output: str | int) -> object:
    if isinstance(output, int):
        if isinstance(returned, (tuple, list)) and -len(returned) <= output < len(returned):
            return returned[output]
        size = f" of {len(returned)}" if isinstance(returned, (tuple, list)) else ""
        raise UserError(f"the network returns a {type(returned).__name__}{size}, which has no place {output}")
    if isinstance(returned, Mapping) and output in returned:
        return returned[output]
    if not isinstance(returned, Mapping) and hasattr(returned, output):
        return getattr(returned, output)
    known = list(map(str, returned)) if isinstance(returned, Mapping) else [*getattr(returned, "__dict__", {})]
    raise UserError(
        f"the network returns a {type(returned).__name__}, which has no {output!r}{did_you_mean(output, known)}"
    )
