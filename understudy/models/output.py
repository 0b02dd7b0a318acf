"""The answer of a network that returns several tensors: which of them, by name, by number, or by a function."""

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from understudy.errors import UserError, did_you_mean


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

    def __init__(self, module: nn.Module, output: str | int | Callable[[object], Tensor]):
        super().__init__()
        self.module, self.output = module, output

    def forward(self, *args: object, **kwargs: object) -> Tensor:
        returned: object = self.module(*args, **kwargs)
        picked = self.output(returned) if callable(self.output) else _entry(returned, self.output)
        if not isinstance(picked, Tensor):
            raise UserError(f"output {self.output!r} of the network is a {type(picked).__name__}, not a tensor")
        return picked

    def extra_repr(self) -> str:
        return f"output={getattr(self.output, '__qualname__', repr(self.output))}"


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
