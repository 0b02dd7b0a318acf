"""What is special of the terms in ``rows_features_b``, and that their methods train from the taps that are proposed."""

import copy
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
from understudy.methods.shared.copies import continued
from understudy.methods.shared.maps import BatchNorm
from understudy.models import build
from understudy.taps import Answer, Tap
from understudy.taps.defaults import PLACEHOLDERS, PROPOSALS
from understudy.tasks import Classification
from understudy.terms import (
    BYOT,
    CATKD,
    CE,
    FCFD,
    KDSVD,
    MGD,
    OFA,
    SRRL,
    ConfidentMaps,
    DarkRank,
    Review,
    ScaleKD,
    SimKD,
    Triplets,
)

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
    "kdsvd": ("kdsvd",),
    "byot": ("byot",),
    "fcfd": ("fcfd",),
    "norm": ("norm",),
    "scalekd": ("scalekd",),
    "dist_plus": ("dist-plus",),
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


def test_further_teachers_count_by_what_their_classifiers_make_of_the_students_map():
    teacher, student = networks(alike=False)
    torch.manual_seed(5)
    further = [Net(4).eval(), Net(5).eval()]
    term = ConfidentMaps(MAPS, others=("maps2",))
    objective = Objective(term, student=student.eval(), teacher=[teacher, *further], example=inputs(2)).eval()
    assert "1 further teachers" in objective.remarks["confidentmaps"][0]
    labels = torch.arange(6) % CLASSES
    reading = objective.read(inputs(), labels)
    distances, answers = [], []
    for network, modules in zip((teacher, further[0]), objective.owned["confidentmaps"], strict=True):
        with torch.no_grad():
            map_t = network.maps2(network.maps1(inputs()))
        own = modules["embed"](reading.student[Tap("maps2")])
        distances.append((own - map_t).square().mean((1, 2, 3)))
        answers.append(network.fc(own.mean((2, 3))))
    unsure = torch.stack([nn.functional.cross_entropy(z, labels, reduction="none") for z in answers])
    expected = ((1 - unsure.softmax(0)) * torch.stack(distances)).sum(0).mean() / 2
    torch.testing.assert_close(objective.judge(reading).loss, expected)
    with pytest.raises(UserError, match="no linear layer of the teacher answers from the mean of its 'maps1'"):
        Objective(ConfidentMaps("maps1 -> maps2"), student=student, teacher=teacher, example=inputs(2))


def test_exits_leave_the_answer_that_they_learn_from_alone():
    student = networks(alike=False)[1].eval()
    objective = Objective(BYOT((*STAGES, EMBEDDING), features=1.0), student=student, example=inputs(2)).eval()
    objective(inputs(), torch.arange(6) % CLASSES).loss.backward()
    assert all(p.grad is None for p in student.fc.parameters())
    assert student.maps1[0].weight.grad.abs().sum() > 0
    assert objective.owned["byot"][1]["adaptation"].weight.grad.abs().sum() > 0


def test_each_networks_later_stages_run_on_the_others_maps():
    teacher, student = networks(alike=False)
    student.dropout.p = 0.0
    objective = Objective(FCFD(STAGES, maps=2.0), student=student, teacher=teacher, example=inputs(2))
    x, labels = inputs(), torch.arange(6) % CLASSES
    reading = objective.read(x, labels)
    before = {name: value.clone() for name, value in student.named_buffers()}
    value = objective.judge(reading).loss
    assert all(torch.equal(value, before[name]) for name, value in student.named_buffers())
    value.backward()
    assert all(p.requires_grad and p.grad is None for p in teacher.parameters())

    bridges = objective.owned["fcfd"]
    to_teacher, to_student = bridges["to_teacher"], bridges["to_student"]
    with torch.no_grad():
        t1 = teacher.maps1(x)
        t2 = teacher.maps2(t1)
        s1 = student.maps1(x)
        s2 = student.maps2(s1)
        bridged = to_teacher[0](s1)
        mixed_t = teacher.maps2(bridged)
        mixed_s = student.maps2(to_student[0](t1))
        distances = (bridged - t1).square().mean()
        for maps in (to_teacher[1](s2), mixed_t):
            pooled = maps.relu().mean((2, 3)) - t2.relu().mean((2, 3))
            distances += (maps - t2).square().mean() + pooled.square().mean()
        answers = [teacher.fc(mixed_t.mean((2, 3))), student.fc(mixed_s.mean((2, 3)))]
        soft = sum(losses.kd(z, teacher(x), temperature=4.0).mean() for z in answers)
    torch.testing.assert_close(value, 2 * distances + soft)


