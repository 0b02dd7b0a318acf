"""Weights from files: real ones of somebody else's, wrapped and prefixed ones, wrong ones, dangerous ones."""

import os
import pickle
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from understudy.errors import UserError
from understudy.models import Normalized, build, load_weights, read_weights
from understudy.models.weights import begin_with


def small() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


class UsersBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.extra = stride, (outputs - inputs) // 2

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.extra, self.extra)))


class UsersResNet(nn.Module):
    """A user's own ResNet, written without us."""

    def __init__(self, blocks):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self.stage(16, 16, 1, blocks)
        self.layer2 = self.stage(16, 32, 2, blocks)
        self.layer3 = self.stage(32, 64, 2, blocks)
        self.linear = nn.Linear(64, 10)

    @staticmethod
    def stage(inputs, outputs, stride, blocks):
        return nn.Sequential(
            UsersBlock(inputs, outputs, stride), *(UsersBlock(outputs, outputs, 1) for _ in range(blocks - 1))
        )

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        return self.linear(F.avg_pool2d(x, x.shape[-1]).flatten(1))


@pytest.fixture(params=[20, 56])
def third_party(request, tmp_path) -> tuple[int, Path]:
    """akamaster's weights where they are at hand, or else a file of the same form."""
    depth, digest = request.param, {20: "12fca82f", 56: "4bfd9763"}[request.param]
    beside = Path(__file__).parents[3] / "shared" / "data" / "weights"
    file = Path(os.environ.get("UNDERSTUDY_WEIGHTS", beside)) / f"akamaster_resnet{depth}-{digest}.th"
    if not file.exists():
        file = tmp_path / "resnet.th"
        state = UsersResNet((depth - 2) // 6).state_dict()
        state = {f"module.{k}": v for k, v in state.items() if not k.endswith("num_batches_tracked")}
        torch.save({"state_dict": state, "best_prec1": 91.73}, file)
    return depth, file


def test_third_party_weights(third_party):
    depth, file = third_party
    ours, theirs = build(f"resnet{depth}", shortcut="A"), UsersResNet((depth - 2) // 6)
    assert load_weights(ours, file) == "module."
    assert load_weights(theirs, file) == "module."
    x = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        logits = ours.eval()(x)
        torch.testing.assert_close(logits, theirs.eval()(x), rtol=1e-4, atol=1e-4)
    assert logits.std() > 0.01


def test_third_party_weights_do_not_fit_other_shortcuts(third_party):
    depth, file = third_party
    with pytest.raises(
        UserError, match=r"without the prefix 'module\.'.*names are missing \(layer2\.0\.shortcut\.0\.weight"
    ):
        load_weights(build(f"resnet{depth}", shortcut="B"), file)


NAMES_ELSEWHERE = {  # of CRD's benchmark (RepDistiller, mdistiller), which chenyaofo's ResNets share
    "resnet8": {"linear.": "fc.", ".shortcut.": ".downsample."},
    "resnet8x4": {"linear.": "fc.", ".shortcut.": ".downsample."},
    "wrn-10-2": {
        "linear.": "fc.",
        ".shortcut.": ".convShortcut.",
        "block1.": "block1.layer.",
        "block2.": "block2.layer.",
        "block3.": "block3.layer.",
    },
    "vgg8": {},
    "shufflenetv1": {},
}


@pytest.mark.parametrize("name", NAMES_ELSEWHERE)
def test_names_of_the_cifar_benchmark_load(tmp_path, name):
    def elsewhere(key):
        for ours, theirs in NAMES_ELSEWHERE[name].items():
            key = key.replace(ours, theirs)
        return key

    source, target = build(name, classes=100), build(name, classes=100)
    state = {elsewhere(key): value for key, value in source.state_dict().items()}
    assert (state.keys() != source.state_dict().keys()) == bool(NAMES_ELSEWHERE[name])
    torch.save({"model": state, "epoch": 240}, tmp_path / "best.pth")
    load_weights(target, tmp_path / "best.pth")
    assert same(source, target)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "model.", "module._orig_mod.", "_orig_mod.module."])
