"""Preprocessing of images before a network, and its token table. It belongs to the network and not to the data.

Two networks in one training may need different preprocessing of the same image, or other tokens of the same text. A
description in plain values rebuilds it with ``preprocessing_from``.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from understudy.bounds import Pixels, wrong
from understudy.errors import UserError, did_you_mean
from understudy.taps import precision_of
from understudy.tasks.words import of_table

Interpolation: TypeAlias = Literal["nearest", "bilinear", "bicubic"]
INTERPOLATIONS: tuple[Interpolation, ...] = ("nearest", "bilinear", "bicubic")

_TOO_SMALL = 1e-8
_FAINTEST = 1e-4  # divisor of a local contrast


class Preprocessing(nn.Module):
    """Base class: preprocesses the images, then calls ``module`` with them.

    >>> isinstance(Normalized(torch.nn.Identity(), [0.5], [0.25]), Preprocessing)
    True
    """

    is_preprocessing_of = True  # understudy.taps looks through it

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def prepared(self, images: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, images: Tensor, *args: object, **kwargs: object) -> object:
        return self.module(self.prepared(images), *args, **kwargs)

    def describe(self) -> dict[str, object]:
        """Plain values from which ``preprocessing_from`` rebuilds it."""
        raise NotImplementedError


class Normalized(Preprocessing):
    """``(images - mean) / std``, channel by channel, for images between 0 and 1.

    Mean and std are part of the description and not of the state dict, so that the network's weights stay as they are.

    Args:
        module: the network.
        mean, std: of each channel.
        size: side of the images that the network gets. Images of another size are resized first, so that teacher and
            student may take the same view at different resolutions.
        interpolation: how, ``"nearest"``, ``"bilinear"`` or ``"bicubic"``; the last two with antialiasing, as Pillow
            has it.

    >>> Normalized(torch.nn.Flatten(), [0.5], [0.25])(torch.ones(1, 1, 1, 2))
    tensor([[2., 2.]])
    >>> Normalized(torch.nn.Identity(), [0.5], [0.25], size=8)(torch.ones(1, 1, 4, 4)).shape
    torch.Size([1, 1, 8, 8])
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        module: nn.Module,
        mean: Sequence[float],
        std: Sequence[float],
        size: int | None = None,
        interpolation: Interpolation | None = None,
    ):
        super().__init__(module)
        if size is not None and (reason := wrong(Pixels, size)):
            raise UserError(f"size is the side of the images that the network gets, not {size!r}: {reason}")
        if interpolation not in (None, *INTERPOLATIONS):
            raise UserError(f"images are resized by one of {', '.join(INTERPOLATIONS)}, not by {interpolation!r}")
        if len(mean) != len(std) or not len(mean) or min(std) <= 0:
            raise UserError(f"one mean and one std above 0 for each channel, not {list(mean)} and {list(std)}")
        dtype = precision_of(module) or torch.float32
        self.register_buffer("mean", torch.tensor(mean, dtype=dtype).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=dtype).view(-1, 1, 1), persistent=False)
        self._described: dict[str, object] = {"front": "normalized"}
        self._described |= {"mean": [float(m) for m in mean], "std": [float(s) for s in std]}
        self.size = size
        self.interpolation: Interpolation = interpolation or "bilinear"
        if size is not None:
            self._described |= {"size": size, "interpolation": self.interpolation}

    def prepared(self, images: Tensor) -> Tensor:
        if images.shape[1] != len(self.mean):
            raise UserError(f"images with {images.shape[1]} channels meet mean and std for {len(self.mean)}")
        if self.size is not None:
            images = resized(images, self.size, self.interpolation)
        return (images - self.mean).div_(self.std)  # in place: large batches spend more time on fresh memory

    def describe(self) -> dict[str, object]:
        return dict(self._described)

    def extra_repr(self) -> str:
        resizing = f", size={self.size}, interpolation={self.interpolation}" if self.size is not None else ""
        return f"mean={self._described['mean']}, std={self._described['std']}{resizing}"


def resized(images: Tensor, size: int, interpolation: Interpolation) -> Tensor:
    """Images of ``size`` x ``size``; those that are so already are left as they are.

    >>> resized(torch.ones(1, 3, 4, 4), 2, "bicubic").shape
    torch.Size([1, 3, 2, 2])
    """
    if images.shape[-2:] == (size, size):
        return images
    smooth = interpolation != "nearest"
    mode = interpolation if smooth else "nearest-exact"
    wide = images.float() if images.dtype in (torch.float16, torch.bfloat16) else images
    return F.interpolate(wide, size=(size, size), mode=mode, antialias=smooth).to(images.dtype)


