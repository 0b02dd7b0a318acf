"""A context in which the operations of a network have second derivatives, where PyTorch's fast ones have none."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class _Composed(TorchFunctionMode):
    """Operations without a second derivative, made of others that have one, with the same values."""

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        if func is F.hardsigmoid and isinstance(args[0], Tensor):
            return (args[0] + 3).clamp(0, 6) / 6
        return func(*args, **(kwargs or {}))


@contextmanager
def differentiable_twice() -> Iterator[None]:
    """Attention by plain products, and ``hardsigmoid`` by a clamp.

    >>> x = torch.tensor([0.5], requires_grad=True)
    >>> with differentiable_twice():
    ...     torch.nn.Hardsigmoid()(x)
    tensor([0.5833], grad_fn=<DivBackward0>)
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel  # late: few terms need it

    with sdpa_kernel(SDPBackend.MATH), _Composed():
        yield
