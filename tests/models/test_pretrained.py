"""Trained weights of libraries, their own preprocessing, heads of another size, and images at several resolutions."""

import json
import sys
import types

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import nn

import understudy
from tests.libraries import timm as timm
from understudy.errors import UserError
from understudy.models import Normalized, build, preprocessing_from
from understudy.models.library_weights import InputConfig, input_config, pretrained, unlike_its_weights
from understudy.models.weights import Head, begin_with, take_off
from understudy.report import write_report

TIMMS = InputConfig("tiny.a", (0.4, 0.5, 0.6), (0.25, 0.25, 0.25), 12, "bicubic", tuple("01234"))


@pytest.mark.usefixtures("timm")
class TestTimm:
    def test_its_configuration_is_the_preprocessing(self):
        assert input_config("timm:tiny") == TIMMS
        assert input_config("timm:tiny", "b").weights == "tiny.b"
        network = pretrained("timm:tiny")
        assert network.describe() == {
            "front": "normalized", "mean": [0.4, 0.5, 0.6], "std": [0.25] * 3, "size": 12, "interpolation": "bicubic",
        }  # fmt: skip
        assert network(torch.rand(2, 3, 8, 8)).shape == (2, 5)
        assert network.module.sizes == [(12, 12)]

    def test_one_channel_has_the_mean_of_three(self):
        assert pretrained("timm:tiny", channels=1).describe()["mean"] == [0.5]
        with pytest.raises(UserError, match="trained on images of 3 channels, and these have 2"):
            pretrained("timm:tiny", channels=2)

    def test_the_same_weights_each_time_but_for_a_head_of_another_size(self):
        whole = pretrained("timm:tiny")
        with pytest.warns(UserWarning, match=r"timm:tiny: left out.*classifier.weight \(5 for 3\), classifier.bias"):
            student = pretrained("timm:tiny", classes=3)
        assert student(torch.rand(1, 3, 8, 8)).shape == (1, 3)
        assert torch.equal(student.module.conv_stem.weight, whole.module.conv_stem.weight)
        assert not torch.equal(student.module.conv_stem.weight, pretrained("timm:tiny", "b").module.conv_stem.weight)

    @pytest.mark.parametrize(
        ("name", "which", "words"),
        [
            ("timm:bare", True, "no trained weights of 'bare'"),
            ("timm:tiny", "c", "no trained weights of 'tiny.c'; did you mean"),
            ("timm:tinny", True, "no trained weights of 'tinny'"),
            ("resnet8", True, "pretrained weights come from timm, torchvision and transformers"),
        ],
    )
    def test_mistakes(self, name, which, words):
        with pytest.raises(UserError, match=words):
            pretrained(name, which)

    @pytest.mark.parametrize(
        ("failure", "words"),
        [
            (ConnectionError("no route"), r"not in the cache of timm, and cannot be fetched \(ConnectionError: no rou"),
            (RuntimeError("size mismatch\nfor conv"), "RuntimeError: size mismatch"),
        ],
    )
    def test_what_cannot_be_fetched_is_one_line(self, timm, failure, words):
        timm.FAILURE.append(failure)
        with pytest.raises(UserError, match=words) as caught:
            pretrained("timm:tiny")
        assert "\n" not in str(caught.value) or "size mismatch" in words

    def test_weights_that_hold_code_are_refused(self, timm, tmp_path, monkeypatch):
        class Code:
            def __reduce__(self):
                return print, ("executed",)

        torch.save({"state_dict": Code()}, tmp_path / "evil.pth")
        read = lambda *args, **settings: torch.load(tmp_path / "evil.pth", weights_only=False)  # noqa: E731
        monkeypatch.setattr(timm, "create_model", read)
        with pytest.raises(UserError, match="Weights only load failed"):
            pretrained("timm:tiny")

    def test_a_teacher_with_other_numbers_than_its_own_is_told(self):
        images, own = torch.rand(2, 3, 8, 8), pretrained("timm:tiny")
        assert unlike_its_weights(own, images) is None
        assert "with mean 0 0 0, std 1 1 1, and its library's weights 'tiny.a' were trained with mean 0.4" in str(
            unlike_its_weights(own.module, images)
        )
        assert unlike_its_weights(own.module, images - 0.5) is None  # normalised by the data set
        assert unlike_its_weights(Normalized(own.module, [0.4] * 3, [0.25] * 3), images)
        assert unlike_its_weights(build("resnet8"), images) is None