class Whitening(nn.Module):
    """Global contrast normalisation, then ZCA, as pylearn2 did it for Maxout and FitNets.

    Each image loses its own mean and is brought to the L2 norm ``scale``; then ``(x - mean) P``, with
    ``P = U diag(1 / sqrt(s + bias)) U^T`` from the covariance ``U diag(s) U^T`` of the training images.
    A new one holds NaN, so that missing weights are noticed at once.

    >>> whitening = Whitening((1, 4, 4))
    >>> whitening.fit(torch.rand(64, 1, 4, 4))
    Whitening()
    >>> whitening(torch.rand(2, 1, 4, 4)).shape
    torch.Size([2, 1, 4, 4])
    """

    mean: Tensor
    matrix: Tensor

    def __init__(self, shape: Sequence[int], *, scale: float = 55.0, bias: float = 0.1):
        super().__init__()
        self.shape, self.scale, self.bias = tuple(shape), scale, bias
        values = torch.Size(self.shape).numel()
        self.register_buffer("mean", torch.full((values,), torch.nan))
        self.register_buffer("matrix", torch.full((values, values), torch.nan))

    @classmethod
    def fit(cls, images: Tensor, *, scale: float = 55.0, bias: float = 0.1, batch: int = 1000) -> "Whitening":
        """Learns mean and matrix from the training part: images between 0 and 1, or uint8."""
        if len(images) < 2 or images.ndim != 4:
            shape = tuple(images.shape)
            raise UserError(f"whitening is fitted on images (number, channels, height, width), not on {shape}")
        whitening = cls(images.shape[1:], scale=scale, bias=bias)
        mean, covariance = _mean_and_covariance(contrast_normalized(part, scale) for part in images.split(batch))
        sizes, directions = torch.linalg.eigh(covariance)
        matrix = (directions * (sizes.clamp_min(0) + bias).rsqrt()) @ directions.T
        whitening.mean.copy_(mean)
        whitening.matrix.copy_(matrix)
        return whitening.to(images.device)

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[1:] != self.shape:
            raise UserError(f"images of {tuple(images.shape[1:])} meet a whitening for {self.shape}")
        # The matrix amplifies rounding errors: float32 only.
        with torch.autocast(images.device.type, enabled=False):
            x = contrast_normalized(images, self.scale)
            return ((x - self.mean) @ self.matrix).view(images.shape)


def contrast_normalized(images: Tensor, scale: float) -> Tensor:
    """Every image as one row without its mean, brought to the L2 norm ``scale``; a constant image becomes 0."""
    x = images.float().flatten(1)
    x = x - x[:, :1]  # changes only the rounding: a constant image becomes exactly 0
    x = x - x.mean(1, keepdim=True)
    divisor = x.norm(dim=1, keepdim=True) / scale
    return x / torch.where(divisor < _TOO_SMALL, 1.0, divisor)


