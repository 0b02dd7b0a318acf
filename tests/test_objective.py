"""Terms as descriptions, and the objective in a plain PyTorch loop."""

import copy
import warnings

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from understudy.errors import UserError
from understudy.objective import Objective, evaluating
from understudy.objective.weights import linear, step
from understudy.terms import BSS, CAN, CE, DKD, KD, GradientAT, Hint, as_sum


def net(width: int) -> nn.Sequential:
    convolution = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
    deeper = nn.Sequential(nn.Conv2d(width, width, 3, stride=2), nn.ReLU())
    return nn.Sequential(convolution, deeper, nn.Flatten(), nn.Linear(4 * width, 3))


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    images = torch.randn(12, 1, 6, 6)
    return images, images.mean((1, 2, 3)).mul(4).long().abs().clamp(max=2)


@pytest.fixture
def networks() -> tuple[nn.Sequential, nn.Sequential]:
    """Teacher and student."""
    torch.manual_seed(1)
    return net(6), net(2)


# Terms


def test_terms_add_and_scale() -> None:
    total = as_sum(CE() + 0.9 * KD(temperature=3) * linear(4, 1, epochs=10) + 2 * (Hint("0 -> 0") + CE()))
    assert [part.weight(0) for part in total.terms] == pytest.approx([1, 3.6, 2, 2])
    assert [part.weight(5) for part in total.terms] == pytest.approx([1, 2.25, 2, 2])
    assert str(total).startswith("CE() + 0.9 * KD(temperature=3) * linear(4, 1, epochs=10) + 2 * Hint(")
    with pytest.raises(UserError, match="takes one only"):
        KD() * linear(4, 1, epochs=10) * step(0, 1, epoch=2)


def test_schedules() -> None:
    assert [linear(4, 1, epochs=10, delay=5).at(e) for e in (0, 5, 10, 15, 99)] == [4, 4, 2.5, 1, 1]
    assert [step(0, 1, epoch=2).at(e) for e in (0, 1.99, 2, 3)] == [0, 0, 1, 1]


def test_what_is_no_weight_and_no_term_is_told() -> None:
    assert str(KD() * np.float32(0.5)) == "0.5 * KD()"
    with pytest.raises(UserError, match="the weight of KD\\(\\) is a Tensor"):
        KD() * torch.tensor(0.5)  # type: ignore[operator]
    for wrong in ([CE(), KD()], CE):
        with pytest.raises(UserError, match="terms are added"):
            Objective(wrong, student=nn.Linear(2, 2))  # type: ignore[arg-type]


def test_two_hints_have_two_names() -> None:
    assert list(as_sum(Hint("0 -> 0") + CE() + Hint("1 -> 1")).named()) == ["hint", "ce", "hint2"]


# Objective


def test_a_plain_loop_trains(networks, batch) -> None:
    teacher, student = networks
    objective = Objective(CE() + 0.9 * KD() + Hint("0 -> 0"), student=student, teacher=teacher, example=batch[0][:2])
    optimizer = torch.optim.SGD([*student.parameters(), *objective.parameters()], lr=0.01)
    history = []
    for _ in range(15):
        outcome = objective(*batch)
        optimizer.zero_grad()
        outcome.loss.backward()
        optimizer.step()
        history.append(outcome)
    assert history[-1].loss < 0.5 * history[0].loss
    assert all(history[-1].terms[name] < history[0].terms[name] for name in ("ce", "kd", "hint"))
    assert "logits" in history[0].answer
    assert history[0].answer["logits"].shape == (12, 3)
    assert not history[0].answer["logits"].requires_grad


def test_the_loss_is_the_weighted_sum(networks, batch) -> None:
    teacher, student = networks
    objective = Objective(CE() + KD() * linear(4, 1, epochs=10), student=student, teacher=teacher)
    for epoch, weight in ((0, 4), (5, 2.5), (20, 1)):
        outcome = objective(*batch, epoch=epoch)
        torch.testing.assert_close(outcome.loss, outcome.terms["ce"] + weight * outcome.terms["kd"], check_stride=False)
        assert objective.weights(epoch) == {"ce": 1, "kd": weight}