def test_torchvision(monkeypatch):
    weights = types.SimpleNamespace(
        name="V1",
        meta={"categories": list("abcd")},
        transforms=lambda: types.SimpleNamespace(
            mean=[0.1] * 3, std=[0.2] * 3, crop_size=[16], interpolation=types.SimpleNamespace(value="bilinear")
        ),
    )
    calls = []

    def get_model(name, **settings):
        calls.append(settings)
        return nn.Sequential(nn.Flatten(), nn.Linear(768, settings.get("num_classes", 4)))

    models = types.ModuleType("torchvision.models")
    models.list_models = lambda module: ["vgg11"]
    models.get_model, models.get_model_weights = (
        get_model,
        lambda name: types.SimpleNamespace(__members__={"V1": weights, "DEFAULT": weights}),
    )
    torchvision = types.ModuleType("torchvision")
    torchvision.models = models
    for module in (torchvision, models):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    assert input_config("torchvision:vgg11") == InputConfig(
        "vgg11.V1", (0.1,) * 3, (0.2,) * 3, 16, "bilinear", tuple("abcd")
    )
    assert pretrained("torchvision:vgg11")(torch.rand(1, 3, 8, 8)).shape == (1, 4)
    assert calls == [{"weights": "DEFAULT", "progress": False}]
    with pytest.raises(UserError, match=r"no weights 'V2' of 'vgg11'"):
        pretrained("torchvision:vgg11", "V2")
    input_config.cache_clear()


def test_transformers(tmp_path):
    transformers = pytest.importorskip("transformers")
    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.ViTConfig(**small, image_size=8, patch_size=4, num_labels=3)
    there = transformers.ViTForImageClassification(config)
    there.save_pretrained(tmp_path)
    processor = {"image_mean": [0.5] * 3, "image_std": [0.25] * 3, "size": {"height": 8, "width": 8}, "resample": 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))
    network, images = pretrained("transformers:vit", str(tmp_path)), torch.rand(2, 3, 8, 8)
    assert network.describe() == {
        "front": "normalized", "mean": [0.5] * 3, "std": [0.25] * 3, "size": 8, "interpolation": "bicubic",
    }  # fmt: skip
    with torch.no_grad():
        expected = there.eval()((images - 0.5) / 0.25).logits
        torch.testing.assert_close(network.eval()(images).logits, expected)
    with pytest.warns(UserWarning, match=r"classifier.weight \(3 for 2\)"):
        other = pretrained("transformers:vit", str(tmp_path), classes=2)
    assert other(images).logits.shape == (2, 2)
    with pytest.raises(UserError, match="say whose weights"):
        pretrained("transformers:vit")
    with pytest.raises(UserError, match="of the type 'vit': write transformers:vit"):
        pretrained("transformers:deit", str(tmp_path))


LAYERS = {"body": nn.Linear(4, 4), "head": nn.Linear(4, 4)}


@pytest.mark.parametrize(
    ("weights", "head"),
    [
        ({"body": nn.Linear(4, 4), "head": nn.Linear(4, 4)}, None),
        ({"body": nn.Linear(4, 4), "head": nn.Linear(4, 9)}, Head(("head.weight", "head.bias"), 4, 9)),
        ({"body": nn.Linear(4, 4)}, Head(("head.weight", "head.bias"), 4, None)),
    ],
)
def test_a_network_begins_with_all_but_a_head_of_another_size(weights, head):
    network, state = nn.ModuleDict(LAYERS), nn.ModuleDict(weights).state_dict()
    fresh = network["head"].weight.clone()
    assert begin_with(network, {f"module.{name}": value for name, value in state.items()}, "x.pt", outputs=4) == head
    assert torch.equal(network["body"].weight, state["body.weight"])
    assert torch.equal(network["head"].weight, fresh if head else state["head.weight"])


def test_weights_of_a_body_are_those_of_the_module_that_it_is():
    body = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
    network = nn.ModuleDict({"body": nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)), "head": nn.Linear(4, 4)})
    state = {**body.state_dict(), "position_ids": torch.arange(5)}  # as older versions stored beside the parameters
    assert begin_with(network, state, "x.pt", outputs=4) == Head(("head.weight", "head.bias"), 4, None)
    assert torch.equal(network["body"][0].weight, body[0].weight)
    with pytest.raises(UserError, match=r"x\.pt does not fit ModuleDict"):
        begin_with(network, {**state, "2.weight": torch.zeros(4)}, "x.pt", outputs=4)


@pytest.mark.parametrize(
    "weights",
    [
        {"head": nn.Linear(4, 4)},  # a body is missing, which has as many rows as there are classes
        {"body": nn.Linear(5, 4), "head": nn.Linear(4, 9)},
        {"body": nn.Linear(4, 4), "head": nn.Linear(4, 9), "more": nn.Linear(1, 1)},
        {"body": nn.Linear(4, 7), "head": nn.Linear(4, 9)},
    ],
)
def test_anything_else_that_differs_is_a_mistake(weights):
    with pytest.raises(UserError, match=r"x\.pt does not fit ModuleDict"):
        begin_with(nn.ModuleDict(LAYERS), nn.ModuleDict(weights).state_dict(), "x.pt", outputs=4)