class LocalContrast(nn.Module):
    """Global, then local contrast normalisation (LeCun), as pylearn2 did it for SVHN, channel by channel.

    Each image loses its own mean and is brought to the L2 norm 1. Each pixel then loses the Gaussian mean of its
    neighbours, and is divided by the root of their mean square, or by the image's mean of these roots where that is
    larger. It has no weights and is fitted on nothing.

    Args:
        shape: of an image.
        kernel: the side of the neighbourhood, whose Gaussian has a standard deviation of 2 pixels.

    Difference: pylearn2's script adds 10 to the variance before the first division; what follows cancels any factor.

    >>> LocalContrast((1, 8, 8))(torch.rand(2, 1, 8, 8)).shape
    torch.Size([2, 1, 8, 8])
    """

    window: Tensor

    def __init__(self, shape: Sequence[int], *, kernel: int = 7):
        super().__init__()
        if reason := wrong(Pixels, kernel):
            raise UserError(f"kernel is the side of a neighbourhood in pixels, not {kernel!r}: {reason}")
        if not kernel % 2:
            raise UserError(f"a neighbourhood has a pixel in its middle: kernel = {kernel} must be odd")
        self.shape, self.kernel = tuple(shape), kernel
        places = torch.arange(kernel, dtype=torch.float64) - kernel // 2
        bell = torch.exp(-(places[:, None] ** 2 + places**2) / (2 * 2.0**2))
        self.register_buffer("window", (bell / bell.sum()).float()[None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[1:] != self.shape:
            raise UserError(f"images of {tuple(images.shape[1:])} meet a contrast normalisation for {self.shape}")
        with torch.autocast(images.device.type, enabled=False):
            x = contrast_normalized(images, 1.0).view(-1, 1, *self.shape[1:])
            centred = x - self._neighbours(x)
            roots = self._neighbours(x.square()).clamp_min(0).sqrt()
            divisor = torch.maximum(roots, roots.mean((2, 3), keepdim=True)).clamp_min(_FAINTEST)
            return (centred / divisor).view(images.shape)

    def _neighbours(self, x: Tensor) -> Tensor:
        """The weighted mean of the pixels around each one; what lies outside the image counts as 0."""
        return F.conv2d(x, self.window, padding=self.kernel // 2)


def _mean_and_covariance(batches: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Sums over batches, one of which is in memory as float; in double precision on the CPU for long sums."""
    number = 0
    total = squares = torch.zeros((), dtype=torch.float64)
    for x in batches:
        number += len(x)
        total = total + x.sum(0).cpu()
        squares = squares + (x.T @ x).cpu()
    mean = total / number
    return mean, squares / number - torch.outer(mean, mean)


class Whitened(Preprocessing):
    """Preprocessing by whitening, which is part of the state dict, or by local contrast, which has no state.

    >>> whitening = Whitening((1, 4, 4))
    >>> list(Whitened(torch.nn.Flatten(), whitening).state_dict())
    ['whitening.mean', 'whitening.matrix']
    """

    def __init__(self, module: nn.Module, whitening: Whitening | LocalContrast):
        super().__init__(module)
        self.whitening = whitening

    def prepared(self, images: Tensor) -> Tensor:
        whitened: Tensor = self.whitening(images)
        return whitened

    def describe(self) -> dict[str, object]:
        whitening = self.whitening
        if isinstance(whitening, LocalContrast):
            return {"front": "local contrast", "shape": list(whitening.shape), "kernel": whitening.kernel}
        return {"front": "whitened", "shape": list(whitening.shape), "scale": whitening.scale, "bias": whitening.bias}


class OwnTokens(Preprocessing):
    """A network of texts that reads the tokens of one table, where data have several.

    Data with ``token_tables`` hold each text by the task's own vocabulary (``input_ids``, ``attention_mask``) and by
    each further table (``large:input_ids``, ``large:attention_mask``). The network gets those of its table under their
    plain names, and is called with plain names alone where it answers texts by itself.

    Args:
        module: the network.
        table: the name of its table; by default the task's own vocabulary.

    >>> network = understudy.models.build("text-encoder", classes=2, channels=9, size=4, width=8, depth=1, heads=2)
    >>> ids, mask = torch.tensor([[1, 2]]), torch.ones(1, 2)
    >>> both = {"input_ids": ids, "attention_mask": mask, "large:input_ids": ids + 1, "large:attention_mask": mask}
    >>> OwnTokens(network, "large")(**both).shape
    torch.Size([1, 2])
    """

    def __init__(self, module: nn.Module, table: str = ""):
        super().__init__(module)
        self.table = table

    def forward(self, *args: object, **kwargs: object) -> object:
        return self.module(*args, **of_table(kwargs, self.table))

    def describe(self) -> dict[str, object]:
        return {"front": "own tokens", "table": self.table}

    def extra_repr(self) -> str:
        return f"table={self.table!r}" if self.table else ""


def preprocessing_from(description: Mapping[str, object], module: nn.Module) -> Preprocessing:
    """The preprocessing of a ``describe()``, around ``module``; ``load_state_dict`` then fills a whitening.

    >>> front = Normalized(torch.nn.Flatten(), [0.5], [0.25])
    >>> type(preprocessing_from(front.describe(), torch.nn.Flatten())).__name__
    'Normalized'
    """
    settings = dict(description)
    kind = settings.pop("front", None)
    known = {
        "normalized": ("mean", "std"),
        "whitened": ("shape", "scale", "bias"),
        "local contrast": ("shape", "kernel"),
        "own tokens": ("table",),
    }
    if kind not in known:
        raise UserError(f"no front is called {kind!r}{did_you_mean(str(kind), known)}")
    resizing = ("size", "interpolation") if kind == "normalized" and "size" in settings else ()
    if set(settings) != {*known[kind], *resizing}:
        raise UserError(f"front {kind!r} is described by {', '.join(known[kind])}, not by {', '.join(settings)}")
    make: Callable[..., Normalized] = Normalized
    if kind == "normalized":
        return make(module, **settings)
    if kind == "own tokens":
        return OwnTokens(module, str(settings["table"]))
    whitening: Callable[..., Whitening | LocalContrast] = Whitening if kind == "whitened" else LocalContrast
    return Whitened(module, whitening(**settings))