def test_only_the_regressors_are_its_own(networks, batch) -> None:
    teacher, student = networks
    objective = Objective(CE() + Hint("0 -> 0"), student=student, teacher=teacher, example=batch[0])
    assert {name: tuple(p.shape) for name, p in objective.named_parameters()} == {
        "owned.hint.weight": (6, 2, 1, 1),
        "owned.hint.bias": (6,),
    }
    assert list(objective.state_dict()) == ["owned.hint.weight", "owned.hint.bias"]
    assert not list(Objective(CE() + KD(), student=student, teacher=teacher).parameters())


def test_the_teacher_is_left_alone(networks, batch) -> None:
    teacher, student = networks
    teacher.train()
    before = copy.deepcopy(teacher.state_dict())
    objective = Objective(KD() + Hint("0 -> 0"), student=student, teacher=teacher, example=batch[0][:2])
    objective(*batch).loss.backward()
    assert all(p.grad is None for p in teacher.parameters())
    assert all(torch.equal(before[k], v) for k, v in teacher.state_dict().items())
    assert all(p.grad is not None for p in student.parameters())


def test_tracing_leaves_the_student_alone(networks, batch) -> None:
    teacher, student = networks
    student[1].eval()
    before = copy.deepcopy(student.state_dict())
    Objective(Hint("0 -> 0"), student=student, teacher=teacher, example=batch[0])
    assert all(torch.equal(before[k], v) for k, v in student.state_dict().items())
    assert student.training
    assert not student[1].training


def test_hints_alone_run_cut_networks(networks, batch) -> None:
    teacher, student = networks
    calls = []
    for network in networks:
        network[3].register_forward_hook(lambda *_: calls.append("deeper"))
    objective = Objective(Hint("0 -> 0") + Hint("1 -> 1"), student=student, teacher=teacher, example=batch[0])
    calls.clear()
    outcome = objective(*batch)
    assert not calls
    assert outcome.answer == {}
    assert list(outcome.terms) == ["hint", "hint2"]
    outcome.loss.backward()
    assert student[3].weight.grad is None
    assert student[0][0].weight.grad is not None


def test_no_teacher_is_needed_for_labels(networks, batch) -> None:
    _, student = networks
    outcome = Objective(CE(), student=student)(*batch)
    expected = nn.functional.cross_entropy(student(batch[0]), batch[1])
    torch.testing.assert_close(outcome.loss, expected)


def test_taps_are_those_of_the_first_teacher(networks, batch) -> None:
    teacher, student = networks
    further = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    calls = []
    further.register_forward_hook(lambda *_: calls.append("asked"))
    both = [teacher, further]
    Objective(Hint("3 -> 3") + CE(), student=student, teacher=both, example=batch[0])(*batch)
    assert not calls
    Objective(Hint("3 -> 3") + KD(), student=student, teacher=both, example=batch[0])(*batch)
    assert calls == ["asked"]


def test_equal_shapes_need_no_regressor(batch) -> None:
    student = net(2)
    objective = Objective(Hint("0 -> 0", reduce="mean"), student=student, teacher=net(2), example=batch[0])
    assert not list(objective.parameters())
    assert objective(*batch).terms["hint"] > 0


@pytest.mark.parametrize(
    ("terms", "given", "words"),
    [
        (Hint("0 -> 0"), {"teacher": True}, "pass example="),
        (CE() + KD(), {}, "term 'kd' reads a teacher"),
        (Hint("0 -> 9"), {"teacher": True, "example": True}, "the student has no module '9'"),
        (Hint("9 -> 0"), {"teacher": True, "example": True}, "the teacher has no module '9'"),
        (Hint("0 -> 0", regressor="none"), {"teacher": True, "example": True}, "shapes differ"),
    ],
)
def test_mistakes_name_the_way_out(terms, given, words: str, networks, batch) -> None:
    teacher, student = networks
    settings = {
        "teacher": teacher if given.get("teacher") else None,
        "example": batch[0] if "example" in given else None,
    }
    with pytest.raises(UserError, match=words):
        Objective(terms, student=student, **settings)


