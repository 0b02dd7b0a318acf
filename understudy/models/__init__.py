"""Networks: families of papers, other networks by name, their weights, and preprocessing."""

from understudy.models.catalogue import NetworkSpec, build, names
from understudy.models.families.aflw import aflw_fitnet, aflw_teacher
from understudy.models.families.fitnets import (
    PAIRS,
    depth_net,
    fitnet,
    fitnet_mnist,
    maxout_cifar,
    maxout_mnist,
    maxout_svhn,
)
from understudy.models.families.maxout import Conv, MaxoutNet
from understudy.models.families.plain import plain
from understudy.models.families.resnet import resnet
from understudy.models.families.wrn import wrn
from understudy.models.from_teacher import FromTeacher, from_teacher
from understudy.models.grafts import Expansion, Graft, regraft
from understudy.models.library_weights import pretrained
from understudy.models.output import Output
from understudy.models.preprocessing import (
    LocalContrast,
    Normalized,
    OwnTokens,
    Preprocessing,
    Whitened,
    Whitening,
    preprocessing_from,
)
from understudy.models.pykeen import PyKEEN
from understudy.models.side_by_side import SideBySide
from understudy.models.weights import load_weights, read_weights
from understudy.taps.modules import Maxout

__all__ = [
    "PAIRS",
    "Conv",
    "Expansion",
    "FromTeacher",
    "Graft",
    "LocalContrast",
    "Maxout",
    "MaxoutNet",
    "NetworkSpec",
    "Normalized",
    "Output",
    "OwnTokens",
    "Preprocessing",
    "PyKEEN",
    "SideBySide",
    "Whitened",
    "Whitening",
    "aflw_fitnet",
    "aflw_teacher",
    "build",
    "depth_net",
    "fitnet",
    "fitnet_mnist",
    "from_teacher",
    "load_weights",
    "maxout_cifar",
    "maxout_mnist",
    "maxout_svhn",
    "names",
    "plain",
    "preprocessing_from",
    "pretrained",
    "read_weights",
    "regraft",
    "resnet",
    "wrn",
]
