"""What is special of the terms in ``rows_features_b``, and that their methods train from the taps that are proposed."""

import importlib
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from tests.terms.rows_features_b import EMBEDDING, HEADS, MAPS, ROWS, STAGES
from tests.terms.table import CLASSES, Net, Row, networks
from understudy import Objective, UserError, bounds, losses
from understudy.config.train import TrainConfig
from understudy.methods.cat_kd import class_activation_maps
from understudy.methods.shared.maps import BatchNorm
from understudy.taps import Answer, Tap
from understudy.taps.defaults import PLACEHOLDERS, PROPOSALS
from understudy.terms import CATKD, CE, MGD, OFA, SRRL, DarkRank, Review, SimKD, Triplets

RELATIONS = {"RKDDistance", "RKDAngle", "SP", "CC", "CCDifferences", "PKT", "DarkRank", "Triplets"}
MODULES = {
    "cwd": ("cwd",),
    "mgd": ("mgd",),
    "encoder": ("encoder",),
    "ickd": ("ickd",),
    "review": ("review",),
    "cat_kd": ("cat-kd",),
    "srrl": ("srrl",),
    "ofa": ("ofa",),
    "simkd": ("simkd",),
    "rkd": ("rkd",),
    "sp": ("sp",),
    "cc": ("cc", "cc-differences"),
    "pkt": ("pkt",),
    "darkrank": ("darkrank-soft", "darkrank-hard"),
    "triplets": ("triplets",),
}
METHODS = {
    method.name: method
    for module in MODULES
    for method in vars(importlib.import_module(f"understudy.methods.{module}")).values()
    if type(method).__name__ == "Method"
}


def inputs(size: int = 6) -> Tensor:
    return torch.randn(size, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_one_sample_alone_does_no_harm(row: Row):
    teacher, student = networks(alike=not row.other_shapes)
    student.eval()  # its own batch norm is not what is tried here
    objective = Objective(row.term, student=student, teacher=teacher, example=inputs(2))
    loss = objective(inputs(1), torch.tensor([1]), epoch=1.0).loss
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(p.grad).all() for p in student.parameters() if p.grad is not None)
    if type(row.term).__name__ in RELATIONS:
        assert loss.item() == pytest.approx(0.0, abs=1e-6)


def test_all_methods_are_tried_here():
    assert {name for names in MODULES.values() for name in names} == set(METHODS)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_trains_from_the_taps_that_are_proposed(name):
    method = METHODS[name]
    assert set(method.needed) <= set(PLACEHOLDERS)
    assert len(method.summary) < 90
    teacher, student = networks(alike=False)
    taps = {setting: PROPOSALS[setting](teacher, student, inputs(2)) for setting in method.needed}
    (stage,) = method(TrainConfig(epochs=4), **taps)
    if method.grafts:
        method.grafts(student, teacher, method.complete(taps))
    objective = Objective(stage.objective, student=student, teacher=teacher, example=inputs(2))
    outcome = objective(inputs(), torch.arange(6) % CLASSES, epoch=3.0)
    outcome.loss.backward()
    assert torch.isfinite(outcome.loss)
    learning = student.maps1[0] if method.grafts else student.fc
    assert learning.weight.grad.abs().sum() > 0
    assert all(weight > 0 for weight in objective.weights(3.0).values())


def test_the_masks_are_drawn_from_torchs_generator():
    teacher, student = networks(alike=True)
    objective = Objective(MGD(MAPS, ratio=0.5), student=student.eval(), teacher=teacher, example=inputs(2))
    values = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        values.append(objective(inputs(), torch.zeros(6, dtype=torch.long)).loss.item())
    assert values[0] == values[1] != values[2]


def test_class_attention_trains_the_students_own_classifier():
    teacher, student = networks(alike=False)
    objective = Objective(CE() + 0.5 * CATKD(MAPS, HEADS), student=student, teacher=teacher, example=inputs(2))
    reading = objective.read(inputs(), torch.zeros(6, dtype=torch.long))
    tap = Tap("maps2")
    own = class_activation_maps(reading.student[tap], student.fc.weight)
    expected = losses.cat_kd(own, class_activation_maps(reading.teacher[tap], teacher.fc.weight)).mean()
    torch.testing.assert_close(objective.judge(reading).terms["catkd"], expected.detach())
    (gradient,) = torch.autograd.grad(expected, student.fc.weight)
    assert gradient.abs().sum() > 0
    with torch.no_grad():
        student.fc.weight.add_(1)
    assert objective.judge(reading).terms["catkd"] != expected  # live, not a copy


def test_class_attention_says_where_the_classifier_does_not_fit_the_map():
    teacher, student = networks(alike=False)
    with pytest.raises(UserError, match=r"has no weight \(classes, 6\)"):
        Objective(CATKD("maps1 -> maps2", "maps2.0 -> fc"), student=student, teacher=teacher, example=inputs(2))


def test_srrl_passes_through_a_frozen_copy_of_the_teachers_classifier():
    teacher, student = networks(alike=False)
    objective = Objective(SRRL(MAPS, HEADS), student=student, teacher=teacher, example=inputs(2))
    copied = objective.owned["srrl"]["classifier"]
    assert copied is not teacher.fc
    assert torch.equal(copied.weight, teacher.fc.weight)
    learning = torch.optim.SGD([*student.parameters(), *objective.owned.parameters()], lr=0.1, weight_decay=0.1)
    objective(inputs(), torch.zeros(6, dtype=torch.long)).loss.backward()
    learning.step()
    assert torch.equal(copied.weight, teacher.fc.weight)
    assert all(p.requires_grad for p in teacher.parameters())


