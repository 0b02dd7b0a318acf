"""Networks by name: every family builds, mistakes are answered, and nobody's code runs unasked."""

import json
import re
import sys
import types

import pytest
import torch
from torch import nn

from understudy.errors import OptionalPackageError, UserError
from understudy.models import NetworkSpec, build, names

ONE_OF_EACH = {
    "resnet<depth>": ("resnet8", 3, 32),
    "cifar-resnet<depth>": ("cifar-resnet50", 3, 32),
    "resnet<depth>x4": ("resnet8x4", 3, 32),
    "bottleneck<depth>": ("bottleneck50", 3, 32),
    "resnext<depth>": ("resnext29", 3, 32),
    "vgg<layers>": ("vgg8", 3, 32),
    "cifar-vgg<layers>": ("cifar-vgg16", 3, 32),
    "mobilenetv2": ("mobilenetv2", 3, 32),
    "shufflenetv1": ("shufflenetv1", 3, 32),
    "shufflenetv2": ("shufflenetv2", 3, 32),
    "resnet-blocks": ("resnet-blocks", 3, 32),
    "wrn-<depth>-<width>": ("wrn-10-1", 3, 32),
    "plain<layers>": ("plain2", 3, 32),
    "fitnet<which>": ("fitnet1", 3, 32),
    "fitnet-<budget>-<layers>": ("fitnet-30m-7", 3, 32),
    "fitnet-mnist": ("fitnet-mnist", 1, 28),
    "maxout-cifar": ("maxout-cifar", 3, 32),
    "maxout-svhn": ("maxout-svhn", 3, 32),
    "maxout-mnist": ("maxout-mnist", 1, 28),
    "aflw-teacher": ("aflw-teacher", 3, 16),
    "aflw-fitnet<which>": ("aflw-fitnet1", 3, 16),
}


OF_OTHER_TASKS = {
    "text-encoder",
    "complex",
    "distmult",
    "rotate",
    "transe",
    "unet",
    "pillars",
    "fcos",
}  # texts, triples, masks, boxes


def test_every_family_has_an_example_here():
    assert set(ONE_OF_EACH) == {name for name, _ in names() if ":" not in name} - OF_OTHER_TASKS
    assert all(about for _, about in names())


@pytest.mark.parametrize(("name", "channels", "size"), ONE_OF_EACH.values())
def test_every_family_builds_and_takes_what_the_data_are(name, channels, size):
    with torch.device("meta"):
        build(name)(torch.empty(1, channels, size, size, device="meta"))
        network = build(name, classes=7, channels=2, size=size)
    assert network(torch.empty(3, 2, size, size, device="meta")).shape == (3, 7)


def test_a_spec_survives_json_and_builds_the_same():
    spec = NetworkSpec("resnet8", {"widths": [4, 6, 8], "shortcut": "A"})
    again = NetworkSpec(**json.loads(json.dumps(spec.__dict__)))
    assert again == spec
    network = again.build(classes=3, channels=1, size=28)
    spec.build(classes=3, channels=1, size=28).load_state_dict(network.state_dict())
    assert str(spec) == "resnet8, widths=[4, 6, 8], shortcut=A"


def test_a_specs_own_settings_go_before_what_the_data_are():
    assert NetworkSpec("resnet8", {"classes": 5}).build(classes=3).linear.out_features == 5


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("resnt20", {}, "did you mean 'resnet<depth>'"),
        ("fitnet-cifar", {}, "did you mean"),
        ("resnet20", {"width": [1, 2, 3]}, "no setting 'width'; did you mean 'widths'"),
        ("resnet20", {"shortcut": "C"}, "shortcut = 'C': input should be 'A' or 'B'"),
        ("resnet20", {"widths": "wide"}, "widths = 'wide'"),
        ("resnetten", {}, "depth = 'ten'"),
        ("fitnet-5m-7", {}, "budget = '5m'"),
        ("resnet20", {"classes": 0}, "classes is a number above 0"),
    ],
)
def test_mistakes(name, settings, words):
    with pytest.raises(UserError, match=words):
        build(name, **settings)