@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth", ".th", ".ckpt"])
def test_prefixes_and_kinds_of_files(tmp_path, prefix, suffix):
    source, target, file = small(), small(), tmp_path / f"weights{suffix}"
    state = {prefix + key: value for key, value in source.state_dict().items()}
    save_file(state, file) if suffix == ".safetensors" else torch.save(state, file)
    assert load_weights(target, file) == prefix
    assert same(source, target)


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
def test_wrappers_are_opened(tmp_path, wrapper):
    state = small().state_dict()
    torch.save({"epoch": 3, wrapper: state}, tmp_path / "a.pt")
    assert read_weights(tmp_path / "a.pt").keys() == state.keys()


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # the compiler's own, on import
def test_fronts_and_compiled_networks_are_looked_into(tmp_path):
    source = small()
    save_file(source.state_dict(), tmp_path / "a.safetensors")
    target = small()
    load_weights(Normalized(torch.compile(target), [0, 0, 0], [1, 1, 1]), tmp_path / "a.safetensors")
    assert same(source, target)


def test_a_part_of_a_file_by_its_prefix(tmp_path):
    source, target = small(), small()
    state = {f"student.{key}": value for key, value in source.state_dict().items()}
    torch.save({**state, "teacher.weight": torch.zeros(3)}, tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"prefix 'student\.' it would fit"):
        load_weights(target, tmp_path / "a.pt")
    assert load_weights(target, tmp_path / "a.pt", prefix="student.") == "student."
    assert same(source, target)
    with pytest.raises(UserError, match=r"no name begins with 'pupil\.'"):
        load_weights(target, tmp_path / "a.pt", prefix="pupil.")


def test_misfits_are_counted_and_named_and_change_nothing(tmp_path):
    state = small().state_dict()
    state["3.weight"] = torch.zeros(5, 16)
    state["head.weight"] = state.pop("0.weight")
    torch.save(state, tmp_path / "a.pt")
    target = small()
    before = {key: value.clone() for key, value in target.state_dict().items()}
    with pytest.raises(UserError) as caught:
        load_weights(target, tmp_path / "a.pt")
    said = str(caught.value)
    assert "1 of the network's 9 names are missing (0.weight)" in said
    assert "1 in the file are unexpected (head.weight)" in said
    assert "1 differ in shape (3.weight is (5, 16) in the file and (2, 16) in the network)" in said
    assert all(torch.equal(value, before[key]) for key, value in target.state_dict().items())


def test_files_without_counters_of_batches_load(tmp_path):
    state = {k: v for k, v in small().state_dict().items() if "num_batches" not in k}
    torch.save(state, tmp_path / "a.pt")
    load_weights(small(), tmp_path / "a.pt")


class Dangerous:
    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_wants_to_run_code_is_refused(tmp_path, zipped):
    mark = tmp_path / "it-ran"
    content = {"state_dict": small().state_dict(), "extra": Dangerous(mark)}
    torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match=r"refused: it asks to run code \(.*\).*torch.save\(network.state_dict"):
        read_weights(tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes(pickle.dumps(content["extra"]))
    with pytest.raises(UserError, match=r"refused|damaged"):
        read_weights(tmp_path / "b.pt")
    assert not mark.exists()


def test_a_whole_network_is_refused(tmp_path):
    torch.save(small(), tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"refused: it asks to run code \(torch.nn.modules.container.Sequential\)"):
        read_weights(tmp_path / "a.pt")


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_damaged_files(tmp_path, suffix):
    whole, file = tmp_path / f"whole{suffix}", tmp_path / f"a{suffix}"
    state = nn.Linear(50, 50).state_dict()
    save_file(state, whole) if suffix == ".safetensors" else torch.save(state, whole)
    for content in (whole.read_bytes()[:-1000], whole.read_bytes()[:100], b"", b"<html>not found</html>", bytes(1000)):
        file.write_bytes(content)
        with pytest.raises(UserError, match="is damaged or no") as caught:
            read_weights(file)
        assert "\n" not in str(caught.value)


def test_what_is_no_weights_file(tmp_path):
    with pytest.raises(UserError, match=r"no weights file .*absent\.pt"):
        read_weights(tmp_path / "absent.pt")
    with pytest.raises(UserError, match="is a folder"):
        read_weights(tmp_path)
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(UserError, match=r"not as '\.txt'"):
        read_weights(tmp_path / "a.txt")
    for content, words in (([1, 2], "holds list"), ({"epoch": 3}, "holds a dict with epoch"), ({}, "holds a dict")):
        torch.save(content, tmp_path / "a.pt")
        with pytest.raises(UserError, match=words):
            read_weights(tmp_path / "a.pt")
    save_file({}, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match="holds no tensors"):
        read_weights(tmp_path / "a.safetensors")


class Separable(nn.Module):
    """The modules of a block as timm lists them."""

    def __init__(self, eps: float):
        super().__init__()
        self.conv_dw, self.bn1 = nn.Conv2d(4, 4, 3, groups=4, bias=False), nn.BatchNorm2d(4, eps)
        self.se = nn.ModuleDict({"conv_reduce": nn.Conv2d(4, 1, 1), "conv_expand": nn.Conv2d(1, 4, 1)})
        self.conv_pw, self.bn2 = nn.Conv2d(4, 4, 1, bias=False), nn.BatchNorm2d(4, eps)


class Inverted(nn.Module):
    def __init__(self, eps: float):
        super().__init__()
        self.conv_pw, self.bn1 = nn.Conv2d(4, 4, 1, bias=False), nn.BatchNorm2d(4, eps)
        self.conv_dw, self.bn2 = nn.Conv2d(4, 4, 3, groups=4, bias=False), nn.BatchNorm2d(4, eps)
        self.conv_pwl, self.bn3 = nn.Conv2d(4, 4, 1, bias=False), nn.BatchNorm2d(4, eps)


class EfficientNet(nn.Module):
    def __init__(self, eps: float = 1e-3):
        super().__init__()
        self.conv_stem, self.bn1 = nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4, eps)
        stages = [Separable(eps)], [Inverted(eps), Inverted(eps)]
        self.blocks = nn.Sequential(*(nn.Sequential(*stage) for stage in stages))
        self.conv_head, self.bn2 = nn.Conv2d(4, 4, 1, bias=False), nn.BatchNorm2d(4, eps)
        self.classifier = nn.Linear(4, 2)