def test_a_review_of_the_deepest_stage_reaches_the_shallow_one_only_through_fusion():
    teacher, student = networks(alike=False)
    objective = Objective(Review(STAGES), student=student, teacher=teacher, example=inputs(2))
    fusions = objective.owned["review"]
    maps = [torch.randn(6, 3, 8, 8), torch.randn(6, 6, 2, 2)]
    for value in maps:
        value.requires_grad_(True)
    shallow, deep = fusions(maps)
    assert shallow.shape[1:] == (6, 8, 8)  # the teacher's shapes
    assert deep.shape[1:] == (12, 4, 4)
    assert torch.autograd.grad(deep.square().sum(), maps[0], retain_graph=True, allow_unused=True) == (None,)
    by_shallow = torch.autograd.grad(shallow.square().sum(), maps)
    assert all(gradient.abs().sum() > 0 for gradient in by_shallow)


def test_ofa_adds_the_exits_to_the_logits():
    teacher, student = networks(alike=False)
    term = OFA(STAGES)
    objective = Objective(term, student=student.eval(), teacher=teacher, example=inputs(2)).eval()
    labels = torch.arange(6) % CLASSES
    reading = objective.read(inputs(), labels)
    heads = objective.owned["ofa"]
    answers = [reading.student.logits] + [h(reading.student[t]) for h, t in zip(heads, STAGES_OF_STUDENT, strict=True)]
    expected = sum(losses.ofa(answer, reading.teacher.logits, labels) for answer in answers).mean()
    torch.testing.assert_close(objective.judge(reading).loss, expected)
    halving = [m for m in heads[0].modules() if isinstance(m, nn.Conv2d) and m.stride == (2, 2)]
    assert len(halving) == 1  # one stage follows


STAGES_OF_STUDENT = (Tap("maps1"), Tap("maps2"))


def test_simkd_averages_the_larger_map_down():
    teacher, student = networks(alike=False)
    objective = Objective(SimKD(MAPS), student=student, teacher=teacher, example=inputs(2))
    seen = []
    objective.owned["simkd"].register_forward_hook(lambda _m, _i, output: seen.append(output.shape))
    objective(inputs(), torch.zeros(6, dtype=torch.long))
    assert seen == [(6, 12, 2, 2)]  # the student's grid, the teacher's channels


def test_ranks_do_not_depend_on_the_scale_of_the_embeddings():
    teacher, student = networks(alike=False)
    objective = Objective(DarkRank(EMBEDDING), student=student.eval(), teacher=teacher, example=inputs(2))
    reading = objective.read(inputs(), torch.zeros(6, dtype=torch.long))
    tap = Tap("fc", "input")
    larger = replace(reading, student=Answer(None, {tap: 100 * reading.student[tap]}))
    term = DarkRank(EMBEDDING)
    torch.testing.assert_close(term.loss(larger, None), term.loss(reading, None))


def test_further_teachers_vote_on_triplets():
    teacher, student = networks(alike=False)
    torch.manual_seed(5)
    others = [type(teacher)(6).eval() for _ in range(2)]
    objective = Objective(Triplets(EMBEDDING), student=student.eval(), teacher=[teacher, *others], example=inputs(2))
    reading = objective.read(inputs(), torch.zeros(6, dtype=torch.long))
    tap = Tap("fc", "input")
    votes = [reading.teacher[tap], *(other(inputs()).detach() for other in others)]
    expected = losses.relative_dissimilarity(reading.student[tap], *votes).mean()
    torch.testing.assert_close(objective.judge(reading).loss, expected)
    assert expected != losses.relative_dissimilarity(reading.student[tap], votes[0]).mean()


def test_further_teachers_vote_by_taps_of_their_own():
    teacher, student = networks(alike=False)
    torch.manual_seed(5)
    further = [Net(4).eval(), Net(5).eval()]
    term = Triplets(EMBEDDING, others=("fc:input",))
    objective = Objective(term, student=student.eval(), teacher=[teacher, *further], example=inputs(2))
    reading = objective.read(inputs(), torch.zeros(6, dtype=torch.long))
    tap = Tap("fc", "input")
    with torch.no_grad():
        votes = [reading.teacher[tap], further[0].maps2(further[0].maps1(inputs())).mean((2, 3)), further[1](inputs())]
    expected = losses.relative_dissimilarity(reading.student[tap], *votes).mean()
    torch.testing.assert_close(objective.judge(reading).loss, expected)
    with pytest.raises(UserError, match="taps are named for 1 further teachers, and there are 0"):
        Objective(term, student=student, teacher=teacher, example=inputs(2))


def test_a_single_value_for_each_channel_is_normalised_by_the_running_ones():
    norm = BatchNorm(3)
    norm(torch.randn(4, 3, 1, 1))
    mean, one = norm.running_mean.clone(), torch.randn(1, 3, 1, 1)
    expected = (one[:, :, 0, 0] - norm.running_mean) / (norm.running_var + norm.eps).sqrt()
    torch.testing.assert_close(norm(one)[:, :, 0, 0], expected)
    assert torch.equal(mean, norm.running_mean)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: MGD(MAPS, ratio=1.0),
        lambda: Review(()),
        lambda: SRRL(MAPS, HEADS, features=0.0, logits=0.0),
        lambda: DarkRank(EMBEDDING, list_length=9),
        lambda: DarkRank(EMBEDDING, beta=0.5),
        lambda: Triplets(EMBEDDING, margin=-1.0),
        lambda: CATKD("maps2", HEADS),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(UserError):
        bounds.check(wrong(), "term")
