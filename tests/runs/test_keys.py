"""Keys: two spellings of the same training have one, and whatever matters gives another."""

import importlib
import json
import shutil
import sys
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.data import content, pictures
from understudy.data.pictures import Form
from understudy.data.sets.folder import Images
from understudy.data.sources import Streamed
from understudy.errors import UserError
from understudy.methods import METHODS
from understudy.models import build
from understudy.plans import Given, Node
from understudy.plans.key import canonical
from understudy.plans.own_code import code_of, own_files, source_of
from understudy.plans.training import Builders, TrainedTeacher
from understudy.plans.training import key as training_key
from understudy.recipe.schema import NetworkTable
from understudy.terms import CE, KD, Hint

CONFIG = {"epochs": 3, "batch": 10, "optimizer": {"name": "sgd", "lr": 0.1}}
TEACHER = TrainedTeacher(network=NetworkTable(network="resnet8"), folder="anywhere", key="k")


@pytest.fixture(scope="module")
def builders():
    return Builders(trusted=["smallnets"])


@pytest.fixture
def key(builders, workplace):
    """The key of a node like the plainest one, but for what is said."""

    def key(teachers=(TEACHER,), data=None, **changes):
        data = {"name": "folder", "root": "pictures", "size": 8, "validation": 15} | (data or {})
        told = {"network": {"network": "resnet8"}, "method": "kd", "config": CONFIG, "arithmetic": {"threads": 1}}
        node = Node.model_validate({"name": "n", **told, "data": data, **changes})
        return training_key(node, tuple(teachers), builders.of(node.data))

    return key


@pytest.fixture(scope="module")
def elsewhere(_workplace, tmp_path_factory):
    folder = tmp_path_factory.mktemp("elsewhere")
    shutil.copytree(_workplace / "pictures", folder / "copy")
    shutil.copytree(_workplace / "pictures", folder / "changed")
    one, other = sorted((folder / "changed/train/a").iterdir())[:2]
    one.write_bytes(other.read_bytes())
    return folder


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, {"name": "another name"}),
        ({}, {"method": "takd"}),  # whose last stage is kd's
        ({}, {"network": {"network": "resnet8", "settings": {"shortcut": "B", "widths": [16.0, 32, 64]}}}),
        ({}, {"settings": {"temperature": 4, "label_weight": 0.1}}),
        ({"settings": {"temperature": 2}}, {"settings": {"temperature": 2.0}}),
        ({}, {"config": CONFIG | {"schedule": {"name": "cosine"}, "keep": "best"}}),
        ({}, {"config": CONFIG | {"optimizer": {"name": "sgd", "lr": 1e-1, "momentum": 0.9}}}),
        ({}, {"data": {"validation": 0.25}}),  # 15 of 60
        ({}, {"data": {"workers": 7}}),
        ({}, {"data": {"root": "{elsewhere}/copy"}}),
        ({}, {"accept_weak": True}),
        ({"answers": {"views": 2}}, {"answers": {"views": 2, "folder": "elsewhere", "fill": False}}),
        ({}, {"arithmetic": {"threads": 1, "device": "cpu"}}),
        ({}, {"arithmetic": {"threads": 1, "teacher_precision": "float32"}}),
        ({}, {"teachers": [TEACHER.model_copy(update={"folder": "elsewhere"})]}),
        (
            {"method": "fitnets", "settings": {"pair": "layer1->layer1", "hint_epochs": 1}},
            {"method": "fitnets", "settings": {"pair": " layer1:output ->  layer1", "hint_epochs": 1}},
        ),
        (
            {"method": "terms", "settings": {"terms": "CE() + 0.5*KD(2)"}},
            {"method": "terms", "settings": {"terms": "CE + KD(temperature=2.0) * 0.5"}},
        ),
    ],
)
def test_two_spellings_of_the_same_have_one_key(key, elsewhere, one, other):
    if "root" in other.get("data", {}):
        other = {"data": {"root": other["data"]["root"].format(elsewhere=elsewhere)}}
    assert key(**one) == key(**other)


def test_another_processor_is_another_key(key, monkeypatch):
    here = key()
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    limited = key()
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "DEFAULT")
    assert len({here, limited, key()}) == 3


