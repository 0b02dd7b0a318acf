"""Networks that return several tensors: which of them is the answer."""

from collections import namedtuple
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

import understudy
from understudy import Objective
from understudy.errors import UserError
from understudy.methods.shared.copies import answer_of, continued
from understudy.models import Normalized, Output
from understudy.models.student import lost
from understudy.plans import key
from understudy.recipe.build import Builder
from understudy.recipe.objects import Objects
from understudy.recipe.schema import DataTable, NetworkTable
from understudy.taps import Tap, TappedNetwork, inner
from understudy.tasks import Classification
from understudy.terms import CE

IMAGES, TASK = torch.rand(12, 3, 4, 4), Classification(("a", "b", "c"))
FirstFeatures = namedtuple("FirstFeatures", "features logits")


@dataclass
class Fields:
    logits: Tensor
    features: Tensor


@dataclass
class Scores:
    scores: Tensor
    features: Tensor


class Heads(nn.Module):
    """A body with two heads."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(48, 4), nn.ReLU())
        self.kind, self.colour = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> object:
        features = self.body(x)
        return {"kind": self.kind(features), "colour": self.colour(features)}


LOGITS, FEATURES = torch.rand(2, 3), torch.rand(2, 5)


@pytest.mark.parametrize(
    "returned",
    [
        LOGITS,
        (LOGITS, FEATURES),
        [LOGITS, None],
        {"features": FEATURES, "logits": LOGITS},
        {"scores": LOGITS},
        {"scores": LOGITS, "hidden": None},
        Fields(LOGITS, FEATURES),
        FirstFeatures(FEATURES, LOGITS),
        SimpleNamespace(logits=LOGITS),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_obvious_answer_is_found(returned: object) -> None:
    assert TASK.answer(returned)["logits"] is LOGITS


@pytest.mark.parametrize(
    ("returned", "output"),
    [
        ({"kind": LOGITS, "colour": FEATURES}, "kind"),
        (Scores(LOGITS, FEATURES), "scores"),
        ((FEATURES, LOGITS), 1),
        ({"heads": (FEATURES, LOGITS)}, lambda value: value["heads"][1]),
    ],
    ids=["dict", "dataclass", "tuple", "function"],
)
def test_the_answer_is_named(returned: object, output: object) -> None:
    network = nn.Identity()
    network.forward = lambda _: returned
    assert Output(network, output)(IMAGES) is LOGITS


@pytest.mark.parametrize(
    ("returned", "output", "message"),
    [
        ({"kind": LOGITS, "colour": FEATURES}, "kin", "dict, which has no 'kin'; did you mean 'kind'"),
        ((FEATURES, LOGITS), 2, "tuple of 2, which has no place 2"),
        (LOGITS, 0, "Tensor, which has no place 0"),
        ({"kind": None}, "kind", "output 'kind' of the network is a NoneType, not a tensor"),
    ],
    ids=["name", "place", "tensor", "none"],
)
def test_a_wrong_name_says_what_there_is(returned: object, output: str | int, message: str) -> None:
    network = nn.Identity()
    network.forward = lambda _: returned
    with pytest.raises(UserError, match=message):
        Output(network, output)(IMAGES)


def test_features_alone_are_no_answer() -> None:
    with pytest.raises(UserError, match="no tensor 'logits', of 'features'"):
        TASK.answer({"features": FEATURES})


def test_several_heads_need_a_name() -> None:
    with pytest.raises(UserError, match=r"no tensor 'logits', of 'kind', 'colour': .*Output\(network, 'kind'\)"):
        TASK.answer(Heads()(IMAGES))


def test_taps_look_through_it() -> None:
    network = Heads()
    assert inner(Output(Normalized(network, [0.5] * 3, [0.5] * 3), "kind")) is network
    answer = TappedNetwork(Output(network, "colour"), ["body"])(IMAGES)
    assert torch.equal(answer.logits, network.colour(answer["body"]))


class InATuple(Heads):
    def forward(self, x: Tensor) -> object:
        return tuple(super().forward(x).values())


def test_a_network_that_is_asked_again_or_observed_keeps_its_fronts() -> None:
    network = InATuple()
    front = Output(Normalized(network, [0.5] * 3, [0.25] * 3), 1)
    body, answer = Tap("body"), front(IMAGES)
    assert torch.equal(answer_of(front, body, IMAGES).logits, answer)
    mixed = continued(front, body, torch.ones(12, 4), IMAGES, (), TASK)
    torch.testing.assert_close(mixed.logits, network.colour(torch.ones(12, 4)))
    with Objective(CE(), student=front).observing() as seen:
        front(IMAGES)
    assert seen.inputs is IMAGES
    assert torch.equal(seen.answer.logits, answer)


@pytest.mark.parametrize("outside", [Output, Normalized])
def test_a_student_comes_back_with_its_answer(tmp_path, outside: type) -> None:
    student: nn.Module = Heads()
    for wrapper in (Normalized, Output) if outside is Output else (Output, Normalized):
        student = Output(student, "colour") if wrapper is Output else Normalized(student, [0.5] * 3, [0.25] * 3)
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(48, 3))
    samples = IMAGES, torch.arange(12) % 3
    run = understudy.distill(teacher, student, samples, epochs=2, accept_weak=True, out=tmp_path, progress=False)
    loaded = understudy.load(tmp_path, trust=[__name__])
    assert torch.allclose(loaded(IMAGES), run.student.eval()(IMAGES))


def test_a_function_is_not_saved() -> None:
    assert "that picks its answer is not written down" in str(lost(Output(nn.Linear(4, 2), lambda value: value)))


SAMPLES = IMAGES, torch.arange(12) % 3


def plain() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 3))


def distilled(teacher: object, student: object, **settings: object) -> understudy.Distilled:
    return understudy.distill(teacher, student, SAMPLES, epochs=2, accept_weak=True, progress=False, **settings)


def kinds(returned: object) -> Tensor:
    return returned["kind"]


@pytest.mark.parametrize("output", ["kind", kinds, lambda returned: returned["kind"]], ids=["name", "def", "lambda"])
def test_a_call_names_the_answer_of_what_returns_several(output: object) -> None:
    torch.manual_seed(0)
    teacher, student = Heads(), plain()
    run = distilled(teacher, student, output=output)
    assert run.student is student
    alike = distilled(Output(teacher, "kind"), plain, output={"student": lambda returned: returned}, seeds=[0])
    assert run.teacher_figures == alike.teacher_figures


def test_a_call_names_the_answer_of_each_role() -> None:
    student = Heads()
    run = distilled(plain(), lambda: Heads(), output={"student": "colour"}, seeds=[0])
    assert isinstance(run.student, Output)
    run = distilled(
        [Heads(), Heads()],
        student,
        output={"teacher": "kind", "teacher2": "colour", "student": "kind"},
        method="several-teachers",
    )
    assert torch.equal(run.student(IMAGES), student.eval()(IMAGES)["kind"])


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("kind", "output='kind': none of the modules returns more than a single tensor"),
        ({"techer": "kind"}, "no network 'techer'; did you mean 'teacher'"),
    ],
)
def test_an_output_that_is_for_no_network_is_an_error(output: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        distilled(plain(), plain(), output=output)


def test_a_name_has_no_function() -> None:
    with pytest.raises(UserError, match="it is given by its name, so name its answer"):
        distilled(plain(), "resnet8", output={"student": kinds})


def test_functions_of_one_name_differ() -> None:
    pickers = [lambda returned: returned[0], lambda returned: returned[1], lambda returned: returned[1]]
    first, second, again = (Output(nn.Identity(), picker).extra_repr() for picker in pickers)
    assert first != second == again


def test_a_recipe_names_the_answer(tmp_path, monkeypatch) -> None:
    (tmp_path / "heads_xyz.py").write_text(
        "from torch import nn\n"
        "class Heads(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.kind, self.colour = nn.Linear(48, 3), nn.Linear(48, 3)\n"
        "    def forward(self, x):\n"
        "        return {'kind': self.kind(x.flatten(1)), 'colour': self.colour(x.flatten(1))}\n"
    )
    monkeypatch.chdir(tmp_path)
    objects = Objects(data=understudy.data.from_tensors(SAMPLES))
    builder = Builder.of(DataTable(name="object:samples"), ["heads_xyz"], objects=objects)
    tables = [NetworkTable(network="heads_xyz:Heads", output=output) for output in ("kind", "colour", None)]
    kind, colour = (builder.network(table, 0, "student").eval() for table in tables[:2])
    assert torch.equal(colour(IMAGES), inner(kind)(IMAGES)["colour"])
    assert len({str(key.network(table, builder)) for table in tables}) == 3
