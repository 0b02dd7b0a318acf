"""A stand-in for timm: tiny networks with the attributes and functions that are asked of the library, and weights."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TIMM = '''
import torch
from torch import nn

WEIGHTS = {"tiny.a": 0.0, "tiny.b": 0.25, "deep.a": 0.1, "maps.a": 0.2}
FAILURE = []  # an exception to raise instead of loading


class Config(dict):
    def to_dict(self):
        return dict(self)

    fixed_input_size = False


class Tiny(nn.Module):
    """A convolution, a batch norm and a linear head; it keeps the sizes of the images that it gets."""

    def __init__(self, num_classes=5, in_chans=3, width=4):
        super().__init__()
        self.conv_stem = nn.Conv2d(in_chans, width, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(width)
        self.classifier = nn.Linear(width, num_classes)
        self.sizes = []

    def forward(self, x):
        self.sizes.append(tuple(x.shape[-2:]))
        return self.classifier(self.bn1(self.conv_stem(x)).relu().mean((2, 3)))


class Maps(Tiny):
    """With maps of strides 2, 4, 8 and 8, as timm's networks offer them to detectors."""

    def __init__(self, num_classes=5, in_chans=3, width=4):
        super().__init__(num_classes, in_chans, width)
        self.conv_stem.stride = 2, 2
        self.blocks = nn.Sequential(*(nn.Conv2d(width, width, 3, stride, 1) for stride in (2, 2, 1)))
        self.feature_info = [{"num_chs": width, "reduction": stride} for stride in (2, 4, 8, 8)]

    def forward(self, x):
        return self.classifier(self.forward_intermediates(x, [3])[0].mean((2, 3)))

    def forward_intermediates(self, x, indices, output_fmt="NCHW", intermediates_only=True):
        maps = [self.bn1(self.conv_stem(x)).relu()]
        for block in self.blocks:
            maps.append(block(maps[-1]).relu())
        return [maps[index] for index in indices]

    def prune_intermediate_layers(self, indices, prune_norm=False, prune_head=True):
        self.blocks = self.blocks[: max(indices)]
        self.classifier = nn.Identity()


def list_models(filter="", pretrained=False):
    return list(WEIGHTS) if pretrained else ["tiny", "deep", "bare", "maps"]


def is_model(name):
    return name.partition(".")[0] in list_models()


def _full(name):
    return name if "." in name else f"{name}.a"


def is_model_pretrained(name):
    return _full(name) in WEIGHTS


def get_pretrained_cfg(name):
    if not is_model_pretrained(name):
        return None
    name, _, tag = _full(name).partition(".")
    return Config(architecture=name, tag=tag, mean=(0.4, 0.5, 0.6), std=(0.25, 0.25, 0.25), input_size=(3, 12, 12),
                  interpolation="bicubic", num_classes=5)


def create_model(name, pretrained=False, **settings):
    network = (Maps if name.startswith("maps") else Tiny)(**settings)
    network.pretrained_cfg = get_pretrained_cfg(name)
    if pretrained:
        if FAILURE:
            raise FAILURE[0]
        with torch.random.fork_rng():
            torch.manual_seed(int(100 * WEIGHTS[_full(name)]))
            for parameter in network.parameters():
                nn.init.normal_(parameter, std=0.3)
        network.bn1.running_mean.fill_(0.1)
    return network
'''


@pytest.fixture
def timm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """The package, in a folder of its own before all others on the path."""
    from understudy.models import library_weights

    folder = tmp_path / "packages"
    (folder / "timm").mkdir(parents=True)
    (folder / "timm" / "__init__.py").write_text(TIMM)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(library_weights, "_reachable", lambda: True)  # no name is looked up
    library_weights.input_config.cache_clear()
    before = sys.modules.pop("timm", None)
    import timm as package

    yield package
    sys.modules.pop("timm", None)
    if before is not None:
        sys.modules["timm"] = before
    library_weights.input_config.cache_clear()