def test_what_goes_around_a_map_that_is_replaced_is_a_remark():
    class Around(Net):
        def forward(self, x: Tensor) -> Tensor:
            first = self.maps1(x)
            return self.fc(self.maps2(self.out(first) + first).mean((2, 3)))

    teacher, student = networks(alike=False)
    around = Around(4).eval()
    around.out = nn.ReLU()
    pairs = ("maps1 -> out", "maps2 -> maps2")
    for term, remarks in ((FCFD(STAGES), 0), (FCFD(pairs), 1)):
        objective = Objective(term, student=around, teacher=teacher, example=inputs(2))
        assert len(objective.remarks.get("fcfd", ())) == remarks
    assert "the student computes after 'out' reads more" in objective.remarks["fcfd"][0]
    objective = Objective(
        ScaleKD(("out -> maps1", "maps2 -> maps2")), student=student, teacher=around, example=inputs(2)
    )
    assert "the teacher computes after 'out' reads more" in objective.remarks["scalekd"][0]


def test_the_weight_of_maps_that_the_authors_do_not_take_for_resnets_is_a_remark():
    stages = tuple(f"layer{n} -> layer{n}" for n in (1, 2, 3))
    narrow, deep, wide = build("resnet8"), build("resnet14"), build("resnet8x4")
    for maps, student, teacher, remarks in (
        (5.0, narrow, deep, 1),
        (0.02, narrow, deep, 0),
        (5.0, wide, copy.deepcopy(wide), 0),
    ):
        objective = Objective(
            FCFD(stages, maps=maps), student=student, teacher=teacher, example=torch.rand(2, 3, 32, 32)
        )
        assert len(objective.remarks.get("fcfd", ())) == remarks
    assert len(Objective(FCFD(stages), student=narrow, teacher=wide, example=torch.rand(2, 3, 32, 32)).remarks) == 0


def test_a_transformer_goes_on_from_a_grid_with_its_own_class_token():
    class Layer(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + x.mean(1, keepdim=True)

    class Vision(nn.Module):
        def __init__(self):
            super().__init__()
            self.cut, self.first, self.second = nn.Conv2d(1, 6, 4, 4), Layer(), Layer()
            self.token, self.fc = nn.Parameter(torch.randn(1, 1, 6)), nn.Linear(6, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            tokens = torch.cat([self.token.expand(len(x), -1, -1), self.cut(x).flatten(2).mT], 1)
            return self.fc(self.second(self.first(tokens))[:, 0])

    teacher, taps = Vision().eval(), (Tap.parse("first:grid"), Tap.parse("second:grid"))
    other = torch.randn(6, 6, 2, 2)
    answer = continued(teacher, taps[0], other, inputs(), taps[1:], Classification())
    tokens = torch.cat([teacher.token.expand(6, -1, -1), teacher.cut(inputs()).flatten(2).mT], 1)
    mixed = teacher.second(torch.cat([teacher.first(tokens)[:, :1], other.flatten(2).mT], 1))
    torch.testing.assert_close(answer.logits, teacher.fc(mixed[:, 0]))
    torch.testing.assert_close(answer[taps[1]], mixed[:, 1:].mT.unflatten(2, (2, 2)))
    with pytest.raises(UserError, match="'first:grid' is"):
        continued(teacher, taps[0], other[:, :5], inputs(), (), Classification())
    student = networks(alike=False)[1]
    pairs = ("first:grid -> maps1", "second:grid -> maps2")
    objective = Objective(ScaleKD(pairs), student=student, teacher=teacher, example=inputs(2))
    objective(inputs()).loss.backward()
    assert student.maps2[0].weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in teacher.parameters())


def test_singular_vectors_that_are_equal_have_a_finite_gradient():
    _, student = networks(alike=False)
    student.maps1[0].weight.data.zero_()
    objective = Objective(KDSVD(STAGES), student=student, teacher=networks(alike=False)[0], example=inputs(2))
    objective(inputs()).loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in student.parameters() if p.grad is not None)


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
