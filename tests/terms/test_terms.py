"""Every term against every property; the rows are in ``rows_*.py``."""

import copy
import importlib
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.refusing import Refusing, without_autocast
from tests.terms.table import CLASSES, Row, networks
from understudy import Objective, terms
from understudy.terms import BSS, CRD, CRLD, DGKD, FGD, N3, Facts, Localisation, PseudoLabels
from understudy.training.checkpoints import read, write

MODULES = sorted(path.stem for path in Path(__file__).parent.glob("rows_*.py"))
ROWS: list[Row] = [row for module in MODULES for row in importlib.import_module(f"tests.terms.{module}").ROWS]
every_term = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
SAMPLES = 40


def batch(size: int = 12) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(size, 1, 8, 8, generator=generator)
    labels = torch.arange(size) % CLASSES
    return inputs, labels, torch.randperm(SAMPLES, generator=generator)[:size]


def bound(row: Row, teacher: nn.Module, student: nn.Module) -> Objective:
    torch.manual_seed(2)
    facts = Facts(SAMPLES, torch.arange(SAMPLES) % CLASSES)
    return Objective(row.term, student=student, teacher=teacher, example=batch(2)[0], facts=facts)


@every_term
def test_its_gradient_reaches_the_student_and_never_the_teacher(row: Row):
    teacher, student = networks(alike=not row.other_shapes, attention=row.attention)
    before = copy.deepcopy(teacher.state_dict())
    objective = bound(row, teacher, student)
    inputs, labels, ids = batch()
    torch.manual_seed(3)
    outcome = objective(inputs, labels, ids=ids, epoch=1.0)
    assert outcome.loss.shape == ()
    assert torch.isfinite(outcome.loss)
    outcome.loss.backward()
    gradients = [p.grad for p in student.parameters() if p.grad is not None]
    if row.term.trains_student:
        assert gradients
        assert all(torch.isfinite(g).all() for g in gradients)
        assert sum(g.abs().sum() for g in gradients) > 0
    assert all(p.grad is None for p in teacher.parameters())
    assert all(torch.equal(value, teacher.state_dict()[name]) for name, value in before.items())


@every_term
def test_a_student_that_is_its_teacher_is_at_the_minimum(row: Row):
    if row.equal is None:
        return
    teacher, _ = networks(alike=True, attention=row.attention)
    objective = bound(row, teacher, copy.deepcopy(teacher)).eval()
    inputs, labels, ids = batch()
    assert objective(inputs, labels, ids=ids).loss.item() == pytest.approx(row.equal, abs=1e-5)


@every_term
def test_what_it_owns_learns_and_its_state_survives_a_checkpoint(row: Row, tmp_path):
    teacher, student = networks(alike=not row.other_shapes, attention=row.attention)
    objective = bound(row, teacher, student)
    state = copy.deepcopy(objective.state_dict())
    if not state:
        return
    parameters = [*student.parameters(), *objective.owned.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.01)
    adversaries = torch.optim.SGD(objective.adversaries.parameters(), lr=0.01) if objective.has_adversaries else None
    for step in range(2):
        inputs, labels, ids = batch()
        torch.manual_seed(step)
        reading = objective.read(inputs, labels, ids=ids, epoch=1.0)
        if adversaries:
            adversaries.zero_grad()
            objective.adversary_loss(reading).backward()
            adversaries.step()
        optimizer.zero_grad()
        objective.judge(reading).loss.backward()
        optimizer.step()
        objective.learn(reading)
    after = objective.state_dict()
    if row.learns:
        assert any(not torch.equal(value, after[name]) for name, value in state.items())
    path = write(tmp_path, 1, after)
    fresh = bound(row, teacher, student)
    fresh.load_state_dict(read(path))
    torch.manual_seed(9)
    expected = objective.eval()(inputs, labels, ids=ids, epoch=1.0).loss
    torch.manual_seed(9)
    torch.testing.assert_close(fresh.eval()(inputs, labels, ids=ids, epoch=1.0).loss, expected, rtol=0, atol=0)