def test_a_module_used_twice_is_found_even_where_the_network_is_cut(batch) -> None:
    relu = nn.ReLU()
    student = nn.Sequential(nn.Conv2d(1, 2, 3), relu, nn.Conv2d(2, 2, 3), relu, nn.Flatten(), nn.Linear(8, 3))
    with pytest.raises(UserError, match="'1' fired 2 times"):
        Objective(Hint("0 -> 1"), student=student, teacher=net(2), example=batch[0])


def test_a_student_in_float32_learns_from_a_teacher_in_bfloat16(networks, batch) -> None:
    teacher, student = networks
    for terms in (KD() + Hint("0 -> 0"), CE() + Hint("0 -> 0") + GradientAT("0 -> 0")):
        outcome = Objective(terms, student=student, teacher=teacher, example=batch[0], teaching=low)(*batch)
        outcome.loss.backward()
        assert all(value.dtype == torch.float32 and value.isfinite() for value in outcome.terms.values())


def test_a_term_that_weighs_nothing_is_not_computed(networks, batch, monkeypatch) -> None:
    teacher, student = networks
    computed = []
    loss = KD.loss
    monkeypatch.setattr(KD, "loss", lambda self, *args: computed.append(1) or loss(self, *args))
    terms = CE() + KD() * step(0.0, 1.0, epoch=2)
    objective = Objective(terms, student=student, teacher=teacher)
    outcome = objective(*batch, epoch=1.0)
    outcome.loss.backward()
    assert (computed, outcome.terms["kd"].item(), outcome.weighted["kd"].item()) == ([], 0.0, 0.0)
    torch.testing.assert_close(outcome.loss, Objective(CE(), student=student)(*batch).loss)
    assert objective(*batch, epoch=2.0).terms["kd"] > 0
    assert Objective(0.0 * KD(), student=student, teacher=teacher)(*batch).terms["kd"] > 0
    assert computed == [1, 1]


def low() -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16)


def test_two_objectives_share_a_student(networks, batch) -> None:
    teacher, student = networks
    one = Objective(CE() + Hint("0 -> 0"), student=student, teacher=teacher, example=batch[0])
    other = Objective(Hint("1 -> 1"), student=student, teacher=teacher, example=batch[0])
    with evaluating(student):
        first = one(*batch).loss
        other(*batch)
        torch.testing.assert_close(one(*batch).loss, first)


def test_a_compiled_student_learns_the_same(networks, batch) -> None:
    teacher, student = networks
    terms = CE() + Hint("0 -> 0")
    plain = Objective(terms, student=student, teacher=teacher, example=batch[0])
    compiled = Objective(terms, student=torch.compile(student, backend="eager"), teacher=teacher, example=batch[0])
    compiled.load_state_dict(plain.state_dict())
    expected = plain(*batch)
    expected.loss.backward()
    gradients = [p.grad.clone() for p in student.parameters()]
    student.zero_grad()
    outcome = compiled(*batch)
    outcome.loss.backward()
    torch.testing.assert_close(outcome.loss, expected.loss)
    for parameter, gradient in zip(student.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


# Loops of one's own


def test_targets_can_be_left_out_where_no_term_reads_them(networks, batch) -> None:
    teacher, student = networks
    objective = Objective(KD() + Hint("0 -> 0"), student=student, teacher=teacher, example=batch[0][:2])
    torch.testing.assert_close(objective(batch[0]).loss, objective(*batch).loss)
    for term in (CE(), DKD()):
        with pytest.raises(UserError, match="without any: pass targets="):
            Objective(term, student=student, teacher=teacher)(batch[0])


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        (torch.rand(12), r"float32 and shape \(12,\): give class numbers"),
        (torch.rand(12, 2).softmax(1), r"of shape \(12, 3\)"),
        (torch.rand(12, 3), "no distributions over the classes"),
        (torch.eye(3)[torch.zeros(12).long()] - 1, "no distributions over the classes"),
        (torch.eye(3)[torch.zeros(12).long()].long(), r"whole numbers of shape \(12, 3\).*one-hot: labels.argmax"),
        (torch.zeros(12, 1).long(), r"whole numbers of shape \(12, 1\)"),
    ],
)
def test_targets_of_a_cross_entropy_in_another_form_are_refused(targets: Tensor, words: str, networks, batch) -> None:
    with pytest.raises(UserError, match=words):
        Objective(CE(), student=networks[1])(batch[0], targets)
    Objective(CE(), student=networks[1])(batch[0], torch.rand(12, 3).softmax(1))


