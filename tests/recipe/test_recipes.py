"""Recipes: what is written is read again, and every mistake is told with file, line, key and the nearest right one."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy import recipe
from understudy.config.optimizers import SGD, AdamW, RMSProp
from understudy.config.schedules import Constant, Cosine, OneCycle, Step
from understudy.config.train import TrainConfig
from understudy.data import Augmentation
from understudy.errors import UserError
from understudy.methods import METHODS

START = '[data]\nname = "demo"\n[student]\nnetwork = "resnet8"\n'  # the next line is the 5th
TEACHER = '[teacher]\nnetwork = "resnet20"\nweights = "t.pt"\n'  # the next line is the 8th
RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))

share = st.floats(0.001, 0.999)
positive = st.floats(1e-6, 1e6)
configs = st.builds(
    TrainConfig,
    epochs=st.integers(2, 10**6),
    batch=st.integers(1, 10**6),
    optimizer=st.one_of(
        st.builds(SGD, lr=positive, momentum=share, nesterov=st.booleans()),
        st.builds(AdamW, lr=positive, betas=st.tuples(share, share)),
        st.builds(RMSProp, lr=positive, decay=share, floor=positive),
    ),
    schedule=st.one_of(
        st.builds(Cosine, floor=share),
        st.builds(OneCycle, peak=share),
        st.builds(Step, at=st.lists(positive, max_size=3).map(tuple), by=share),
        st.builds(Constant, warmup=positive),
    ),
    augmentation=st.builds(Augmentation, shift=st.integers(0, 9), flip=st.booleans(), mixup=positive),
    patience=st.none() | st.integers(1, 99),
    keep=st.sampled_from(["best", "last"]),
    ema=st.none() | share,
    lr_scale=st.dictionaries(st.sampled_from(["conv*", "*.bias", 'odd "name"']), positive),
)


@settings(max_examples=60, deadline=None)
@given(configs, st.text(max_size=20), st.lists(st.integers(0, 2**40), min_size=1, unique=True), share)
def test_a_recipe_that_is_written_reads_as_itself(config, title, seeds, validation):
    base = recipe.parse(START + TEACHER + "[methods.alone]\n[methods.kd]\ntemperature = 2\n[methods.fitnets]\n")
    methods = {name: table.model_copy(update={"train": config}) for name, table in base.methods.items()}
    data = base.data.model_copy(update={"validation": validation})
    found = base.model_copy(
        update={"title": title, "seeds": tuple(seeds), "train": config, "methods": methods, "data": data}
    )
    text = recipe.write(found)
    assert recipe.parse(text) == found
    assert recipe.write(recipe.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            TEACHER + '[methods.takd]\nassistants = [{ network = "plain4", setings = {} }]',
            "r.toml:9: methods.takd.assistants.0.setings: unknown key; did you mean 'settings', 'weights'?",
        ),
        (
            TEACHER + '[methods.takd]\nassistants = "autp"',
            "r.toml:9: methods.takd.assistants: Input should be a valid tuple, or 'auto' (it is 'autp')",
        ),
        (
            '[methods.alone]\ntrain.epochs = 2\n[teacher]\nnetwork = "plain4"\npretrained = 3',
            "r.toml:9: teacher.pretrained: Input should be a valid boolean, unable to interpret input, or a valid "
            "string (it is 3)",
        ),
    ],
)
def test_a_value_that_may_have_several_forms_is_told_in_one_line(text, said):
    with pytest.raises(UserError) as caught:
        recipe.parse(START + text, "r.toml")
    assert str(caught.value) == said


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_of_the_repository_is_right_and_resolves_to_itself(path):
    found = recipe.read(path)
    assert recipe.parse(recipe.write(found)) == found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[methods.alone]\n[train]\nepoch = 3", "r.toml:7: train.epoch: unknown key; did you mean 'epochs'"),
        ("[methods.alone]\n[trian]\nepochs = 3", "r.toml:6: trian: unknown key; did you mean 'train'"),
        ("[methods.alone]\n[train]\nlr = 3", "r.toml:7: train.lr: unknown key; did you mean 'optimizer.lr'"),
        ("[methods.alone]\n[train]\nwarmup = 3", "r.toml:7: train.warmup: unknown key; did you mean 'schedule.warmup'"),
        ("[methods.alone]\n[train]\nepochs = 0", "r.toml:7: train.epochs: Input should be greater than or equal to 1"),
        ('[methods.alone]\n[train]\nepochs = "many"', "r.toml:7: train.epochs: Input should be a valid integer"),
        ('[methods.alone]\n[train]\noptimizer = { name = "sdg" }', "r.toml:7: train.optimizer.name: there is no 'sdg'"),
        (
            '[methods.alone]\n[train.schedule]\nname = "cosine"\nwramup = 1',
            "r.toml:8: train.schedule.wramup: unknown key; did y",
        ),
        (
            '[methods.alone]\n[train.optimizer]\nname = "adamw"\nmomentum = 1',
            "optimizer.momentum: unknown key; known: n",
        ),
        (
            "[methods.alone]\n[train.augmentation]\nshift = -1",
            "r.toml:7: train.augmentation.shift: Input should be greater than or equal to 0 (it is -1)",
        ),
        ('[methods.alone]\n[train.max_norm]\n"conv*" = -1', "r.toml:7: train.max_norm.conv*: Input should be greater"),
        (
            '[methods.alone]\n[settings]\nprecision = "half"',
            "r.toml:7: settings.precision: Input should be 'float32', 'bfloat16' or",
        ),
        ("[methods.alone]\ntrain.ema = 1.0", "r.toml:6: methods.alone.train.ema: Input should be less than 1"),
        ("[methods.alon]", "r.toml:5: methods.alon: there is no method 'alon'; did you mean 'alone'"),
        (
            '[methods.mine]\nmethod = "kdd"',
            "r.toml:6: methods.mine.method: there is no method 'kdd'; did you mean 'kd'",
        ),
        ("[methods.alone]\ntemperature = 3", "r.toml:6: methods.alone.temperature: method 'alone' has no such setting"),
        (
            TEACHER + '[methods.kd]\ntemperature = "hot"',
            "r.toml:9: methods.kd.temperature: Input should be a valid num",
        ),
        ("[methods.kd]", "r.toml:5: methods.kd: it learns from a teacher: add a table [teacher]"),
        ('[methods.dml]\narchitecture = "teacher"', "r.toml:5: methods.dml: it learns from a teacher: add a table"),
        ('[methods.terms]\nterms = "KD()"', "r.toml:5: methods.terms: it learns from a teacher: add a table"),
        (
            TEACHER + "[methods.fitnets]\nhint_epochs = 30",
            "r.toml:8: methods.fitnets: hint_epochs = 30 must be",
        ),
        (
            '[methods.terms]\nterms = "CE() + KT()"',
            "r.toml:5: methods.terms: objective 'CE() + KT()': there is no term",
        ),
        ("[methods.terms]", "r.toml:5: methods.terms.terms: is missing"),
        (
            '[methods.stages]\nstages = [{ terms = "CE()", epochs = 0 }]',
            "stage 1: epochs must be a whole number above 0",
        ),
        (
            '[methods.stages]\nstages = [{ terms = "CE()", epochs = 1, lr = -1 }]',
            "stage 1: lr must be a number above 0",
        ),
        ('[methods.stages]\nstages = [{ terms = "CE()" }]', "stage 1 has ['terms']; it takes terms, epochs"),
        (
            '[teacher]\nnetwork = "resnet8"\n[methods.alone]',
            "r.toml:5: teacher: give 'weights' (a file), pretrained = true",
        ),
        ("[methods.alone]\n[train]\npatience = 3\n[data]\nvalidation = 0", "not valid TOML"),
        ("methods = 3", "student.methods: unknown key"),
    ],
)
def test_a_mistake_is_told_with_its_line_its_key_and_the_way_out(text, said):
    with pytest.raises(UserError) as caught:
        recipe.parse(START + text, "r.toml")
    assert said in str(caught.value)


@pytest.mark.parametrize("text", ["", "data = 3\nstudent = []", "seeds = [0, 0]", "methods = 3\n", "train = 1", "x ="])
def test_nothing_in_a_recipe_ends_in_anything_but_a_user_error(text):
    with pytest.raises(UserError):
        recipe.parse(text)


def test_a_method_can_be_trained_on_fewer_seeds_and_without_its_weights():
    text = "seeds = [0, 1, 2]\n" + START + TEACHER + "[methods.alone]\n[methods.at]\nseeds = [1]\nbalance = true\n"
    found = recipe.parse(text)
    assert (found.seeds_of("alone"), found.seeds_of("at")) == ((0, 1, 2), (1,))
    assert found.methods["at"].balance
    assert recipe.parse(recipe.write(found)) == found
    for wrong in ("[3]", "[1, 1]", "[]"):
        with pytest.raises(UserError, match="seeds"):
            recipe.parse(text.replace("seeds = [1]", f"seeds = {wrong}"))


def test_what_a_teacher_learns_by_itself_is_read_and_checked():
    trained = '[teacher]\nnetwork = "resnet20"\ntrain = {}\n'
    learns = "terms = \"CE() + 0.01 * ClassSpread('fc:input')\"\n"
    found = recipe.parse(START + trained + learns + "[methods.alone]\n")
    assert recipe.parse(recipe.write(found)) == found
    for terms, said in (("KD()", "reads a teacher"), ("CE() +", "not understood"), ("CEE()", "did you mean 'CE'")):
        with pytest.raises(UserError, match=said):
            recipe.parse(START + trained + f'terms = "{terms}"\n[methods.alone]\n')
    with pytest.raises(UserError, match="give a table 'train', too"):
        recipe.parse(START + TEACHER + learns + "[methods.alone]\n")


def test_patience_and_whitening_ask_for_what_they_need():
    text = START.replace('"demo"', '"demo"\nvalidation = 0\nwhiten = true') + "std = [1]\n[methods.alone]\n"
    with pytest.raises(UserError) as caught:
        recipe.parse(text + "[train]\npatience = 2", "r.toml")
    assert "r.toml:7: student.std: data.whiten takes the place" in str(caught.value)
    assert "r.toml:8: methods.alone.train.patience: stopping by patience needs a validation part" in str(caught.value)


def test_several_mistakes_are_reported_together_in_the_order_of_their_lines_and_once_each():
    text = (
        START
        + '[train]\nepochs = -1\n[train.optimizer]\nname = "sdg"\n[methods.alone]\nlabels = 1\n[methods.kd]\nt = 2'
    )
    with pytest.raises(UserError) as caught:
        recipe.parse(text, "r.toml")
    places = [line.split(": ")[:2] for line in str(caught.value).splitlines()]
    assert places == [
        ["r.toml:6", "train.epochs"],
        ["r.toml:8", "train.optimizer.name"],
        ["r.toml:10", "methods.alone.labels"],
        ["r.toml:12", "methods.kd.t"],
    ]


def test_a_course_says_only_what_differs_from_the_common_one():
    found = recipe.parse(
        START
        + '[teacher]\nnetwork = "resnet20"\ntrain = { epochs = 7 }\n[train]\nepochs = 5\nbatch = 32\n'
        + '[train.optimizer]\nname = "adamw"\n[methods.alone]\n[methods.kd]\ntrain.batch = 8\n'
    )
    assert (found.train.epochs, found.train.batch, found.train.optimizer) == (5, 32, AdamW())
    assert found.methods["alone"].train == found.train
    kd, teacher = found.methods["kd"].train, found.teacher.train
    assert (kd.epochs, kd.batch, kd.optimizer) == (5, 8, AdamW())
    assert (teacher.epochs, teacher.batch, teacher.optimizer) == (7, 32, AdamW())


def test_set_changes_values_of_any_kind_and_its_mistakes_name_it():
    text = START + TEACHER + "[methods.kd]\n"
    changes = [
        "train.epochs=3",
        "title=a b",
        "seeds=[1, 2]",
        "methods.kd.temperature=2.5",
        "train.augmentation.flip=true",
    ]
    found = recipe.parse(text, "r.toml", changes)
    assert (found.train.epochs, found.title, found.seeds) == (3, "a b", (1, 2))
    assert found.methods["kd"].settings == {"temperature": 2.5}
    assert found.methods["kd"].train.augmentation.flip
    with pytest.raises(UserError, match=r"^--set: train\.epoch: unknown key; did you mean 'epochs'\?$"):
        recipe.parse(text, "r.toml", ["train.epoch=3"])
    with pytest.raises(UserError, match="write key=value"):
        recipe.parse(text, "r.toml", ["train.epochs"])
    with pytest.raises(UserError, match="'name' is a value, not a table"):
        recipe.parse(text, "r.toml", ["data.name.x=1"])


def test_a_file_that_is_no_recipe_is_told_in_one_line(tmp_path):
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    (tmp_path / "broken.toml").write_text("[data\n")
    for name, said in {"none.toml": "No such file", "bytes.toml": "no UTF-8", "broken.toml": "not valid TOML"}.items():
        with pytest.raises(UserError, match=said) as caught:
            recipe.read(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_a_method_takes_over_the_views_and_the_optimizer_that_it_does_not_change():
    text = (
        START
        + TEACHER
        + """