@pytest.fixture
def own_code(tmp_path, monkeypatch):
    """A module of the user's in the current directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mynets_xyz.py").write_text(
        "import os\n"
        "from os import system\n"
        "from torch import nn\n"
        "def small(width=3): return nn.Linear(width, 2)\n"
        "def head(classes): return nn.Linear(3, classes)\n"
        "def number(): return 3\n"
        "def broken(): return nn.Linear('three', 2)\n"
    )
    (tmp_path / "broken_xyz.py").write_text("import no_such_package_xyz\n")
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", str(tmp_path))])
    yield
    sys.modules.pop("mynets_xyz", None)


@pytest.mark.usefixtures("own_code")
class TestOwnCode:
    @pytest.mark.parametrize("name", ["mynets_xyz:small", "python:mynets_xyz:small"])
    def test_is_built_with_the_settings_given_and_no_others(self, name):
        path = list(sys.path)
        network = NetworkSpec(name, {"width": 5}).build(classes=10, channels=3, size=32, trusted=["mynets_xyz"])
        assert isinstance(network, nn.Linear)
        assert (network.in_features, network.out_features) == (5, 2)
        assert sys.path == path

    def test_is_not_imported_unless_trusted(self):
        with pytest.raises(UserError, match="add: --trust mynets_xyz"):
            build("mynets_xyz:small")
        with pytest.raises(UserError, match="--trust"):
            build("mynets_xyz:small", trusted=["mynets", "torch"])
        assert "mynets_xyz" not in sys.modules

    def test_a_description_cannot_trust_itself(self):
        with pytest.raises(UserError, match="cannot say which code is trusted"):
            NetworkSpec("mynets_xyz:small", {"trusted": ["mynets_xyz"]})

    def test_what_a_trusted_module_imports_is_not_trusted(self):
        with pytest.raises(UserError, match=r"comes from the module '(posix|nt)'"):
            build("mynets_xyz:system", trusted=["mynets_xyz"], command="true")
        with pytest.raises(UserError, match="MODULE:FACTORY"):
            build("mynets_xyz:os.system", trusted=["mynets_xyz"], command="true")

    @pytest.mark.parametrize(
        ("name", "settings", "words"),
        [
            ("mynets_xyz:smal", {}, "no factory 'smal'; did you mean 'small'"),
            ("mynets_xyz:number", {}, "answers with int"),
            ("mynets_xyz:broken", {}, "TypeError"),
            ("mynets_xyz:small", {"depth": 3}, r"unexpected keyword argument 'depth': .* its arguments: \['width'\]"),
            ("mynets_xyz:head", {}, r"missing a required argument: 'classes': it is called with the settings"),
            ("absent_xyz:small", {}, "no module 'absent_xyz'"),
            ("broken_xyz:small", {}, r"No module named 'no_such_package_xyz' \(.*broken_xyz.py, line 1"),
            ("mynets_xyz:", {}, "MODULE:FACTORY"),
        ],
    )
    def test_mistakes(self, name, settings, words):
        with pytest.raises(UserError, match=words):
            build(name, trusted=["mynets_xyz", "absent_xyz", "broken_xyz"], **settings)

    def test_trust_in_a_package_covers_what_is_below_it(self):
        assert isinstance(build("torch.nn:Linear", trusted=["torch"], in_features=2, out_features=3), nn.Linear)


@pytest.fixture
def libraries(monkeypatch):
    """Stand-ins for timm and torchvision that record how they are asked."""
    calls = []

    def make(name, **settings):
        calls.append((name, settings))
        return nn.Identity()

    timm = types.ModuleType("timm")
    timm.get_pretrained_cfg = lambda name: types.SimpleNamespace(fixed_input_size=name.startswith("vit"))
    timm.create_model, timm.list_models = make, lambda: ["resnet18", "vit_tiny"]
    timm.is_model = lambda name: name in timm.list_models()
    models = types.ModuleType("torchvision.models")
    models.get_model, models.list_models = make, lambda module: ["resnet18", "vgg11"]
    torchvision = types.ModuleType("torchvision")
    torchvision.models = models
    for module in (timm, torchvision, models):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return calls


def test_timm(libraries):
    build("timm:vit_tiny", classes=10, channels=1, size=32)
    expected = {"pretrained": False, "num_classes": 10, "in_chans": 1, "img_size": 32}
    assert libraries == [("vit_tiny", expected)]


def test_torchvision(libraries):
    build("torchvision:vgg11", classes=10, channels=3)
    assert libraries == [("vgg11", {"weights": None, "num_classes": 10})]
    with pytest.raises(UserError, match="take 3 channels"):
        build("torchvision:vgg11", channels=1)


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("timm:resnet19", {}, "did you mean 'resnet18'"),
        ("timm:hf-hub:someone/resnet18", {}, "timm has no network"),
        ("timm:resnet18", {"pretrained": True}, "'pretrained' is not taken"),
        ("timm:resnet18", {"checkpoint_path": "a.pth"}, "'checkpoint_path' is not taken"),
        ("timm:resnet18", {"pretrained_cfg_overlay": {}}, "is not taken"),
        ("torchvision:vgg12", {}, "did you mean 'vgg11'"),
        ("torchvision:vgg11", {"weights": "DEFAULT"}, "'weights' is not taken"),
    ],
)
@pytest.mark.usefixtures("libraries")
def test_what_libraries_are_not_asked(name, settings, words):
    with pytest.raises(UserError, match=words):
        build(name, **settings)


@pytest.mark.parametrize("package", ["timm", "torchvision"])
def test_a_library_that_is_not_there(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(OptionalPackageError, match=rf"pip install 'understudy\[{package}\]'"):
        build(f"{package}:resnet18")


@pytest.mark.parametrize("depth", [50, 152])
def test_a_name_of_imagenets_networks_is_no_cifar_network(depth):
    with pytest.raises(UserError, match=rf"torchvision:resnet{depth} .* cifar-resnet{depth}$"):
        build(f"resnet{depth}")
    build(f"cifar-resnet{depth}")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("restnet20", "no network is called 'restnet20'; did you mean 'resnet<depth>'"),
        ("wnr-16-2", "did you mean 'wrn-<depth>-<width>'?"),
        ("runs/none", "there is no folder 'runs/none', and no network is called 'runs/none' either"),
    ],
)
def test_a_name_that_is_not_there_is_told_with_the_nearest(name, said):
    with pytest.raises(UserError, match=re.escape(said)):
        build(name)
