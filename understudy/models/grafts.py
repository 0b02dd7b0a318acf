"""A student with other modules than its architecture has: put in before training, and saved with the student.

``Graft`` is the teacher's classifier, ``Expansion`` two layers behind the last map. Both describe in plain values which
modules were replaced, so that ``onto`` replaces them for weights from a file, without the teacher.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from understudy.errors import UserError
from understudy.taps import Pair, Tap, find, inner

_MARK = "_understudy_graft"


@dataclass(frozen=True)
class Graft:
    """The part of a teacher that a student keeps, and the learned modules before it.

    Args:
        head: the student's classifier, which the teacher's replaces.
        width: of the inputs of the student's classifier.
        features, classes, bias: of the teacher's classifier, a linear layer or a convolution of 1x1 behind the pooling.
        maps: the student's module that is followed by a projector, three convolutions that give its map the teacher's
            channels; without one, a linear layer before the classifier does that for vectors, where widths differ.
        factor: by which the projector's inner channels are fewer than the teacher's.

    >>> Graft(head="fc", width=64, features=32, classes=10, bias=True).factor
    2
    """

    head: str
    width: int
    features: int
    classes: int
    bias: bool
    maps: str | None = None
    factor: int = 2

    @classmethod
    def between(
        cls, student: nn.Module, teacher: nn.Module, heads: Pair, maps: Pair | None = None, factor: int = 2
    ) -> "Graft":
        """The graft for the taps ``heads`` (and ``maps``) of these two networks."""
        mine = _classifier(student, heads.student.path, "the student").weight
        theirs = _classifier(teacher, heads.teacher.path, "the teacher")
        if maps is not None and (maps.student.form or maps.student.side != "output"):
            raise UserError(
                f"a projector stands behind what a module of the student answers, not behind {str(maps.student)!r}: "
                "name another map, or what goes into both classifiers, as in 'fc:input -> fc:input'"
            )
        return cls(
            head=heads.student.path,
            width=mine.shape[1],
            features=theirs.weight.shape[1],
            classes=theirs.weight.shape[0],
            bias=theirs.bias is not None,
            maps=maps.student.path if maps else None,
            factor=factor,
        )

    def onto(self, network: nn.Module) -> None:
        """Replace the modules, with fresh weights; a network with this graft is left unchanged."""
        if not _is_new(self, network):
            return
        own = _classifier(network, self.head, "the student").weight
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_seed(own))
            self._exchange(network, own)
        setattr(inner(network), _MARK, self)

    def _exchange(self, network: nn.Module, like: Tensor) -> None:
        linear: Callable[..., nn.Module] = nn.Linear if like.ndim == 2 else partial(nn.Conv2d, kernel_size=1)
        classifier = linear(self.features, self.classes, bias=self.bias).requires_grad_(False)
        classifier.to(like.device, like.dtype)
        if self.maps is not None:
            body = find(network, Tap(self.maps), called="the student")
            projector = bottleneck(self.width, self.features, self.factor).to(like.device, like.dtype)
            _put(network, self.maps, _joined(body=body, projector=projector))
            _put(network, self.head, classifier)
        else:
            bridge = linear(self.width, self.features) if self.width != self.features else nn.Identity()
            _put(network, self.head, _joined(bridge=bridge.to(like.device, like.dtype), classifier=classifier))

    @property
    def classifier(self) -> str:
        """The path of the teacher's classifier in the grafted student."""
        return self.head if self.maps is not None else f"{self.head}.classifier"

    def fill(self, network: nn.Module, teacher: nn.Module, head: str) -> None:
        """Copy the weights of the teacher's classifier."""
        theirs = _classifier(teacher, head, "the teacher")
        ours = _classifier(network, self.classifier, "the student")
        with torch.no_grad():
            ours.weight.copy_(theirs.weight.view_as(ours.weight))
            if theirs.bias is not None and ours.bias is not None:
                ours.bias.copy_(theirs.bias)

    def describe(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True)