DIFFERENT = [
    {},
    {"network": {"network": "resnet14"}},
    {"network": {"network": "resnet8", "settings": {"widths": [4, 4, 4]}}},
    {"network": {"network": "resnet8", "mean": [0, 0, 0], "std": [1, 1, 1]}},
    {"network": {"network": "smallnets:student"}},
    {"role": "teacher"},
    {"seed": 1},
    {"method": "alone", "teachers": ()},
    {"settings": {"temperature": 4.0000001}},
    {"settings": {"label_weight": 0}},
    {"method": "simkd"},
    {"method": "simkd", "settings": {"factor": 4}},
    {"method": "terms", "settings": {"terms": "CE() + KD(4)"}},
    {"config": CONFIG | {"epochs": 4}},
    {"config": CONFIG | {"batch": 11}},
    {"config": CONFIG | {"keep": "last"}},
    {"config": CONFIG | {"augmentation": {"flip": True}}},
    {"config": CONFIG | {"ema": 0.9}},
    {"config": CONFIG | {"optimizer": {"name": "sgd", "lr": 0.2}}},
    {"config": CONFIG | {"optimizer": {"name": "adamw", "lr": 0.1}}},
    {"config": CONFIG | {"max_norm": {"conv*": 1}}},
    {"data": {"root": "{elsewhere}/changed"}},
    {"data": {"validation": 14}},
    {"data": {"size": 9}},
    {"data": {"student_samples": 20}},
    {"data": {"whiten": True}},
    {"data": {"whiten": "local"}},
    {"arithmetic": {"threads": 2}},
    {"arithmetic": {"threads": 1, "precision": "bfloat16"}},
    {"arithmetic": {"threads": 1, "teacher_precision": "bfloat16"}},
    {"arithmetic": {"threads": 1, "channels_last": False}},
    {"teachers": [TEACHER.model_copy(update={"key": "another"})]},
    {"teachers": [TEACHER.model_copy(update={"network": NetworkTable(network="resnet14")})]},
    {"teachers": [TEACHER, TEACHER]},
    {"arithmetic": {"threads": 1, "teacher": "plain"}},
    {"balance": True},
    {"answers": {"views": 2}},
    {"answers": {"views": 2, "top": 2}},
    {"teachers": [Given(network="resnet8", weights="teacher.safetensors")]},
    {"teachers": [Given(network="resnet8", weights="teacher.safetensors", prefix="module.")]},
    {"teachers": [Given(network="resnet8", weights="recipe.toml")]},
]


def test_whatever_matters_gives_another_key(key, elsewhere, monkeypatch):
    found = {}
    for changes in DIFFERENT:
        if "root" in changes.get("data", {}):
            changes = {"data": {"root": changes["data"]["root"].format(elsewhere=elsewhere)}}
        found.setdefault(key(**changes), []).append(changes)
    assert [same for same in found.values() if len(same) > 1] == []
    monkeypatch.setattr(torch, "__version__", "9.9.9")
    assert key() not in found


def test_a_file_of_weights_counts_by_its_content(key, tmp_path, workplace):
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes((workplace / "teacher.safetensors").read_bytes())
    given = [Given(network="resnet8", weights=name) for name in ("teacher.safetensors", str(copy))]
    assert key([given[0]]) == key([given[1]])
    copy.write_bytes(b"something else")
    assert key([given[0]]) != key([given[1]])
    with pytest.raises(UserError, match="no weights file"):
        key([Given(network="resnet8", weights="none.pt")])


def test_the_teachers_that_answer_for_data_without_labels_count(key, tmp_path):
    """Their answers for the validation part select an epoch, also of a training that another teacher teaches."""
    for seed, name in enumerate(("one", "other")):
        torch.manual_seed(seed)
        save_file(build("resnet8", classes=3, channels=3).state_dict(), tmp_path / f"{name}.safetensors")
    shutil.copy(tmp_path / "one.safetensors", tmp_path / "same.safetensors")

    def answered(path):
        table = {"network": "resnet8", "weights": str(path)}
        return key(data={"task": {"name": "unlabelled", "classes": 3}, "answered_by": [table]})

    one = answered(tmp_path / "one.safetensors")
    assert answered(tmp_path / "same.safetensors") == one != answered(tmp_path / "other.safetensors")