class OnEfficientNet(nn.Module):
    """A detector on all of a classifier but its last layers."""

    body = "backbone"

    def __init__(self):
        super().__init__()
        self.backbone, self.head = EfficientNet(), nn.Conv2d(4, 9, 1)
        del self.backbone.conv_head, self.backbone.bn2, self.backbone.classifier


THEIRS = {
    r"^conv_stem": "_conv_stem",
    r"^bn1": "_bn0",
    r"^conv_head": "_conv_head",
    r"^bn2": "_bn1",
    r"^classifier": "_fc",
    r"^blocks\.0\.0\.conv_dw": "_blocks.0._depthwise_conv",
    r"^blocks\.0\.0\.bn1": "_blocks.0._bn1",
    r"^blocks\.0\.0\.se.conv_": "_blocks.0._se_",
    r"^blocks\.0\.0\.conv_pw": "_blocks.0._project_conv",
    r"^blocks\.0\.0\.bn2": "_blocks.0._bn2",
    r"^blocks\.1\.0": "_blocks.1",
    r"^blocks\.1\.1": "_blocks.2",
    r"([12])\.conv_pwl": r"\1._project_conv",
    r"([12])\.conv_pw": r"\1._expand_conv",
    r"([12])\.conv_dw": r"\1._depthwise_conv",
    r"([12])\.bn1": r"\1._bn0",
    r"([12])\.bn2": r"\1._bn1",
    r"([12])\.bn3": r"\1._bn2",
}


def test_the_names_of_efficientnet_pytorch(tmp_path):
    trained = EfficientNet()
    named = {}
    for name, value in reversed(trained.state_dict().items()):
        for pattern, replacement in THEIRS.items():
            name = re.sub(pattern, replacement, name)
        named[name] = value
    assert {"_blocks.2._bn2.running_var", "_blocks.0._se_reduce.bias"} <= named.keys()
    save_file(named, tmp_path / "b0.safetensors")
    network = EfficientNet()
    assert not same(network, trained)
    load_weights(network, tmp_path / "b0.safetensors")
    assert same(network, trained)
    with pytest.raises(UserError, match="take timm's networks of that kind"):
        load_weights(EfficientNet(eps=1e-5), tmp_path / "b0.safetensors")
    detector = OnEfficientNet()
    left = begin_with(detector, named, "b0", outputs=2).unused
    assert all(torch.equal(value, trained.state_dict()[name]) for name, value in detector.backbone.state_dict().items())
    assert {name.rpartition(".")[0] for name in left} == {"_conv_head", "_bn1", "_fc"}
    del named["_blocks.2._bn2.weight"]
    save_file(named, tmp_path / "b0.safetensors")
    with pytest.raises(UserError, match=r"names are missing \(blocks.1.1.bn3.weight\)"):
        load_weights(network, tmp_path / "b0.safetensors")
