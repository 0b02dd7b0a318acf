"""Samples without labels beside those with labels, on every task: what is left out, what stands in their place."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.conftest import Stopper
from tests.tasks.test_every_method import DATA, PARTLY
from tests.tasks.test_tasks import PLAIN, networks
from understudy import Objective, nested
from understudy.answers import StoredAnswers
from understudy.config.optimizers import SGD
from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.data import Augmentation, Crop, TokenNoise, Turn, from_tensors
from understudy.data.dataset import Access
from understudy.data.unlabelled import source_of, with_unlabelled
from understudy.errors import UserError
from understudy.tasks import Classification
from understudy.terms import CE, CRD, KD, Hint, Labels, Outputs, PseudoLabels, RKDDistance
from understudy.training.interrupt import Stopped, StopRequest
from understudy.training.loop import Training
from understudy.training.stage_state import facts_of

CPU = torch.device("cpu")
MOVED = Augmentation(crop=Crop(scale=(0.5, 1.0)), shift=1, flip=True)
OF_TASK = {
    "detection-3d": Augmentation(turn=Turn()),
    "text": Augmentation(tokens=TokenNoise(mask=0.2, drop=0.2, span=0.3)),
    "tags": Augmentation(tokens=TokenNoise(mask=0.2, drop=0.2, span=0.3)),
    "links": Augmentation(),
}
MIXED = ("classification", "soft-labels", "multilabel", "binary", "regression")


def batch_of(data, augmentation=None, size=24):
    return next(
        data.train.epoch(0, seed=0, batch=size, augmentation=augmentation or Augmentation(), task=data.task, device=CPU)
    )


def labelled(data, ids):
    return ids < len(data.train.source) - data.unlabelled


@pytest.mark.parametrize("name", PARTLY)
def test_a_view_of_a_sample_without_a_label_has_none(name):
    data = PARTLY[name]
    batch = batch_of(data, OF_TASK.get(name, MOVED))
    known = labelled(data, batch.ids)
    assert 0 < known.sum() < len(batch)
    assert torch.equal(data.task.has_label(batch.targets), known)


@pytest.mark.parametrize("name", MIXED)
def test_a_mixture_with_a_sample_without_a_label_has_none(name):
    data, augmentation = PARTLY[name], Augmentation(mixup=1.0)
    batch = batch_of(data, augmentation)
    partners = augmentation.partners(0, 0, batch.ids, data.train.ids)
    expected = labelled(data, batch.ids) & labelled(data, partners)
    assert 0 < expected.sum() < len(batch)
    assert torch.equal(data.task.has_label(batch.targets), expected)
    answer = data.task.answer(networks(data)[0](batch.inputs))
    completed = data.task.completed_by(batch.targets, answer)
    assert torch.isfinite(completed).all()
    assert torch.equal(completed[expected], batch.targets[expected])


@pytest.mark.parametrize("name", PARTLY)
def test_the_labels_loss_leaves_them_out_and_others_take_the_teachers_answer(name):
    data, (teacher, student) = PARTLY[name], networks(PARTLY[name])
    nn.init.zeros_(student.out.bias if hasattr(student.out, "bias") else student.conv.bias)
    batch, task = batch_of(data), data.task
    known = labelled(data, batch.ids)
    scores = KD() if task.rows_per_sample else Outputs()
    objective = Objective(
        Labels() + PseudoLabels() + scores, student=student, teacher=teacher, task=task, unlabelled=True, watch=False
    )
    reading = objective.read(batch.inputs, batch.targets)
    assert torch.equal(reading.labelled, known)
    answer = reading.student.named
    of_labels, of_answers = (part.term.loss(reading, None) for part in list(objective.parts.values())[:2])
    assert (of_labels[~known] == 0).all()
    assert (of_answers[known] == 0).all()
    only = {key: value[known] for key, value in answer.items()}
    given = nested.chosen(batch.targets, known)
    torch.testing.assert_close(of_labels[known], task.loss(only, given))
    teachers = {key: value[~known] for key, value in reading.teacher.named.items()}
    answered = task.completed_by(nested.chosen(batch.targets, ~known), teachers)
    assert task.has_label(answered).all()
    torch.testing.assert_close(of_answers[~known], task.loss({k: v[~known] for k, v in answer.items()}, answered))
    whole = Objective(scores, student=student, teacher=teacher, task=task, watch=False)
    completed = task.completed_by(batch.targets, reading.teacher.named)
    expected = whole(batch.inputs, completed).loss
    torch.testing.assert_close(objective.judge(reading).terms[type(scores).__name__.lower()], expected.detach())


def test_a_line_of_a_file_is_one_text_whatever_separators_it_holds(tmp_path):
    (tmp_path / "more.txt").write_text("a fine\u2028film\n\nso\x85 dull\r\n", encoding="utf-8")
    data = PARTLY["text"]
    assert torch.equal(
        source_of(tmp_path / "more.txt", data, Access()).samples["input_ids"],
        data.task.encode(["a fine film", "so dull"])["input_ids"],
    )


def test_a_line_that_is_no_query_is_told_with_its_file(tmp_path):
    (tmp_path / "more.txt").write_text("nobody\tknows\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"unlabelled = '.*more\.txt': there is no entity 'nobody'"):
        source_of(tmp_path / "more.txt", PARTLY["links"], Access())


@pytest.mark.parametrize("name", PARTLY)
def test_a_pseudo_label_of_a_teacher_that_answers_with_nan_is_no_number(name):
    data, (teacher, student) = PARTLY[name], networks(PARTLY[name])
    for parameter in teacher.parameters():
        nn.init.constant_(parameter, torch.nan)
    objective = Objective(
        PseudoLabels(), student=student, teacher=teacher, task=data.task, unlabelled=True, watch=False
    )
    batch = batch_of(data)
    assert not labelled(data, batch.ids).all()
    assert objective(batch.inputs, batch.targets).loss.isnan()


@pytest.mark.parametrize("name", [name for name in PARTLY if name not in ("segmentation", "landmarks")])
def test_a_loss_on_a_sample_without_a_label_is_no_number_or_an_error(name):
    """Where nobody said that labels may be missing; pixels and points may be unknown in samples that have a label."""
    data = PARTLY[name]
    batch, (_, student) = batch_of(data), networks(data)
    given = batch.inputs if isinstance(batch.inputs, dict) else {"x": batch.inputs}
    answer = data.task.answer(student(*given.values()))
    try:
        values = data.task.loss(answer, batch.targets)
    except IndexError:
        return
    known = labelled(data, batch.ids)
    assert values[~known].isnan().all()
    assert torch.isfinite(values[known]).all()


def test_crd_names_samples_without_labels():
    data = PARTLY["classification"]
    teacher, student = networks(data)
    given = {"example": batch_of(data).inputs[:2], "facts": facts_of(data), "task": data.task, "unlabelled": True}
    with pytest.raises(UserError, match="CRD: some samples have no label: other_classes=False"):
        Objective(KD() + CRD("out:input -> out:input"), student=student, teacher=teacher, **given)


@pytest.mark.parametrize("name", PARTLY)
def test_a_training_is_resumed_bit_for_bit(name, tmp_path):
    data, taps = PARTLY[name], "conv -> conv"
    scores = 0.5 * KD() if data.task.rows_per_sample else RKDDistance(taps)
    terms = Labels() + PseudoLabels() + Outputs() + Hint(taps) + scores
    config = TrainConfig(epochs=2, batch=16, optimizer=SGD(lr=0.002), augmentation=OF_TASK.get(name, MOVED))
    stage = Stage("only", terms, config)

    def training(folder, stop=None, after=0):
        teacher, student = networks(data)
        stop = stop or StopRequest()
        return Training(
            student, [teacher], [stage], data, settings=PLAIN, checkpoint_folder=folder, every=0.0, stop=stop,
            stored=StoredAnswers(folder=str(tmp_path / "stored"), taps="exact"), callback=Stopper(stop, after),
        )  # fmt: skip

    whole = training(tmp_path / "whole")
    ended = whole.run()
    assert ended.steps == 2 * (len(data.train) // 16)
    assert whole.stage_state.of_batch is None  # the accuracy of a batch with missing labels means nothing
    with pytest.raises(Stopped):
        training(tmp_path / "halves", StopRequest(), 3).run()
    second = training(tmp_path / "halves")
    second.run()
    assert nested.same(dict(whole.student.state_dict()), dict(second.student.state_dict()))


def test_a_task_without_such_targets_refuses_them():
    with pytest.raises(UserError, match="task 'embedding' has no samples without labels beside those with labels"):
        with_unlabelled(DATA["embedding"], torch.rand(3, 3, 8, 8))
    with pytest.raises(UserError, match="samples without labels are samples like others: add them"):
        with_unlabelled(DATA["unlabelled"], torch.rand(3, 3, 8, 8))


def test_terms_that_read_labels_need_the_teachers_answer():
    data = PARTLY["segmentation"]
    teacher, student = networks(data)
    hint, example = Hint("conv -> conv", where="targets"), batch_of(data).inputs[:2]
    given = {"student": student, "teacher": teacher, "task": data.task, "example": example, "unlabelled": True}
    with pytest.raises(UserError, match="term 'hint' reads the label of each sample"):
        Objective(Labels() + hint, **given)
    assert Objective(Labels() + hint + KD(), **given).unlabelled


def test_a_loop_of_ones_own_marks_samples_without_a_label_by_a_class_of_minus_1():
    teacher, student = nn.Linear(4, 3), nn.Linear(4, 3)
    objective = Objective(CE() + KD(), student=student, teacher=teacher, unlabelled=True, watch=False)
    x, y = torch.rand(4, 4), torch.tensor([0, -1, 2, -1])
    outcome = objective(x, y)
    expected = nn.functional.cross_entropy(student(x)[[0, 2]], y[[0, 2]], reduction="sum") / 4
    torch.testing.assert_close(outcome.terms["ce"], expected.detach())
    labels_alone = Objective(CE(), student=student, unlabelled=True, watch=False)
    torch.testing.assert_close(labels_alone(x, y).loss, expected)


def test_pseudo_labels_need_samples_without_labels():
    objective = Objective(PseudoLabels(), student=nn.Linear(4, 3), teacher=nn.Linear(4, 3), watch=False)
    with pytest.raises(UserError, match="all samples have one: give such samples"):
        objective(torch.rand(2, 4), torch.tensor([0, 1]))


def test_facts_of_the_data_name_no_labels():
    data = with_unlabelled(from_tensors((torch.rand(20, 4), torch.arange(20) % 2), validation=4), torch.rand(6, 4))
    assert not len(facts_of(data).labels)
    assert len(facts_of(replace(data, unlabelled=0)).labels) == 26
    assert isinstance(data.task, Classification)