@every_term
def test_it_works_in_bfloat16(row: Row):
    teacher, student = networks(alike=not row.other_shapes, attention=row.attention)
    objective = bound(row, teacher, student)
    inputs, labels, ids = batch()
    torch.manual_seed(3)
    with torch.autocast("cpu", torch.bfloat16):
        low = objective(inputs, labels, ids=ids, epoch=1.0).loss
    low.backward()
    assert low.dtype == torch.float32
    assert torch.isfinite(low)


@every_term
def test_mixed_labels_are_no_harm(row: Row):
    teacher, student = networks(alike=not row.other_shapes, attention=row.attention)
    objective = bound(row, teacher, student)
    inputs, labels, ids = batch()
    soft = torch.nn.functional.one_hot(labels, CLASSES) * 0.7 + 0.3 / CLASSES
    assert torch.isfinite(objective(inputs, soft, ids=ids, epoch=1.0).loss)


@every_term
def test_a_step_asks_nothing_of_the_device(row: Row, monkeypatch):
    if isinstance(row.term, (BSS, CRLD)):  # what the student sees depends on how many samples are changed in which way
        return
    teacher, student = networks(alike=not row.other_shapes, attention=row.attention)
    objective = bound(row, teacher, student)
    inputs, labels, ids = batch()
    first = objective.read(inputs, labels, ids=ids, epoch=1.0)  # the first step may fill what is kept, and looks around
    objective.judge(first)
    objective.learn(first)
    for module in (objective, teacher, student):
        module.to("meta")
    without_autocast(monkeypatch)
    inputs, labels, ids = (x.to("meta") for x in (inputs, labels, ids))
    with Refusing():
        reading = objective.read(inputs, labels, ids=ids, epoch=1.0)
        if objective.has_adversaries:
            objective.adversary_loss(reading).backward()
        objective.judge(reading).loss.backward()
        objective.learn(reading)


@every_term
def test_what_looks_at_other_samples_says_so(row: Row):
    """A value that does not depend on the rest of the batch is the same with half of it.

    Draws are for the whole batch, unless they are the teacher's. Adversaries and memories say it, whatever they show.
    """
    teacher, student = networks(alike=not row.other_shapes, attention=row.attention)
    objective = bound(row, teacher, student.eval()).eval()
    name, part = next(iter(objective.parts.items()))

    def values(chosen: slice, seed: int = 3) -> Tensor:
        inputs, labels, ids = (tensor[chosen] for tensor in batch())
        torch.manual_seed(seed)
        reading = objective.read(inputs, labels, ids=ids, epoch=1.0)
        return objective._loss(name, part.term, reading).detach()

    whole = values(slice(None))
    draws = any(not torch.equal(whole, values(slice(None), seed)) for seed in range(4, 9))
    if isinstance(part.term, (BSS, CRD)) or draws:
        assert part.term.reads.batch or part.term.reads.teacher_samples
        return
    halves = torch.cat([values(slice(0, 6)), values(slice(6, None))])
    alone = torch.allclose(halves, whole, rtol=1e-3, atol=1e-5)
    obliged = part.term.adversary or objective.learns or isinstance(part.term, DGKD)  # with one guide none is left out
    assert part.term.reads.batch or (alone and not part.term.adversary and not objective.learns)
    assert obliged or alone == (not part.term.reads.batch)


def test_every_term_has_a_row():
    others = {FGD, Localisation, N3, PseudoLabels}  # of detectors, triples, samples without labels; tests/tasks/
    assert {type(row.term) for row in ROWS} == set(terms.TERMS.values()) - others


@every_term
def test_a_term_that_reads_logits_as_numbers_says_so(row: Row):
    """Probabilities stay where every logit is raised by the same; ``answers.top`` warns by ``teacher_temperature``."""
    teacher, student = networks(alike=not row.other_shapes, attention=row.attention)
    raised = copy.deepcopy(teacher)
    *_, head = (layer for layer in raised.modules() if isinstance(layer, nn.Linear))
    with torch.no_grad():
        head.bias += 3.0
    inputs, labels, ids = batch()
    values = []
    for network in (teacher, raised):
        objective = bound(row, network, copy.deepcopy(student))
        torch.manual_seed(3)
        values.append(objective(inputs, labels, ids=ids).loss.item())
    if row.term.reads.teacher_output and values[0] != pytest.approx(values[1], rel=1e-3, abs=1e-5):
        assert row.term.teacher_temperature == torch.inf