def test_a_network_without_weights_of_its_head_ends_before_it():
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    take_off(network, Head(("1.weight", "1.bias"), 2, None))
    assert network(torch.rand(3, 4)).shape == (3, 4)


class TestResizing:
    @pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
    def test_is_that_of_torch_with_antialiasing(self, interpolation):
        images = torch.rand(2, 3, 9, 9)
        network = Normalized(nn.Identity(), [0.0] * 3, [1.0] * 3, size=4, interpolation=interpolation)
        mode = {"mode": "nearest-exact"} if interpolation == "nearest" else {"mode": interpolation, "antialias": True}
        assert torch.equal(network(images), F.interpolate(images, size=(4, 4), **mode))
        assert torch.equal(network(images[..., :4, :4]), images[..., :4, :4])

    def test_is_described_and_made_again(self):
        network = Normalized(nn.Identity(), [0.5], [0.25], size=4)
        again = preprocessing_from(network.describe(), nn.Identity())
        assert again.describe() == network.describe()
        assert "size=4, interpolation=bilinear" in repr(again)
        assert "size" not in Normalized(nn.Identity(), [0.5], [0.25]).describe()

    @pytest.mark.parametrize(("size", "how"), [(0, "bilinear"), (2.5, "bilinear"), (10**6, "bilinear"), (4, "lanczos")])
    def test_mistakes(self, size, how):
        with pytest.raises(UserError, match=r"size is the side|resized by one of"):
            Normalized(nn.Identity(), [0.5], [0.25], size=size, interpolation=how)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    def test_in_other_precisions(self, dtype):
        images = torch.rand(1, 3, 8, 8, dtype=dtype)
        assert Normalized(nn.Conv2d(3, 2, 1).to(dtype), [0.5] * 3, [0.25] * 3, size=4).prepared(images).dtype == dtype


FOLDER = """
seeds = [0, 1]
[data]
name = "folder"
root = "pictures"
size = 8
validation = 15
[teacher]
network = "timm:tiny"
pretrained = true
[student]
network = "resnet8"
settings = { widths = [4, 4, 4] }
size = 6
[train]
epochs = 1
batch = 15
[settings]
threads = 1
[methods.rkd]
"""
STUDENT = 'network = "resnet8"\nsettings = { widths = [4, 4, 4] }\nsize = 6'


