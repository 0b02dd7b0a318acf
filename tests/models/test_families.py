"""ResNets, wide ResNets and plain networks: published counts, shapes, and what is refused."""

import pytest
import torch
from torch import nn

from understudy.errors import UserError
from understudy.models import NetworkSpec, build, resnet
from understudy.models.sizes import Sized


def on_meta(name: str, **settings) -> nn.Module:
    with torch.device("meta"):
        return build(name, **settings)


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


RESNETS = {  # TAKD's: shortcut B, 10 and 100 classes
    8: (78_042, 83_892),
    14: (175_258, 181_108),
    20: (272_474, 278_324),
    26: (369_690, 375_540),
    32: (466_906, 472_756),
    44: (661_338, 667_188),
    56: (855_770, 861_620),
    110: (1_730_714, 1_736_564),
}


@pytest.mark.parametrize("depth", RESNETS)
def test_resnet_parameters(depth):
    counts = tuple(parameters(on_meta(f"resnet{depth}", classes=classes)) for classes in (10, 100))
    assert counts == RESNETS[depth]


RESNETS_A = {  # 10 classes: without B's two convolutions of 1x1 and their norms, 16*32 + 2*32 + 32*64 + 2*64 = 2752
    8: 75_290,
    14: 172_506,
    20: 269_722,  # He et al.'s table 6: 0.27 million
    26: 366_938,
    32: 464_154,
    44: 658_586,
    56: 853_018,  # 0.85 million
    110: 1_727_962,  # 1.7 million
}


@pytest.mark.parametrize("depth", RESNETS_A)
def test_resnet_parameters_with_shortcut_a(depth):
    assert parameters(on_meta(f"resnet{depth}", shortcut="A")) == RESNETS_A[depth]


@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_thin_resnet(shortcut):
    network = build("resnet14", channels=1, classes=7, widths=[5, 8, 13], shortcut=shortcut, stem_stride=2)
    assert network(torch.randn(2, 1, 28, 28)).shape == (2, 7)
    assert network.layer3[0].conv1.weight.shape == (13, 8, 3, 3)


def test_shortcut_a_subsamples_and_pads_with_zeros():
    x = torch.randn(1, 16, 6, 6)
    y = resnet(8, shortcut="A").layer2[0].shortcut(x)
    assert y.shape == (1, 32, 3, 3)
    assert torch.equal(y[:, 8:24], x[:, :, ::2, ::2])
    assert not y[:, :8].any()
    assert not y[:, 24:].any()


WIDE = {  # CAN's table 5, millions at 100 classes
    (10, 2): 0.315,
    (10, 4): 1.222,
    (10, 6): 2.720,
    (10, 8): 4.811,
    (10, 10): 7.493,
    (16, 4): 2.772,
    (22, 4): 4.322,
    (28, 4): 5.872,
    (34, 4): 7.422,
    (40, 10): 55.899,
}


@pytest.mark.parametrize(("depth", "width"), WIDE)
def test_wide_resnet_parameters(depth, width):
    assert round(parameters(on_meta(f"wrn-{depth}-{width}", classes=100)) / 1e6, 3) == WIDE[depth, width]


def test_wide_resnet_dropout():
    network = build("wrn-10-1", dropout=0.3)
    x = torch.randn(2, 3, 16, 16)
    assert not torch.equal(network(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x))


PLAIN = {  # CIFAR-10's and CIFAR-100's lists; odd sizes have one list, with 10 and with 100 classes
    2: (13_082, 215_172),
    3: (69_866, 438_596),
    4: (37_338, 475_652),
    5: (221_994, 959_364),
    6: (82_778, 1_107_204),
    7: (649_834, 655_684),
    8: (327_962, 1_246_276),
    9: (2_294_698, 2_340_868),
    10: (2_487_850, 2_931_460),
}


@pytest.mark.parametrize("size", PLAIN)
def test_plain_parameters(size):
    counts = tuple(parameters(on_meta(f"plain{size}", classes=classes)) for classes in (10, 100))
    assert counts == PLAIN[size]


