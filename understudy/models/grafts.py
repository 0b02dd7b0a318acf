"""A student with its teacher's classifier: grafted on before training, frozen, and saved with the student.

A graft describes in plain values which modules were replaced, so that ``Graft.onto`` replaces them for weights from a
file, without the teacher.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

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
        features, classes, bias: of the teacher's classifier, a linear layer.
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
        mine = _linear(student, heads.student.path, "the student")
        theirs = _linear(teacher, heads.teacher.path, "the teacher")
        if maps is not None and (maps.student.form or maps.student.side != "output"):
            raise UserError(
                f"a projector stands behind what a module of the student answers, not behind {str(maps.student)!r}: "
                "name another map, or what goes into both classifiers, as in 'fc:input -> fc:input'"
            )
        return cls(
            head=heads.student.path,
            width=mine.in_features,
            features=theirs.in_features,
            classes=theirs.out_features,
            bias=theirs.bias is not None,
            maps=maps.student.path if maps else None,
            factor=factor,
        )

    def onto(self, network: nn.Module) -> None:
        """Replace the modules, with fresh weights; a network with this graft is left unchanged."""
        there = graft_of(network)
        if there == self:
            return
        if there is not None:
            raise UserError(f"the student carries a graft already ({there}): build it anew")
        own = _linear(network, self.head, "the student").weight
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_seed(own))
            self._exchange(network, own)
        setattr(inner(network), _MARK, self)

    def _exchange(self, network: nn.Module, like: Tensor) -> None:
        classifier = nn.Linear(self.features, self.classes, self.bias).requires_grad_(False).to(like.device, like.dtype)
        if self.maps is not None:
            body = find(network, Tap(self.maps), called="the student")
            projector = bottleneck(self.width, self.features, self.factor).to(like.device, like.dtype)
            _put(network, self.maps, _joined(body=body, projector=projector))
            _put(network, self.head, classifier)
        else:
            bridge = nn.Linear(self.width, self.features) if self.width != self.features else nn.Identity()
            _put(network, self.head, _joined(bridge=bridge.to(like.device, like.dtype), classifier=classifier))

    @property
    def classifier(self) -> str:
        """The path of the teacher's classifier in the grafted student."""
        return self.head if self.maps is not None else f"{self.head}.classifier"

    def fill(self, network: nn.Module, teacher: nn.Module, head: str) -> None:
        """Copy the weights of the teacher's classifier."""
        theirs, ours = _linear(teacher, head, "the teacher"), _linear(network, self.classifier, "the student")
        with torch.no_grad():
            ours.weight.copy_(theirs.weight)
            if theirs.bias is not None:
                ours.bias.copy_(theirs.bias)

    def describe(self) -> dict[str, object]:
        return asdict(self)


def graft_of(network: nn.Module) -> Graft | None:
    """The graft of a network, or None."""
    return getattr(inner(network), _MARK, None)


def regraft(network: nn.Module, described: Mapping[str, object] | None) -> None:
    """Apply the graft of a student's description, if there is one.

    >>> regraft(understudy.models.build("resnet8"), None)
    """
    if described is not None:
        make: Callable[..., Graft] = Graft
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


def _linear(network: nn.Module, path: str, called: str) -> nn.Linear:
    module = find(network, Tap(path), called=called)
    if not isinstance(module, nn.Linear):
        raise UserError(f"{called}'s {path!r} is no linear layer, so it cannot be taken over as a classifier")
    return module


def _put(network: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(inner(network).get_submodule(parent), name, module)


def _seed(weight: Tensor) -> int:
    """The seed of new weights: a function of the student's weights, so that each seed's student has its own."""
    values = weight.detach().float().cpu().contiguous().numpy()
    return int.from_bytes(hashlib.sha256(values.tobytes()).digest()[:7], "big")
