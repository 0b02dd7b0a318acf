"""What is special about the terms and methods on logits."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from tests.terms.table import CLASSES, Net, networks
from tests.terms.test_terms import batch
from understudy import Objective, UserError, bounds, linear
from understudy.config.train import TrainConfig
from understudy.methods import find
from understudy.taps import Answer
from understudy.terms import (
    CE,
    CWTM,
    DGKD,
    DIST,
    DKD,
    DKPP,
    KD,
    MLKD,
    NKD,
    Confidence,
    CurriculumKD,
    LogitRegression,
    NoisyTeacher,
    Reading,
    SeveralTeachers,
    StandardisedKD,
    Term,
    VirtualTeacher,
    Vote,
    as_sum,
)

CONFIG = TrainConfig(epochs=24, batch=16)


def reading(student: Tensor, *teachers: Tensor, epoch: float = 0.0, samples: tuple[Tensor, ...] = ()) -> Reading:
    """Answers as they are, without networks."""
    labels = torch.arange(len(student)) % student.shape[1]
    return Reading(labels, Answer(student, {}), tuple(Answer(t, {}) for t in teachers), epoch, teacher_samples=samples)


def logits(seed: int, size: int = 6) -> Tensor:
    return torch.randn(size, CLASSES, generator=torch.Generator().manual_seed(seed))


# Noise


def test_noise_is_each_samples_own_and_leaves_the_others_alone():
    same = logits(0, 1).expand(400, -1)  # one answer 400 times, by student and teacher
    torch.manual_seed(5)
    values = NoisyTeacher(sigma=0.5, share=0.3, reduce="sum").loss(reading(same, same), None)
    disturbed = values[values > 0]
    assert 80 < len(disturbed) < 160
    assert len(disturbed.unique()) == len(disturbed)
    expected = 0.5 * 0.25 * same[0].square().sum()  # 1/2 sigma^2 || t ||^2
    assert disturbed.mean().item() == pytest.approx(expected.item(), rel=0.3)


@pytest.mark.parametrize("term", [NoisyTeacher(), DKPP()], ids=str)
def test_what_is_drawn_follows_the_seed_of_the_step(term: Term):
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(term.loss(reading(logits(0), logits(1)), None))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_permuted_dark_knowledge_keeps_the_answer_and_its_trust():
    sure = torch.tensor([[4.0, 0.0, 0.0, 0.0], [0.0, 0.0, 5.0, 0.0]])  # nothing to permute: the others are alike
    value = DKPP().loss(reading(logits(0, 2), sure), None)
    torch.testing.assert_close(value, KD(temperature=1).loss(reading(logits(0, 2), sure), None))


# Confidence


def test_an_unsure_teacher_counts_less():
    spread = torch.tensor([0.1, 3.0]).view(-1, 1)  # the first sample's answers agree, the second's do not
    samples = tuple(spread * logits(seed, 1) for seed in range(8))
    mean = torch.stack(samples).mean(0)
    student = mean + 1.0  # the same error twice
    for covariance in ("full", "diagonal"):
        sure, unsure = Confidence(8, covariance).loss(reading(student, mean, samples=samples), None)
        assert sure > 1.5 * unsure
    alike = (mean,) * 8
    certain = Confidence(8).loss(reading(student, mean, samples=alike), None)
    torch.testing.assert_close(certain, LogitRegression(Confidence().reduce).loss(reading(student, mean), None))


@pytest.mark.parametrize("dropout", [nn.Identity(), nn.Dropout(0.0)], ids=["none", "of 0"])
def test_a_teacher_without_dropout_gets_some_before_its_classifier(dropout: nn.Module):
    teacher, student = networks(alike=False)
    teacher.dropout = dropout
    objective = Objective(Confidence(400, dropout=0.3), student=student, teacher=teacher, example=batch(2)[0])
    reading = objective.read(*batch(3)[:2])
    samples = torch.stack(reading.teacher_samples)
    with torch.no_grad():
        plain = teacher(batch(3)[0])
    error = samples.std(0) / 20
    assert ((samples.mean(0) - plain).abs() < 5 * error).all()
    values, weights = reading.teacher["fc:input"], teacher.fc.weight
    variance = 0.3 / 0.7 * (values.square() @ weights.square().T)
    torch.testing.assert_close(samples.var(0), variance, rtol=0.5, atol=0)


def test_a_teacher_without_dropout_and_without_a_classifier_is_an_error():
    student = networks(alike=False)[1]
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(64, CLASSES), nn.Softmax(1))
    with pytest.raises(UserError, match="Sequential has no dropout module, nor a linear layer that answers last"):
        Objective(Confidence(), student=student, teacher=teacher, example=batch(2)[0])


# MLKD


def test_the_levels_of_mlkd_keep_their_balance_in_batches_and_classes_of_any_number():
    torch.manual_seed(0)

    def level(samples: int, classes: int, term: MLKD) -> Tensor:
        sure = 100.0 * torch.eye(classes)[torch.arange(samples) % classes]
        return term.loss(reading(torch.zeros_like(sure), sure), None).mean()

    for whole in (MLKD(instance=0.0, classes=0.0), MLKD(instance=0.0, batch=0.0)):
        torch.testing.assert_close(level(400, 10, whole), level(600, 100, whole), rtol=0.3, atol=0)
    published = MLKD(instance=0.0, batch=0.0, classes=1.0)
    assert level(400, 10, published) > 10 * level(600, 100, published)


# Curriculum


@pytest.mark.parametrize("by", ["all", "sample"])
def test_the_temperature_climbs_while_the_student_descends(by: str):
    term = CurriculumKD(rise=10.0, by=by)
    teacher, student = networks(alike=False)
    objective = Objective(term, student=student, teacher=teacher, example=batch(2)[0])
    owned = objective.owned["curriculumkd"]
    optimizer = torch.optim.SGD(owned.parameters(), lr=1e-2)
    ours, theirs = logits(0).requires_grad_(), logits(1)

    def loss(epoch: float) -> Tensor:
        return term.loss(reading(ours, theirs, epoch=epoch), owned).mean()

    (of_student,) = torch.autograd.grad(loss(0.0), ours)
    loss(0.0).backward()
    assert all(p.grad is None or not p.grad.any() for p in owned.parameters())  # no strength yet
    torch.testing.assert_close(torch.autograd.grad(loss(10.0), ours)[0], of_student)
    before = loss(10.0).item()
    loss(10.0).backward()
    optimizer.step()
    assert loss(10.0).item() > before
    assert [term.strength(epoch) for epoch in (0, 5, 10, 99)] == pytest.approx([0, 0.5, 1, 1])
    assert CurriculumKD(rise=0.0).strength(0.0) == 1


# Several teachers


def test_several_teachers_are_asked_and_averaged():
    torch.manual_seed(4)
    teachers, student = [Net(6), Net(4)], Net(3)
    images, labels, _ = batch()
    asked = [teacher.eval()(images) for teacher in teachers]
    answers = [(asked[0] / 2).softmax(-1), (asked[1] / 2).softmax(-1)]
    for weights, shares in ((None, (0.5, 0.5)), ((3, 1), (0.75, 0.25)), ((0, 2), (0.0, 1.0))):
        term = SeveralTeachers(2.0, weights)
        found = Objective(term, student=student.eval(), teacher=teachers)(images, labels).loss
        target = sum(share * answer for share, answer in zip(shares, answers, strict=True))
        log = (student(images) / 2).log_softmax(-1)
        expected = 4 * nn.functional.kl_div(log, target, reduction="batchmean")
        torch.testing.assert_close(found, expected)
    with pytest.raises(UserError, match="3 weights for 2 teachers"):
        Objective(SeveralTeachers(weights=(1, 1, 1)), student=student, teacher=teachers)(images, labels)


def test_one_teacher_of_several_is_plain_kd():
    one = reading(logits(0), logits(1))
    torch.testing.assert_close(SeveralTeachers(3.0).loss(one, None), KD(3.0).loss(one, None))


def test_most_teachers_win_the_vote():
    first, second = 5 * torch.eye(CLASSES)[:2]
    several = reading(logits(0, 1), first[None], second[None], first[None])
    expected = -logits(0, 1).log_softmax(-1)[:, 0]
    torch.testing.assert_close(Vote().loss(several, None), expected)


def test_guides_are_left_out_at_random_as_the_seed_of_the_step_says():
    guides = [logits(k) for k in range(1, 5)]
    several = reading(logits(0), *guides)
    alone = torch.stack([KD(5.0).loss(reading(logits(0), guide), None) for guide in guides])

    def kept(term: DGKD, step: int) -> set[int]:
        """Which guides' divergences make the sum."""
        torch.manual_seed(step)
        found = term.loss(several, None)
        torch.manual_seed(step)
        assert torch.equal(term.loss(several, None), found)
        ways = [tuple(k for k in range(4) if bits >> k & 1) for bits in range(16)]
        return set(min(ways, key=lambda way: (alone[list(way)].sum(0) - found).abs().max()))

    one_less = [kept(DGKD(drop=1), step) for step in range(40)]
    assert {len(which) for which in one_less} == {3}
    assert set.union(*({0, 1, 2, 3} - which for which in one_less)) == {0, 1, 2, 3}  # the teacher may be left out, too
    assert {len(kept(DGKD(drop=9), step)) for step in range(5)} == {1}
    shares = [len(kept(DGKD(survival=0.75), step)) / 4 for step in range(200)]
    assert sum(shares) / 200 == pytest.approx(0.75, abs=0.06)
    assert kept(DGKD(), 0) == {0, 1, 2, 3}