@pytest.mark.parametrize("size", range(2, 11))
def test_plain_has_as_many_convolutions_as_its_name_says(size):
    for classes in (10, 100):
        network = on_meta(f"plain{size}", classes=classes)
        assert sum(isinstance(module, nn.Conv2d) for module in network.modules()) == size
        assert network(torch.empty(2, 3, 32, 32, device="meta")).shape == (2, classes)


def test_plain_list_can_be_chosen():
    assert parameters(on_meta("plain2", like="cifar100")) < PLAIN[2][1]
    assert on_meta("plain2", like="cifar100").conv1.conv.out_channels == 32
    with pytest.raises(UserError, match="no plain3 like cifar10: there are plain2, plain4"):
        build("plain3", like="cifar10")


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("resnet21", {}, "depth is 6n[+]2; try 20"),
        ("resnet20", {"widths": [16, 32]}, "depth is 4n[+]2; try 18"),
        ("resnet8", {"widths": [16, 8, 4], "shortcut": "A"}, "use shortcut B"),
        ("resnet8", {"widths": [0, 8, 4]}, "greater than or equal to 1"),
        ("wrn-12-2", {}, "6n[+]4; try wrn-10-2"),
        ("wrn-10-0", {}, "greater than or equal to 1"),
        ("wrn-10-1", {"dropout": 1.5}, "less than 1"),
        ("plain11", {}, "plain10"),
        ("plain10", {"size": 8}, "8 x 8 are too small"),
        ("aflw-fitnet1", {"size": 9}, "9 x 9 are too small"),
    ],
)
def test_what_does_not_exist(name, settings, words):
    with pytest.raises(UserError, match=words):
        build(name, **settings)


BENCHMARK = {  # CRD's CIFAR-100 benchmark, counted in its code (HobbitLong/RepDistiller), 100 classes
    "resnet8x4": 1_233_540,
    "resnet32x4": 7_433_860,
    "vgg8": 3_965_028,
    "vgg13": 9_462_180,
    "mobilenetv2": 812_836,
    "shufflenetv1": 949_258,
    "shufflenetv2": 1_355_528,
    "bottleneck50": 23_705_252,
    "wrn-40-2": 2_255_156,
    "wrn-16-2": 703_284,
    "wrn-40-1": 569_780,
    "resnet110": 1_736_564,
    "resnet56": 861_620,
    "resnet32": 472_756,
    "resnet20": 278_324,
}


@pytest.mark.parametrize("name", BENCHMARK)
def test_the_networks_of_the_cifar_100_benchmark(name):
    assert parameters(on_meta(name, classes=100)) == BENCHMARK[name]


def test_resnext_parameters():
    assert parameters(on_meta("resnext29")) == 34_426_698
    assert parameters(on_meta("resnext29", groups=16)) == 68_155_210


@pytest.mark.parametrize("name", ["resnet50", "resnet152", "vgg11", "vgg16", "vgg19"])
def test_a_name_that_means_imagenets_network_is_refused(name):
    with pytest.raises(UserError, match=f"torchvision:{name}.*cifar-{name}"):
        build(name)


@pytest.mark.parametrize("name", ["vgg9", "bottleneck34", "resnext30", "resnet9x4"])
def test_sizes_that_there_are_not(name):
    with pytest.raises(UserError, match="no "):
        build(name)


@pytest.mark.parametrize(
    ("name", "settings"),
    [("mobilenetv2", {"width": 0.01}), ("shufflenetv2", {"width": 0.7}), ("resnext29", {"groups": 0})],
)
def test_settings_of_the_benchmarks_networks(name, settings):
    with pytest.raises(UserError, match=name[:8]):
        build(name, **settings)


@pytest.mark.parametrize("name", ["wrn-10-2", "wrn-40-10", "wrn-34-4", "plain3", "plain9", "resnet20x4"])
def test_sizes_of_papers_belong_to_a_family(name):
    family = Sized.to_which_belongs(name)
    assert family is not None
    assert family.size_of(NetworkSpec(name)) in (*family.published, *family.others)