class Expansion:
    """Two linear layers behind a map of the student, to more channels and back, that are added to the map.

    ``x + C(E(x))``, E and C convolutions of 1x1, each with batch norm and without activation

    Args:
        maps: the student's module whose map is expanded.
        channels: of that map.
        expanded: channels between E and C.

    >>> Expansion(maps="layer3", channels=64, expanded=512).describe()
    {'maps': 'layer3', 'channels': 64, 'expanded': 512}
    """

    PATH: ClassVar[str] = "expansion.expand"  # of E, within the module that takes the place of the old one

    maps: str
    channels: int
    expanded: int

    def onto(self, network: nn.Module) -> None:
        """Put the layers in, with fresh weights; a network with this expansion is left unchanged."""
        if not _is_new(self, network):
            return
        body = find(network, Tap(self.maps), called="the student")
        like = next(body.parameters(), next(network.parameters()))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_seed(next(inner(network).parameters())))
            expansion = _Expanded(self.maps, self.channels, self.expanded).to(like.device, like.dtype)
        _put(network, self.maps, _joined(body=body, expansion=expansion))
        setattr(inner(network), _MARK, self)

    def describe(self) -> dict[str, object]:
        return asdict(self)


class _Expanded(nn.Module):
    def __init__(self, maps: str, channels: int, expanded: int):
        super().__init__()
        self.maps, self.channels = maps, channels
        self.expand = linear_1x1(channels, expanded)
        self.contract = linear_1x1(expanded, channels)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 4 or x.shape[1] != self.channels:
            raise UserError(
                f"the student's {self.maps!r} answers with shape {tuple(x.shape)}, and its classifier takes "
                f"{self.channels} numbers: name the map whose mean the classifier is given; a network with layers "
                "between them cannot be expanded"
            )
        contracted: Tensor = self.contract(self.expand(x))
        return x + contracted


def linear_1x1(inputs: int, outputs: int) -> nn.Module:
    """A convolution of 1x1 and a batch norm."""
    convolution = nn.Conv2d(inputs, outputs, 1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))


def graft_of(network: nn.Module) -> Graft | Expansion | None:
    """What was put into a network, or None."""
    return getattr(inner(network), _MARK, None)


def _is_new(graft: Graft | Expansion, network: nn.Module) -> bool:
    """Whether a network has no graft yet; a ``UserError`` where it has another one."""
    there = graft_of(network)
    if there is not None and there != graft:
        raise UserError(f"the student carries a graft already ({there}): build it anew")
    return there is None


def regraft(network: nn.Module, described: Mapping[str, object] | None) -> None:
    """Apply the graft of a student's description, if there is one.

    >>> regraft(understudy.models.build("resnet8"), None)
    """
    if described is not None:
        make: Callable[..., Graft | Expansion] = Expansion if "expanded" in described else Graft
        make(**described).onto(network)


def bottleneck(inputs: int, outputs: int, factor: int, norm: Callable[[int], nn.Module] = nn.BatchNorm2d) -> nn.Module:
    """SimKD's projector: convolutions of 1x1, 3x3 and 1x1, each with batch norm and ReLU."""
    middle = max(1, outputs // factor)
    parts: list[nn.Module] = []
    for before, after, kernel in ((inputs, middle, 1), (middle, middle, 3), (middle, outputs, 1)):
        convolution = nn.Conv2d(before, after, kernel, padding=kernel // 2, bias=False)
        parts += [convolution, norm(after), nn.ReLU()]
    return nn.Sequential(*parts)


def _joined(**modules: nn.Module) -> nn.Module:
    """One after the other, by their names."""
    return nn.Sequential(OrderedDict(modules))


def _classifier(network: nn.Module, path: str, called: str) -> nn.Linear | nn.Conv2d:
    module = find(network, Tap(path), called=called)
    if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.weight[0, 0].numel() == 1):
        return module
    raise UserError(
        f"{called}'s {path!r} is no linear layer and no convolution of 1x1, so it cannot be taken over as a classifier"
    )


def _put(network: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(inner(network).get_submodule(parent), name, module)


def _seed(weight: Tensor) -> int:
    """The seed of new weights: a function of the student's weights, so that each seed's student has its own."""
    values = weight.detach().float().cpu().contiguous().numpy()
    return int.from_bytes(hashlib.sha256(values.tobytes()).digest()[:7], "big")