def test_dense_guidance_of_one_teacher_is_plain_kd():
    one = reading(logits(0), logits(1))
    expected = 0.3 * CE().loss(one, None) + 0.7 * KD(5.0).loss(one, None)
    for form in ("paper", "code"):
        torch.testing.assert_close(DGKD(0.7, form=form).loss(one, None), expected)


# No teacher


def test_a_virtual_teacher_asks_for_no_network():
    _, student = networks(alike=False)
    images, labels, _ = batch()
    outcome = Objective(0.9 * CE() + 0.1 * VirtualTeacher(), student=student)(images, labels)
    outcome.loss.backward()
    assert student.fc.weight.grad is not None


# Settings


@pytest.mark.parametrize(
    "make",
    [
        lambda: LogitRegression(reduce="max"),
        lambda: NoisyTeacher(sigma=-1),
        lambda: NoisyTeacher(share=1.5),
        lambda: Confidence(samples=1),
        lambda: Confidence(covariance="none"),
        lambda: Confidence(ridge=0.0),
        lambda: DKD(temperature=0),
        lambda: DKD(beta=-1),
        lambda: NKD(gamma=-1),
        lambda: DIST(temperature=-1),
        lambda: DGKD(temperature=0),
        lambda: DGKD(weight=1.5),
        lambda: DGKD(form="other"),
        lambda: DGKD(survival=0),
        lambda: DGKD(drop=1, survival=0.5),
        lambda: StandardisedKD(temperature=float("nan")),
        lambda: MLKD(temperatures=()),
        lambda: CurriculumKD(start=0),
        lambda: CurriculumKD(by="class"),
        lambda: SeveralTeachers(weights=()),
        lambda: SeveralTeachers(weights=(0.0, 0.0)),
        lambda: SeveralTeachers(average="votes"),
        lambda: VirtualTeacher(correct=1.0),
        lambda: VirtualTeacher(temperature=0.0),
        lambda: DKPP(temperature=0),
        lambda: find("dkd")(CONFIG, warmup_epochs=-1),
        lambda: find("review")(CONFIG, pairs=("a -> b",), embedding="c -> d", warmup_epochs=-1),
        lambda: find("function-matching")(CONFIG, longer=0),
        lambda: find("several-teachers")(CONFIG, combine="vote", weights=(1, 2)),
    ],
)
def test_settings_that_cannot_be_are_refused(make):
    with pytest.raises(UserError):
        bounds.check(make(), "term")


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        (find("logit-regression")(CONFIG), 1.0 * LogitRegression("mean")),
        (find("noisy-teacher")(CONFIG), 1.0 * NoisyTeacher(0.9, 0.5, "mean")),
        (find("confidence")(CONFIG), 1.0 * CE() + 1.0 * Confidence(reduce="mean")),
        (find("dkd")(CONFIG), CE() + 1.0 * DKD(1.0, 8.0, 4.0) * linear(0, 1, epochs=2)),
        (find("dkd")(CONFIG, warmup_epochs=0), CE() + 1.0 * DKD()),
        (find("nkd")(CONFIG), CE() + 1.0 * NKD(1.5, 1.0)),
        (find("dist")(CONFIG), CE() + 1.0 * DIST(2.0, 2.0, 4.0)),
        (find("standardised-kd")(CONFIG), 0.1 * CE() + 9.0 * StandardisedKD(2.0)),
        (find("mlkd")(CONFIG), 0.1 * CE() + 0.18 * MLKD()),
        (find("mlkd")(CONFIG, temperatures=[4, 2], batch=0, classes=3), 0.1 * CE() + 0.18 * MLKD((4, 2), 1.0, 0, 3)),
        (find("ctkd")(CONFIG), 0.1 * CE() + 0.9 * CurriculumKD(1.0, 20.0, 1.0)),
        (find("several-teachers")(CONFIG), 0.1 * CE() + 0.9 * SeveralTeachers(4.0)),
        (find("several-teachers")(CONFIG, weights=[1, 2]), 0.1 * CE() + 0.9 * SeveralTeachers(4.0, (1, 2))),
        (find("several-teachers")(CONFIG, combine="vote"), 0.1 * CE() + 0.9 * Vote()),
        (find("tf-kd-reg")(CONFIG), 0.9 * CE() + 0.1 * VirtualTeacher(0.99, 20.0)),
        (find("born-again-cwtm")(CONFIG), 1.0 * CWTM()),
        (find("born-again-dkpp")(CONFIG), 1.0 * DKPP(1.0)),
    ],
    ids=lambda value: value[0].name if isinstance(value, list) else "",
)
def test_the_methods_objectives_are_those_of_the_papers(stages, expected):
    (stage,) = stages
    assert stage.objective == as_sum(expected)
    assert replace(stage.config, batch=CONFIG.batch) == CONFIG


def test_function_matching_is_kl_alone_on_mixtures_for_as_long_as_one_likes():
    (stage,) = find("function-matching")(CONFIG, longer=3)
    assert stage.objective == 1.0 * KD(1.0)
    assert stage.config == replace(CONFIG, epochs=72, augmentation=replace(CONFIG.augmentation, mixup=1.0))
    (fair,) = find("function-matching")(CONFIG)
    assert fair.config.epochs == CONFIG.epochs