def test_a_copy_of_an_objective_reads_the_taps_of_its_own_student(networks, batch) -> None:
    teacher, student = networks
    objective = Objective(CE() + Hint("0 -> 0"), student=student, teacher=teacher, example=batch[0][:2])
    copied = copy.deepcopy(objective)
    assert torch.equal(copied(*batch).loss, objective(*batch).loss)
    before = objective(*batch).loss
    torch.nn.init.zeros_(next(copied.student.parameters()))
    assert not torch.equal(copied(*batch).loss, before)
    assert torch.equal(objective(*batch).loss, before)


def test_the_callers_own_forward_pass_of_the_student_is_used(networks, batch) -> None:
    teacher, student = networks
    objective = Objective(KD() + Hint("0 -> 0"), student=student, teacher=teacher, example=batch[0][:2])
    with objective.observing() as seen:
        student(batch[0])
    torch.testing.assert_close(
        objective.judge(objective.read(seen.inputs, student=seen.answer)).loss, objective(batch[0]).loss
    )
    with objective.observing() as unseen:
        objective.student.forward(batch[0])
    with pytest.raises(UserError, match="called 0 times"):
        unseen.answer  # noqa: B018


def test_a_teacher_that_a_term_asks_again_evaluates_where_its_answers_are_given(networks, batch) -> None:
    teacher, student = networks
    objective = Objective(BSS(), student=student, teacher=teacher)
    answers = objective.ask(batch[0])
    teacher.train()
    objective.read(*batch, answers=answers)
    assert not teacher.training


@pytest.mark.parametrize("left_out", ["owned", "student.3", "adversaries", "nothing"])
def test_what_no_optimizer_moves_is_warned_of(left_out: str, networks, batch) -> None:
    teacher, student = networks
    objective = Objective(
        CE() + Hint("0 -> 0") + CAN(dropout=0.0), student=student, teacher=teacher, example=batch[0][:2]
    )
    named = [*student.named_parameters(prefix="student"), *objective.owned.named_parameters(prefix="owned")]
    optimizer = torch.optim.SGD([value for name, value in named if not name.startswith(left_out)], lr=0.01, fused=True)
    adversaries = torch.optim.SGD(objective.adversaries.parameters(), lr=0.01, fused=True)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for step_number in range(20):
            reading = objective.read(*batch)
            objective.adversary_loss(reading).backward()
            if left_out != "adversaries":
                adversaries.step()
            (objective.judge(reading).loss / 4).backward()
            if step_number % 4 == 3:  # gradients of four batches are accumulated
                optimizer.step()
                optimizer.zero_grad()
    found = [str(warning.message) for warning in warned]
    if left_out == "nothing":
        assert found == []
    elif left_out == "adversaries":
        assert "the adversaries have not moved" in found[0]
    else:
        assert f"in no optimizer, it seems: {left_out}." in found[0]
    assert len(found) <= 1


