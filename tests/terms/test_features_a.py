"""What is special about terms on maps and features: margins, boundaries, hand-overs, selections, class means."""

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from tests.terms.table import CLASSES, Net, networks
from understudy import Objective, UserError, bounds
from understudy.config.optimizers import SGD
from understudy.config.settings import Settings
from understudy.config.train import TrainConfig
from understudy.methods import find
from understudy.methods.class_distance import ClassMeans
from understudy.methods.factor_transfer import Factors
from understudy.methods.neurons import Selected
from understudy.methods.ofd import Overhaul
from understudy.terms import AB, AT, FSP, OFD, ClassSpread, GradientAT, Neurons, Term
from understudy.training.loop import Training

INPUTS = torch.randn(12, 1, 8, 8, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(12) % CLASSES


def bound(term: Term, teacher: nn.Module, student: nn.Module) -> Objective:
    return Objective(term, student=student, teacher=teacher, example=INPUTS[:2])


def only_part(objective: Objective) -> Overhaul:
    (parts,) = objective.owned.values()
    (part,) = parts
    assert isinstance(part, Overhaul)
    return part


def test_several_pairs_add_up():
    teacher, student = networks(alike=False)
    pairs = ("maps1 -> maps1", "maps2 -> maps2")
    both, *single = (bound(AT(p), teacher, student.eval())(INPUTS, LABELS).loss for p in (pairs, pairs[:1], pairs[1:]))
    torch.testing.assert_close(both, sum(single))
    assert AT("maps1 -> maps1") == AT(("maps1 -> maps1",))


def test_gradient_attention_is_that_of_autograd():
    teacher, student = networks(alike=True)
    found = bound(GradientAT("maps1 -> maps1", form="raw", distance="norm"), teacher, student.eval())(
        INPUTS, LABELS
    ).loss
    expected = []
    for network in (teacher, student):
        maps = network.maps1(INPUTS).detach().requires_grad_()
        logits = network.fc(network.maps2(maps).mean((2, 3)))
        nn.functional.cross_entropy(logits, LABELS, reduction="sum").backward()
        expected.append(maps.grad.flatten(1))
    torch.testing.assert_close(found, 0.5 * (expected[0] - expected[1]).norm(dim=1).mean())


def test_gradient_attention_by_the_input_is_the_papers():
    teacher, student = networks(alike=True)
    found = bound(GradientAT("input", form="raw", distance="norm"), teacher, student.eval())(INPUTS, LABELS).loss
    expected = []
    for network in (teacher, student):
        pictures = INPUTS.clone().requires_grad_()
        nn.functional.cross_entropy(network(pictures), LABELS, reduction="sum").backward()
        expected.append(pictures.grad.flatten(1))
    torch.testing.assert_close(found, 0.5 * (expected[0] - expected[1]).norm(dim=1).mean())
    assert not INPUTS.requires_grad
    with pytest.raises(UserError, match="gradients by the inputs: one tensor of numbers, not dict"):
        bound(GradientAT("input"), teacher, student)({"x": INPUTS}, LABELS)


def test_gradient_attention_says_where_there_is_no_gradient():
    teacher, student = networks(alike=True)
    with pytest.raises(UserError, match="tap a place after the first layer"):
        bound(GradientAT("maps1.0:input -> maps1.0:input"), teacher, student)(INPUTS, LABELS)


def test_activation_boundaries_need_no_connector_before_a_relu_and_read_the_teacher_after_one_as_well():
    teacher, student = networks(alike=True)
    before = bound(AB(("maps1.1 -> maps1.1",)), teacher, student)
    assert not list(before.parameters())
    after = bound(AB(("maps1 -> maps1.1",)), teacher, student)
    torch.testing.assert_close(before(INPUTS, LABELS).loss, after(INPUTS, LABELS).loss)
    assert list(bound(AB(("maps1.1 -> maps1",)), teacher, student).parameters())


def test_the_margin_is_that_of_the_batch_norm_and_stands_for_what_a_relu_has_cut():
    teacher, student = networks(alike=True)
    norm = teacher.maps1[1]
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(0.5, 2, 6))
        norm.bias.copy_(torch.linspace(-1, 1, 6))
    drawn = norm.bias.double() + norm.weight.double() * torch.randn(200_000, 6, dtype=torch.float64)
    expected = torch.stack([channel[channel < 0].mean() for channel in drawn.T]).float()
    part = only_part(bound(OFD(("maps1 -> maps1",)), teacher, student))
    torch.testing.assert_close(part.margin, expected, atol=0.02, rtol=0.02)
    part.connector = nn.Identity()
    cut = torch.zeros(1, 6, 1, 1)
    assert part(part.margin.reshape(1, 6, 1, 1), cut).item() == pytest.approx(0)
    assert part(cut, cut).item() == pytest.approx(part.margin.square().sum().item())


def test_a_margin_that_no_batch_norm_gives_is_measured_over_batches():
    teacher, student = networks(alike=True)
    objective = bound(OFD(("maps1.0 -> maps1.0",)), teacher, student)
    part = only_part(objective)
    with torch.no_grad():
        values = teacher.maps1[0](INPUTS).transpose(0, 1).flatten(1)
    before = part.margin.clone()
    objective.learn(objective.read(INPUTS, LABELS))
    means = torch.stack([channel[channel < 0].mean() for channel in values])
    torch.testing.assert_close(part.margin, (before + means) / 2)