def test_samples_without_labels_count_by_their_content(key, tmp_path, workplace):
    more = {}
    for name in ("one", "same", "other"):
        (tmp_path / name).mkdir()
        for number, file in enumerate(sorted((workplace / "pictures/test").rglob("*.png"))[name == "other" :][:6]):
            shutil.copy(file, tmp_path / name / f"{number}.png")
        more[name] = key(data={"unlabelled": str(tmp_path / name)})
    assert more["one"] == more["same"] != more["other"]
    rest = [key(data={"unlabelled": True, "student_samples": count}) for count in (9, 12)]
    few = [key(data={"student_samples": count}) for count in (9, 12)]
    assert len({key(), more["one"], more["other"], *rest, *few}) == 7


values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None)
@given(values.filter(lambda value: "->" not in json.dumps(value)))
def test_what_is_plain_stays_what_it_is_but_for_how_it_is_spelled(value):
    told = canonical(value)
    assert told == value  # 4 equals 4.0
    assert json.dumps(canonical(json.loads(json.dumps(told)))) == json.dumps(told)


def test_a_term_is_told_with_every_digit_and_setting():
    told = [
        canonical([Stage("s", terms, TrainConfig())])
        for terms in (0.1 * CE(), (0.1 + 1e-15) * CE(), 0.1 * KD(), Hint("a -> b"))
    ]
    assert len({json.dumps(one) for one in told}) == 4
    assert canonical(Hint("a->b")) == canonical(Hint("a -> b"))
    assert canonical(replace(KD(), temperature=4)) == canonical(KD(4.0))
    with pytest.raises(TypeError, match="holds a function"):
        canonical([lambda: None])


def test_the_version_of_the_numerics_is_in_the_key(key, monkeypatch):
    before = key()
    monkeypatch.setattr("understudy.plans.key.NUMERICS", 0)
    assert key() != before


def test_terms_of_the_users_own_count_with_their_files(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "myterms.py").write_text("class Mine:\n    pass\n")
    import myterms

    before = code_of([myterms.Mine, CE, torch.nn.Linear])
    assert list(before) == ["myterms"]
    (tmp_path / "myterms.py").write_text("class Mine:\n    changed = True\n")
    assert code_of([myterms.Mine]) != before