# What trains something else than it says


def told(objective: Objective, batch, **given) -> list[str]:
    """The warnings of two calls; those of the second would be repetitions."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        objective(*batch, **given).loss.backward()
        first = [str(warning.message) for warning in caught]
        objective(*batch, **given)
    assert len(caught) == len(first)
    return first


def test_a_part_of_the_teacher_in_training_mode_evaluates(networks, batch) -> None:
    teacher, student = networks
    teacher.eval()
    teacher[0][1] = nn.BatchNorm2d(6)  # a new module is in training mode
    Objective(CE() + KD(), student=student, teacher=teacher)(*batch)
    assert not any(module.training for module in teacher.modules())
    assert teacher[0][1].num_batches_tracked == 0
    assert student.training


def test_a_student_that_is_its_teacher_is_refused(networks) -> None:
    _, student = networks
    with pytest.raises(UserError, match="the student is the teacher itself"):
        Objective(CE() + KD(), student=student, teacher=[net(2), student])


def test_weights_that_the_student_shares_with_its_teacher_are_warned_of(networks, batch) -> None:
    teacher, student = networks
    shared = nn.Sequential(teacher[0], *student[1:])
    shared[1][0] = nn.Conv2d(6, 2, 3, stride=2)
    [said] = told(Objective(CE() + KD(), student=shared, teacher=teacher), batch)
    assert "the student shares 0.0.weight, 0.0.bias, 0.1.weight and 3 more with the teacher" in said
    teacher[0].requires_grad_(False)
    del teacher[0][1], shared[0]
    assert told(Objective(CE() + KD(), student=nn.Sequential(teacher[0], *shared), teacher=teacher), batch) == []


class Checkpointed(nn.Sequential):
    def __init__(self, again: bool):
        super().__init__(*net(2))
        self.again = again

    def forward(self, x: Tensor) -> Tensor:
        first = checkpoint(self[0], x.requires_grad_(), use_reentrant=self.again)
        return nn.Sequential(*list(self)[1:])(first)


def test_a_tap_without_gradient_into_the_student_is_warned_of(networks, batch) -> None:
    teacher, frozen = networks
    frozen[0].requires_grad_(False)
    terms = CE() + Hint("0.0 -> 0.0")
    ways = [frozen, Checkpointed(again=True), Checkpointed(again=False)]
    lines = [told(Objective(terms, student=s, teacher=teacher, example=batch[0][:2]), batch) for s in ways]
    assert ["no gradient passes through '0.0' into the student" in "".join(said) for said in lines] == [1, 1, 0]
    probed = net(2).requires_grad_(False)  # nothing of it learns, as intended
    assert told(Objective(terms, student=probed, teacher=teacher, example=batch[0][:2]), batch) == []


def test_probabilities_in_place_of_logits_are_warned_of(networks, batch) -> None:
    teacher, student = networks
    softened = nn.Sequential(*teacher, nn.Softmax(1))
    [said] = told(Objective(CE() + KD(), student=student, teacher=softened), batch)
    assert said.startswith("the class scores of the teacher: they are probabilities")


def test_weights_over_epochs_want_the_epoch(networks, batch) -> None:
    teacher, student = networks
    terms = CE() + KD() * linear(4, 1, epochs=10)
    [said] = told(Objective(terms, student=student, teacher=teacher), batch)
    assert said == "the weights of kd change over the epochs and stay at epoch 0: pass epoch="
    assert told(Objective(terms, student=student, teacher=teacher), batch, epoch=0) == []


def test_warnings_point_to_the_line_of_the_user(networks, batch) -> None:
    teacher, student = networks
    objective = Objective(CE() + KD() * linear(4, 1, epochs=10), student=student, teacher=teacher)
    with pytest.warns(UserWarning, match="pass epoch=") as warned:
        objective(*batch)
    assert [each.filename for each in warned] == [__file__]