@pytest.mark.usefixtures("timm")
class TestRecipes:
    def test_a_teacher_of_other_classes_and_size_teaches_by_hidden_values(self, make_run, tmp_path):
        run = make_run(text=FOLDER)
        findings = [f"{finding.level} {finding.subject}: {finding.text}" for finding in run.check()]
        said = "\n".join(findings)
        assert "ok teacher: has the weights tiny.a" in said
        assert "ok teacher: its images come with mean 0.4 0.5 0.6, std 0.25 0.25 0.25, 12 x 12, bicubic" in said
        assert "warning teacher: it answers with shape (5,), the data have 3 classes: it can teach" in said
        assert not [line for line in findings if line.startswith("error")]
        result = run.execute()
        assert result.teacher is None
        assert result.networks["teacher"].network == "timm:tiny, pretrained=True, size=12"
        assert "teacher: has the weights tiny.a" in result.notes
        student = understudy.load(tmp_path / "run")
        assert student.size == 6
        assert student(torch.rand(2, 3, 8, 8)).shape == (2, 3)
        assert write_report(tmp_path / "run").exists()

    @pytest.mark.parametrize("method", ["kd", "simkd"])
    def test_its_scores_are_refused_to_methods_that_read_them(self, make_run, method):
        run = make_run(text=FOLDER.replace("[methods.rkd]", f"[methods.{method}]"))
        with pytest.raises(UserError, match=rf"method '{method}': it .* \(5,\), the data have 3 classes"):
            run.execute()

    def test_stored_answers_are_those_of_its_own_resolution(self, make_run, tmp_path, asked):
        weights, answers = tmp_path / "three.safetensors", tmp_path / "answers"
        safetensors.torch.save_file(build("timm:tiny", classes=3).state_dict(), weights)
        teacher = f'weights = "{weights}"\nsize = 12\naccept_weak = true'
        text = FOLDER.replace("seeds = [0, 1]", "seeds = [0]").replace("pretrained = true", teacher)
        text = text.replace("[methods.rkd]", f'[answers]\nviews = 1\nfolder = "{answers}"\n[methods.kd]')
        counts = []
        for number, size in enumerate((12, 12, 10)):
            asked.clear()
            make_run(text=text.replace("size = 12", f"size = {size}"), out=tmp_path / f"run{number}").execute()
            counts.append(sum(asked))
        assert counts[0] == counts[2]  # the answers at 12 x 12 are none of a teacher at 10 x 10
        assert counts[1] < counts[0]

    def test_pretrained_then_trained_then_a_teacher_and_a_student_of_another_head(self, make_run, tmp_path):
        text = FOLDER.replace("pretrained = true", "pretrained = true\ntrain = {}\naccept_weak = true").replace(
            'network = "resnet8"\nsettings = { widths = [4, 4, 4] }\nsize = 6',
            'network = "timm:tiny"\npretrained = "b"',
        )
        text = text.replace("[methods.rkd]", "[methods.kd]")
        run = make_run(text=text)
        said = "\n".join(f"{finding.subject}: {finding.text}" for finding in run.check())
        for name, weights in (("teacher", "tiny.a"), ("student", "tiny.b")):
            assert f"{name}: begins with the weights {weights}; left out, for a head of another size: c" in said
        assert "student: each seed begins with the same weights" in said
        networks = [run.builder.network(run.recipe.student, seed, "student").module for seed in (0, 1)]
        assert torch.equal(networks[0].conv_stem.weight, networks[1].conv_stem.weight)
        assert not torch.equal(networks[0].classifier.weight, networks[1].classifier.weight)
        result = run.execute()
        assert result.teacher is not None
        assert understudy.load(tmp_path / "run")(torch.rand(2, 3, 8, 8)).shape == (2, 3)

    def test_it_answers_for_data_without_labels(self, make_run, workplace, tmp_path):
        for number, image in enumerate(sorted((workplace / "pictures/train/a").iterdir())):
            (tmp_path / "unsorted").mkdir(exist_ok=True)
            (tmp_path / "unsorted" / f"{number}.png").write_bytes(image.read_bytes())
        text = FOLDER.replace('"pictures"', f'"{tmp_path / "unsorted"}"').replace("validation = 15", "validation = 4")
        text = text.replace("pretrained = true", "pretrained = true\naccept_weak = true").replace(
            "[methods.rkd]", "[methods.kd]"
        )
        run = make_run(text=text)
        assert run.builder.data.task.outputs == 5
        assert not [finding.text for finding in run.check() if finding.level == "error"]

    def test_keys_know_the_weights(self, make_run, timm, tmp_path):
        text = FOLDER.replace(
            'network = "resnet8"\nsettings = { widths = [4, 4, 4] }\nsize = 6', 'network = "timm:tiny"'
        )
        plain, own, other = (
            make_run(text=text.replace('"timm:tiny"\n[train]', f'"timm:tiny"\n{more}\n[train]'), out=tmp_path / name)
            for name, more in (("a", ""), ("b", "pretrained = true"), ("c", 'pretrained = "b"'))
        )
        keys = [run.execution.key("rkd-0") for run in (plain, own, other)]
        assert len(set(keys)) == 3
        timm.WEIGHTS["tiny.b"] = 0.5  # the library's weights have changed
        changed = make_run(text=text.replace('"timm:tiny"\n[train]', '"timm:tiny"\npretrained = "b"\n[train]'))
        assert changed.execution.key("rkd-0") != keys[2]

    def test_weights_of_a_file_with_the_librarys_preprocessing(self, make_run, tmp_path):
        weights = tmp_path / "mine.safetensors"
        safetensors.torch.save_file(build("timm:tiny", classes=7).state_dict(), weights)
        text = FOLDER.replace("pretrained = true", f'pretrained = true\nweights = "{weights}"')
        teacher = make_run(text=text).teachers(0)["teacher"]
        assert teacher.size == 12
        assert teacher(torch.rand(1, 3, 8, 8)).shape == (1, 7)
        (warning,) = [
            finding
            for finding in make_run(text=text.replace("pretrained = true", "")).check()
            if finding.subject == "teacher's inputs"
        ]
        assert "and its library's weights 'tiny.a' were trained with mean 0.4 0.5 0.6" in warning.text

    @pytest.mark.parametrize(
        ("old", "new", "words"),
        [
            ("size = 6", "pretrained = true", r"student.pretrained: trained weights come with networks of timm"),
            ("size = 6", "size = 0", r"student.size: Input should be greater than or equal to 1"),
            ("size = 6", 'interpolation = "bicubic"', "'interpolation' is how images are resized: give 'size', too"),
            ("size = 6", 'prefix = "x."', "'prefix' is of the names in a file"),
            (
                "size = 6",
                'weights = "x.pt"\nfrom_teacher = { layers = [0] }',
                "student.from_teacher: the student starts from layers of its teacher or from weights of its own",
            ),
            ("validation = 15", "validation = 15\nwhiten = true", "student.size: data.whiten takes the place"),
            ("pretrained = true", 'pretrained = "c"', "no trained weights of 'tiny.c'"),
        ],
    )
    def test_mistakes(self, make_run, old, new, words):
        with pytest.raises(UserError, match=words):
            list(make_run(text=FOLDER.replace(old, new)).check())