def his_package(folder, version):
    """An installed package with a method: ``stages`` lies in one of its files, ``grafts`` in another one."""
    method = (
        "from functools import partial\n"
        "from his_package import grafts\n"
        "from understudy.methods import Method\n"
        "from understudy.methods.kd import METHOD as KD\n"
        "def stages(config, scale=1.0):\n    return KD(config)\n"
        "METHOD = Method('his', partial(stages, scale=2.0), 'k', 2020, 'p')\n"
        "GRAFTING = Method('hers', KD.stages, 'k', 2020, 'p', term=KD.term, grafts=grafts.graft)\n"
    )
    files = {
        "his_package/__init__.py": "",
        "his_package/grafts.py": "def graft(student, teacher, settings):\n    pass\n",
        "his_package/method.py": method,
        "his_package-1.dist-info/METADATA": f"Metadata-Version: 2.1\nName: his-package\nVersion: {version}\n",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.mark.parametrize("called", ["METHOD", "GRAFTING"])
def test_a_method_of_another_package_counts_with_its_files(tmp_path, monkeypatch, key, called):
    folder = tmp_path / "site-packages"
    his_package(folder, "1.0")
    monkeypatch.syspath_prepend(folder)
    method = getattr(importlib.import_module("his_package.method"), called)
    monkeypatch.setitem(METHODS._own, method.name, method)
    before = key(method=method.name)
    assert key(method=method.name) == before != key()
    his_package(folder, "2.0")
    assert key(method=method.name) == before  # the same code
    with (folder / "his_package/grafts.py").open("a") as file:
        file.write("# changed\n")
    assert key(method=method.name) != before
    for name in [name for name in sys.modules if name.partition(".")[0] == "his_package"]:
        del sys.modules[name]


def test_a_network_of_the_users_own_counts_with_its_source(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mynets").mkdir()
    (tmp_path / "mynets/__init__.py").touch()
    (tmp_path / "mynets/small.py").write_text("width = 1")
    (tmp_path / "single.py").write_text("width = 1")

    def versions():
        return [source_of(name) for name in ("mynets.small:make", "single:make")]

    before = versions()
    assert versions() == before
    (tmp_path / "mynets/small.py").write_text("width = 2")
    (tmp_path / "single.py").write_text("width = 2")
    assert not set(versions()) & set(before)


OWN = {  # file: what stands in it, and whether a change of it matters to netz:make
    "netz.py": ("import json, torch\nimport helpz\nfrom parts import deep\nimport understudy, odd", True),
    "helpz.py": ("def late():\n    from further import thing\nimport netz", True),  # a circle
    "further.py": ("thing = 1", True),
    "parts/__init__.py": ("", True),
    "parts/deep/__init__.py": ("from .inner import x", True),
    "parts/deep/inner.py": ("from .. import side\nfrom ...beyond import nothing\nx = 1", True),
    "parts/side.py": ("", True),
    "parts/unused.py": ("", False),
    "odd.py": ("this is (no Python", True),
    "unused.py": ("import helpz", False),
    "understudy/__init__.py": ("", False),
    "loose/net.py": ("from loose import beside", False),  # a package without __init__.py
    "loose/beside.py": ("", False),
}


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, (text, _) in OWN.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    def version(name="netz:make"):
        return source_of(name)

    return version


def test_a_network_of_the_users_own_counts_with_all_that_it_imports_from_beside_it(own, tmp_path):
    for name, (text, matters) in OWN.items():
        before = own()
        assert own() == before
        (tmp_path / name).write_text(f"{text}\n# changed")
        assert (own() != before) is matters, name


@pytest.mark.parametrize("module", ["loose.net", "parts.deep"])
def test_a_module_within_folders_counts_with_what_lies_beside_and_above_it(own, tmp_path, module):
    other = {"loose.net": "loose/beside.py", "parts.deep": "parts/side.py"}[module]
    before = own(f"{module}:make")
    (tmp_path / "netz.py").write_text("")
    assert own(f"{module}:make") == before
    (tmp_path / other).write_text("# changed")
    assert own(f"{module}:make") != before


def test_a_package_that_imports_by_names_made_as_it_runs_counts_whole(own, tmp_path):
    (tmp_path / "parts/side.py").write_text("import importlib\nimportlib.import_module(f'{__package__}.unused')")
    before = own()
    (tmp_path / "parts/unused.py").write_text("# changed")
    assert own() != before


def test_what_is_installed_counts_without_what_lies_beside_it(tmp_path, monkeypatch):
    folder = tmp_path / "site-packages"
    folder.mkdir()
    (folder / "fromafar.py").write_text("import beside_it")
    (folder / "beside_it.py").write_text("")
    monkeypatch.syspath_prepend(folder)
    assert own_files("fromafar") == [folder / "fromafar.py"]
    assert own_files("no_such_module") == own_files("sys") == []


def test_files_that_are_streamed_count_by_their_content_and_are_read_once(workplace, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    read = []
    file = pictures._file
    monkeypatch.setattr(pictures, "_file", lambda path: read.append(path) or file(path))
    folders = [tmp_path / "one", tmp_path / "other"]
    for folder in folders:
        shutil.copytree(workplace / "pictures/train", folder)

    def found(folder):
        paths = sorted(folder.rglob("*.png"))
        images = Images(paths, [0] * len(paths), Form((3, 8, 8)))
        return content.content(Streamed(images, torch.zeros(len(paths), dtype=torch.int64)))

    first = found(folders[0])
    assert len(read) == 60
    assert found(folders[0]) == first
    assert len(read) == 60
    assert found(folders[1]) == first
    changed = next(folders[1].rglob("*.png"))
    changed.write_bytes(changed.read_bytes() + b"x")
    assert found(folders[1]) != first