class Few(Net):
    """Takes the pictures of the small data set and answers with its classes."""

    def __init__(self, width: int = 3):
        super().__init__(width)
        self.maps1[0] = nn.Conv2d(3, width, 3, padding=1)
        self.fc = nn.Linear(2 * width, 3)


def test_the_paraphraser_is_handed_over_and_frozen_while_the_student_trains(small):
    config = TrainConfig(epochs=3, batch=30, optimizer=SGD(lr=0.01))
    stages = find("factor-transfer")(config, maps="maps2 -> maps2")
    teacher, student = Few(4), Few(3)
    began = {name: value.clone() for name, value in student.state_dict().items()}
    training = Training(student, [teacher], stages[:1], small.data(), settings=Settings(device="cpu"))
    training.run()
    assert all(torch.equal(value, student.state_dict()[name]) for name, value in began.items())
    handed = {name: value for name, value in training.handed.items() if name.startswith("encoder")}
    assert handed
    training = Training(student, [teacher], stages, small.data(), settings=Settings(device="cpu"))
    training.run()
    (factors,) = training.stage_state.objective.owned.values()
    assert isinstance(factors, Factors)
    own = factors.state_dict()
    assert all(torch.equal(value, own[name]) for name, value in handed.items())
    assert any(not torch.equal(value, student.state_dict()[name]) for name, value in began.items())


def test_flow_and_boundaries_come_first_and_leave_the_classifier_alone(small):
    config = TrainConfig(epochs=10, batch=30, optimizer=SGD(lr=0.01))
    pairs = ("maps1 -> maps1", "maps2 -> maps2")
    for stages in (find("fsp")(config, pairs=pairs, fsp_lr=0.001), find("ab")(config, pairs=pairs)):
        assert [stage.config.epochs for stage in stages] == [2, 8]
        student = Few(3)
        began = {name: value.clone() for name, value in student.state_dict().items()}
        first = dataclasses.replace(stages[0], config=dataclasses.replace(stages[0].config, epochs=1))
        Training(student, [Few(4)], [first], small.data(), settings=Settings(device="cpu")).run()
        moved = {
            name.split(".")[0] for name, value in student.state_dict().items() if not torch.equal(value, began[name])
        }
        assert moved == {"maps1", "maps2"}
    with pytest.raises(UserError, match="fsp_epochs = 10"):
        find("fsp")(config, pairs=pairs, fsp_epochs=10)
    with pytest.raises(UserError, match="2 is the least"):
        FSP(("maps1 -> maps1",))


def test_neurons_are_selected_by_the_classifier_or_by_name():
    teacher, student = networks(alike=True)
    with torch.no_grad():
        teacher.fc.weight[:, 3] = 0.01  # says nothing about any class
    objective = bound(Neurons("fc:input -> fc:input", share=11 / 12), teacher, student)
    (owned,) = objective.owned.values()
    assert isinstance(owned, Selected)
    assert owned.selected.tolist() == [0, 1, 2, *range(4, 12)]
    named = bound(Neurons("fc:input -> fc:input", selected=(2, 5)), teacher, student)
    named.owned["neurons"].regressor = nn.Identity()
    vectors = torch.randn(4, 12)
    assert named.owned["neurons"](vectors[:, [2, 5]]).shape == (4, 2)
    for wrong in ({"share": 0.0}, {"selected": ()}, {"selected": (1, 1)}):
        with pytest.raises(UserError):
            bounds.check(Neurons("fc:input -> fc:input", **wrong), "term")
    with pytest.raises(UserError, match="has 12 neurons"):
        bound(Neurons("fc:input -> fc:input", selected=(12,)), teacher, student)


def test_class_means_run_over_the_batches():
    memory = ClassMeans(3, torch.zeros(1, 2))
    features = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    own, others = memory(features, torch.tensor([0, 0, 1]))
    assert own.tolist() == [[2, 0], [2, 0], [0, 4]]  # nothing is known yet: those of the batch
    assert others.tolist() == [[0, 4], [0, 4], [2, 0]]
    memory.move(features, torch.tensor([0, 0, 1]), 0.5)
    memory.move(torch.tensor([[4.0, 0.0]]), torch.tensor([0]), 0.5)
    assert memory.means.tolist() == [[3, 0], [0, 4], [0, 0]]
    assert memory.known.flatten().tolist() == [True, True, False]


def test_class_spread_pulls_features_to_their_class():
    def distances() -> Tensor:
        with torch.no_grad():
            features = student.maps2(student.maps1(INPUTS)).mean((2, 3))
        own, _ = ClassMeans(CLASSES, features)(features, LABELS)
        return (features - own).square().sum(1).mean()

    torch.manual_seed(0)
    student = Net(3).eval()
    objective = Objective(ClassSpread("fc:input", bound=0.0), student=student, example=INPUTS[:2])
    optimizer = torch.optim.SGD(student.parameters(), lr=1.0)
    before = distances()
    for _ in range(20):
        reading = objective.read(INPUTS, LABELS)
        optimizer.zero_grad()
        objective.judge(reading).loss.backward()
        optimizer.step()
        objective.learn(reading)
    assert distances() < 0.8 * before


@pytest.mark.parametrize("pair", ["maps1 -> maps1", "input"])
def test_a_frozen_teacher_shows_the_same_gradients(pair):
    teacher, student = networks(alike=True)
    free = bound(GradientAT(pair), teacher, student.eval())(INPUTS, LABELS).loss
    frozen = bound(GradientAT(pair), teacher.requires_grad_(False), student)(INPUTS, LABELS).loss
    assert torch.equal(free, frozen)