[train]
augmentation = { shift = 2 }
optimizer = { name = "sgd", momentum = 0.8 }

[methods.kd.train]
augmentation = { mixup = 0.2 }
optimizer = { lr = 0.5 }
schedule = { name = "step" }
"""
    )
    config = recipe.parse(text).methods["kd"].train
    assert (config.augmentation.shift, config.augmentation.mixup) == (2, 0.2)
    assert (config.optimizer.lr, config.optimizer.momentum) == (0.5, 0.8)
    assert config.schedule == Step()


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.family != "own"])
def test_every_method_stands_in_a_recipe_by_nothing_but_its_name(name):
    assert recipe.parse(START + TEACHER + f"[methods.{name}]\n").methods[name].method == name


SEVERAL = (
    START
    + """
[[teachers]]
network = "resnet20"
weights = "one.pt"

[[teachers]]
network = "resnet14"
[teachers.train]
epochs = 7

[train]
batch = 32
[methods.several-teachers]
combine = "logits"
"""
)


def test_several_teachers_stand_in_a_recipe_and_resolve_to_themselves():
    found = recipe.parse(SEVERAL)
    assert [table.network for table in found.taught_by.values()] == ["resnet20", "resnet14"]
    assert list(found.taught_by) == ["teacher1", "teacher2"]
    assert (found.teachers[1].train.epochs, found.teachers[1].train.batch) == (7, 32)
    assert recipe.parse(recipe.write(found)) == found
    changed = recipe.parse(SEVERAL, "r.toml", ["teachers.1.train.epochs=9", "teachers.0.accuracy=0.9"])
    assert (changed.teachers[0].accuracy, changed.teachers[1].train.epochs) == (0.9, 9)
    assert "teachers" not in recipe.write(
        recipe.parse(START + TEACHER + "[methods.kd]\n")
    )  # older runs have no such key


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('weights = "one.pt"', 'wieghts = "one.pt"', "r.toml:8: teachers.0.wieghts: unknown key; did you mean 'weig"),
        ("epochs = 7", "epoch = 7", "r.toml:13: teachers.1.train.epoch: unknown key; did you mean 'epochs'"),
        (
            "epochs = 7",
            "augmentation = { shift = -1 }",
            "r.toml:13: teachers.1.train.augmentation.shift: Input should be greater than or equal to 0",
        ),
        ('weights = "one.pt"', "", "r.toml:6: teachers.0: give 'weights' (a file), pretrained = true"),
        ("[train]", '[teacher]\nnetwork = "resnet8"\nweights = "x"\n[train]', "either one table [teacher] or several"),
    ],
)
def test_a_mistake_about_one_of_several_teachers_names_its_line(old, new, said):
    with pytest.raises(UserError) as caught:
        recipe.parse(SEVERAL.replace(old, new), "r.toml")
    assert said in str(caught.value)


def test_a_change_of_a_teacher_that_is_not_there_is_told():
    for change, said in (("teachers.5.network=x", "'5' is a value"), ("teachers.0=3", "a list of tables")):
        with pytest.raises(UserError, match=said):
            recipe.parse(SEVERAL, "r.toml", [change])


def test_an_optimizer_and_a_rate_need_no_name():
    """They are the usual ones; so a single number of theirs can be set, or searched."""
    usual = recipe.parse(START + "[methods.alone]\n", overrides=["train.optimizer.lr=0.3", "train.schedule.warmup=2"])
    assert (usual.train.optimizer, usual.train.schedule) == (SGD(lr=0.3), Cosine(warmup=2.0))
    own = recipe.parse(START + "[train]\noptimizer = { name = 'adamw' }\n[methods.alone]\ntrain.optimizer.lr = 0.3\n")
    assert own.methods["alone"].train.optimizer == AdamW(lr=0.3)
