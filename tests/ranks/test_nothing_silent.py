"""On two real processes an objective trains as on one, or says in one line why it does not."""

import pytest
import torch
from torch import nn

from tests.ranks.cases import batch, networks
from tests.ranks.group import Group
from understudy import Objective
from understudy.errors import UserError
from understudy.terms import CE, KD, Hint
from understudy.training.loop import Training

WAY_OUT = "objective.as_module()"

REFUSED = [
    ("cut", "DDP", "forward pass is cut"),
    ("cut", "DDP unused", "forward pass is cut"),
    ("hint", "DDP", "owns would learn on each rank"),
    ("can", "DDP", "looks at the whole batch"),
    ("crd", "DDP", "looks at the whole batch"),
    ("crd-batch", "DDP", "looks at the whole batch"),
    ("rkd", "DDP", "looks at the whole batch"),
    ("sp", "DDP", "looks at the whole batch"),
    ("auto", "DDP", "auto() would measure"),
    ("kd", "DDP later", "calls the student without it"),
    ("kd", "DDP(objective)", "does not average the student's gradients"),
    ("hint", "DDP(objective)", "does not average the student's gradients"),
    ("hint", "DDP(holder)", "does not hold the student"),
    ("sp", "DDP(holder with the student)", "looks at the whole batch"),
    ("can", "DDP(holder with the student)", "looks at the whole batch"),
    ("hint", "FSDP2", "owns would learn on each rank"),
    ("sp", "FSDP2", "looks at the whole batch"),
    ("can", "FSDP2", "looks at the whole batch"),
    ("hint", "FSDP2(objective)", "does not shard the student"),
    ("kd", "nothing", "nothing known averages"),
    ("kd", "bare step", "nothing known averages"),
]


@pytest.mark.parametrize(("terms", "wrapping", "reason"), REFUSED)
def test_what_would_train_wrong_is_refused(both: Group, terms: str, wrapping: str, reason: str):
    said = both("refusal", terms, wrapping)
    assert all(reason in text and WAY_OUT in text and "\n" not in text for text in said), said


def test_a_wrapped_student_is_refused_in_a_step(both: Group):
    said = both("refusal", "kd", "step of a wrapped student")
    assert all("make the objective with the student itself" in text for text in said), said


@pytest.mark.parametrize("wrapping", ["DDP", "FSDP2", "DDP(holder with the student)"])
def test_what_trains_right_is_not_refused(both: Group, wrapping: str):
    assert both("refusal", "kd", wrapping) == ["", ""]


def test_an_optimizer_made_after_the_objective_gets_all_shards(both: Group):
    assert all(sharded == total for sharded, total in both("parameters_after_tracing"))


@pytest.mark.parametrize("terms", ["kd", "cut without regressor"])
def test_fsdp2_around_the_student_trains_as_one_process(both: Group, terms: str):
    from tests.ranks.cases import trained

    alone = trained(0, terms, "alone")
    for found in both("trained", terms, "FSDP2"):
        for name, value in alone.items():
            assert torch.allclose(found[name], value, atol=1e-5), name


def test_data_parallel_is_refused_where_it_copies_an_objective():
    teacher, student = networks()
    objective = Objective(CE() + KD(), student=student, teacher=teacher)
    objective._is_replica = True
    images, labels, _ = batch()
    with pytest.raises(UserError, match="DataParallel copies an objective"):
        objective(images, labels)


def test_data_parallel_around_a_student_with_taps_is_refused():
    teacher, student = networks()
    wrapped = nn.DataParallel(student)
    wrapped.device_ids = [0, 1]  # as it is on two GPUs
    with pytest.raises(UserError, match="taps cannot be read on several devices"):
        Objective(CE() + Hint("block2 -> block2"), student=wrapped, teacher=teacher, example=batch()[0][:2])


def test_a_training_is_refused_under_torchrun(monkeypatch, small):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    teacher, student = small.networks()
    with pytest.raises(UserError, match="2 were started"):
        Training(student, [teacher], [], small.data())
