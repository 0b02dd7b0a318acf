"""Every loss against every property; the rows are in ``rows_*.py``."""

import importlib
import inspect
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.losses.table import BATCH, CLASSES, LOGITS, Row
from understudy import UserError, bounds, losses
from understudy.methods.shared.logits import softened
from understudy.precision import wide
from understudy.terms import SRD

MODULES = sorted(path.stem for path in Path(__file__).parent.glob("rows_*.py"))
ROWS: list[Row] = [row for module in MODULES for row in importlib.import_module(f"tests.losses.{module}").ROWS]


def ids(row: Row) -> str:
    return row.name


every_loss = pytest.mark.parametrize("row", ROWS, ids=ids)


@every_loss
@pytest.mark.parametrize("seed", [0, 1])
def test_the_value_is_the_formulas(row: Row, seed: int):
    inputs = row.make(seed)
    expected = row.expected(*(x.numpy() for x in inputs))
    value = row.loss(*inputs)
    assert value.shape == (BATCH,)
    np.testing.assert_allclose(value.numpy(), expected, rtol=1e-6, atol=1e-9)


@every_loss
def test_a_student_that_equals_its_teacher_is_at_the_minimum(row: Row):
    if row.equal is None:
        return
    inputs = row.make()
    for student, teacher in zip(row.student, row.teacher, strict=True):
        inputs[student] = inputs[teacher].clone()
    torch.testing.assert_close(row.loss(*inputs), torch.full((BATCH,), row.equal, dtype=torch.float64))


@every_loss
def test_the_gradient_reaches_every_input_of_the_student(row: Row):
    inputs = row.make()
    for student in row.student:
        inputs[student].requires_grad_()
    row.loss(*inputs).sum().backward()
    for student in row.student:
        gradient = inputs[student].grad
        assert gradient is not None
        assert torch.isfinite(gradient).all()
        assert gradient.abs().sum() > 0


@every_loss
def test_the_order_of_the_batch_does_not_matter(row: Row):
    inputs = row.make()
    order = torch.randperm(BATCH, generator=torch.Generator().manual_seed(3))
    shuffled = [x[order] if x.shape[:1] == (BATCH,) else x for x in inputs]
    torch.testing.assert_close(row.loss(*shuffled), row.loss(*inputs)[order])


@every_loss
def test_a_sample_alone_has_its_value(row: Row):
    if not row.alone:
        return
    inputs = row.make()
    halves = [[x[part] if x.shape[:1] == (BATCH,) else x for x in inputs] for part in (slice(0, 2), slice(2, None))]
    torch.testing.assert_close(torch.cat([row.loss(*half) for half in halves]), row.loss(*inputs))


@every_loss
def test_low_precision_is_computed_in_float32(row: Row):
    low = row.make(dtype=torch.bfloat16)
    same = [x.float() if x.is_floating_point() else x for x in low]
    value = row.loss(*low)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, row.loss(*same), rtol=1e-4, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(row.loss(*same), row.loss(*low), rtol=row.tolerance, atol=row.tolerance)


@every_loss
def test_the_gradient_is_the_derivative(row: Row):
    if not row.smooth:
        return
    inputs = row.make()
    for student in row.student:
        inputs[student].requires_grad_()
    assert torch.autograd.gradcheck(lambda *x: row.loss(*x).sum(), inputs, raise_exception=True)


@every_loss
def test_compiled_it_has_the_same_value(row: Row):
    if not row.compiles:
        return
    inputs = row.make(dtype=torch.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        compiled = torch.compile(row.loss, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(*inputs), row.loss(*inputs), rtol=1e-4, atol=1e-6)
    torch.compiler.reset()


# What these compare says nothing of the teacher's channels (or, with several teachers, of their number).
ANY_WIDTH = {
    "attention_transfer", "nst", "rkd_distance", "rkd_angle", "similarity_preserving", "correlation_congruence", "pkt",
    "darkrank", "relative_dissimilarity", "ensemble_kd", "vote_cross_entropy", "mutual_kl", "confident_regression",
    "dgkd", "confident_teachers", "irg_edges", "irg_transformation",
}  # fmt: skip


@every_loss
def test_shapes_that_do_not_fit_are_a_users_mistake_that_names_them(row: Row):
    any_width = getattr(row.loss, "func", row.loss).__name__ in ANY_WIDTH or "selected" in row.name
    for teacher in row.teacher:
        for dim in range(1 if any_width else min(2, row.make()[teacher].ndim)):
            inputs = row.make()
            inputs[teacher] = inputs[teacher].narrow(dim, 0, inputs[teacher].shape[dim] - 1)
            with pytest.raises(UserError, match=r"\(|\d"):
                row.loss(*inputs)


@every_loss
def test_it_works_under_vmap(row: Row):
    """Several students at once, and, where a sample stands alone, the gradient of each sample."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)  # the divergence's, in torch
        several = [row.make(seed) for seed in (0, 1)]
        stacked = [torch.stack(pair) for pair in zip(*several, strict=True)]
        expected = torch.stack([row.loss(*inputs) for inputs in several])
        torch.testing.assert_close(torch.func.vmap(row.loss)(*stacked), expected)
        if row.alone:
            _check_gradients_by_sample(row)


def _check_gradients_by_sample(row: Row) -> None:
    inputs, student = row.make(), row.student[0]
    batched = [0 if x.shape[:1] == (BATCH,) else None for x in inputs]

    def of_one(own: torch.Tensor, others: list[torch.Tensor]) -> torch.Tensor:
        sample = [own if i == student else other for i, other in enumerate(others)]
        return row.loss(*(x if dim is None else x[None] for x, dim in zip(sample, batched, strict=True))).sum()

    found = torch.func.vmap(torch.func.grad(of_one), in_dims=(0, batched))(inputs[student], inputs)
    own = inputs[student] = inputs[student].clone().requires_grad_()
    row.loss(*inputs).sum().backward()
    torch.testing.assert_close(found, own.grad)


def test_every_loss_has_a_row():
    public = {name for name, value in vars(losses).items() if inspect.isfunction(value)}
    tested = {getattr(row.loss, "func", row.loss).__name__ for row in ROWS}
    assert public <= tested


@pytest.mark.parametrize("name", sorted(n for n, v in vars(losses).items() if inspect.isfunction(v)))
def test_every_loss_is_documented_in_one_form(name: str):
    function = getattr(losses, name)
    text = inspect.getdoc(function) or ""
    assert "``" in text, "the formula stands in the docstring"
    parameters = inspect.signature(function).parameters.values()
    settings = [p for p in parameters if p.default is not p.empty]
    assert all(p.kind is p.KEYWORD_ONLY for p in settings), "settings are keyword-only"


def test_of_two_classes_the_other_one_teaches_nothing_by_itself():
    g = torch.Generator().manual_seed(0)
    student, teacher, labels = torch.randn(5, 2, generator=g), torch.randn(5, 2, generator=g), torch.arange(5) % 2
    target = losses.target_kd(student, teacher, labels)
    torch.testing.assert_close(losses.dkd(student, teacher, labels), target)
    assert losses.others_kd(student, teacher, labels).tolist() == [0.0] * 5
    cells = student.unsqueeze(1), teacher.unsqueeze(1)
    torch.testing.assert_close(losses.sdd(*cells, labels, form="dkd"), target)


def test_maps_of_a_single_place_and_sample_have_no_correlation():
    student = torch.ones(1, 3, 1, 1, requires_grad=True)
    value = losses.pearson(student, torch.rand(1, 3, 1, 1))
    value.sum().backward()
    assert value.tolist() == [0.0]
    assert student.grad is not None
    assert student.grad.abs().sum() == 0


@pytest.mark.parametrize("labels", [torch.tensor([2.0, 1.0]), torch.eye(3)[:2].long()])
def test_labels_that_are_no_class_numbers_are_named(labels: torch.Tensor):
    several = torch.rand(2, 4, 3)
    for loss, answers in ((losses.sskd, several), (losses.sdd, several), (losses.ofa, several[:, 0])):
        with pytest.raises(UserError, match=r"labels of (float32|int64) and shape .*: give class numbers"):
            loss(answers, answers, labels)
    with pytest.raises(UserError, match="a label for each of 2 samples, not 1"):
        losses.sskd(several, several, torch.tensor([2]))


def test_singular_vectors_that_are_not_there_are_named():
    large, small = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 1, 1)
    assert losses.kdsvd(large, small, large, small).isfinite().all()
    with pytest.raises(UserError, match="vectors = 2 are more than the 1 singular vectors"):
        losses.kdsvd(large, small, large, small, vectors=2)


def test_a_map_of_nan_is_in_the_value_for_the_trainer_to_name():
    maps = [torch.rand(2, 3, 4, 4) for _ in range(4)]
    maps[1][1, 0, 0, 0] = torch.nan
    assert losses.kdsvd(*maps).isnan().tolist() == [False, True]


def test_a_place_at_which_no_channel_is_active_has_no_gradient():
    student = torch.rand(2, 3, 2, 2)
    student[:, :, 0, 0] = 0
    losses.dist_maps(student.requires_grad_(), torch.rand(2, 3, 2, 2)).sum().backward()
    assert student.grad is not None
    assert student.grad[:, :, 0, 0].abs().sum() == 0
    assert 0 < student.grad.abs().max() < 100


def test_the_exponent_of_srd_has_a_finite_gradient():
    term = SRD("fc:input -> fc:input", exponent=0.5)
    with pytest.raises(UserError, match="exponent"):
        bounds.check(term, "the term")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_at_temperature_one_nothing_is_divided_and_every_bit_is_the_same(dtype: torch.dtype):
    logits = 9 * torch.randn(5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)
    found, weights = list[torch.Tensor](), torch.arange(7.0)
    for divided in (False, True):
        given = logits.clone().requires_grad_()
        value = torch.log_softmax(wide(given) / 1.0, dim=-1) if divided else softened(given, 1.0)
        (value * weights).sum().backward()
        assert given.grad is not None
        found += [value, given.grad]
    assert all(torch.equal(one, other) for one, other in zip(found[:2], found[2:], strict=True))


@pytest.mark.parametrize("form", ["forward", "reverse", "js", "skew", "skew-reverse", "tv"])
def test_a_class_that_both_mask_has_no_part_in_a_divergence(form):
    student, teacher = (torch.randn(3, 4, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    found, wanted = student.clone().requires_grad_(), student[:, :3].clone().requires_grad_()
    masked = torch.tensor([False, False, False, True])
    loss = losses.soft_divergence(
        found.masked_fill(masked, -torch.inf), teacher.masked_fill(masked, -torch.inf), form=form
    )
    alone = losses.soft_divergence(wanted, teacher[:, :3], form=form)
    torch.testing.assert_close(loss, alone)
    loss.sum().backward()
    alone.sum().backward()
    torch.testing.assert_close(found.grad, torch.nn.functional.pad(wanted.grad, (0, 1)))


# Distances of the logits themselves, and losses that spread or move a share of the answer to all classes.
READ_MASKED = (
    "l1 of logits", "logit_regression", "noisy_logit_regression", "rocket_hint", "srrl_logits", "output_distance",
    "teacher_bounded", "direction", "reverse_gradient", "virtual_teacher_kd", "cross_entropy", "dkpp", "ldrld",
    "wsl, soft labels",
)  # fmt: skip


@every_loss
def test_a_class_that_both_networks_mask_leaves_a_finite_loss(row: Row):
    of_logits = all(row.inputs[place] is LOGITS for place in (*row.student, *row.teacher))
    if not of_logits or row.name.startswith(READ_MASKED):
        return
    inputs = row.make()
    for place in (*row.student, *row.teacher):
        inputs[place][:, -1] = -torch.inf
    inputs = [x.clamp(max=CLASSES - 2) if x.dtype == torch.int64 else x for x in inputs]  # labels
    inputs[row.student[0]].requires_grad_()
    value = row.loss(*inputs)
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert torch.isfinite(inputs[row.student[0]].grad).all()


def test_an_unlabelled_sample_has_a_cross_entropy_of_0():
    logits = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    values = losses.cross_entropy(logits, torch.tensor([1, -100, 2]), label_smoothing=0.1)
    assert values[1] == 0
    torch.testing.assert_close(
        values[[0, 2]], losses.cross_entropy(logits[[0, 2]], torch.tensor([1, 2]), label_smoothing=0.1)
    )


@every_loss
@pytest.mark.parametrize("role", ["student", "teacher"])
def test_a_value_that_is_no_number_is_not_passed_over(row: Row, role: str):
    """The trainer ends at a loss that is no number. Finite ones would hide a network that answers with NaN."""
    for place in getattr(row, role):
        for part in (slice(0, 1), slice(None)):  # one value of the first sample, or all
            inputs = row.make()
            inputs[place][0].view(-1)[part] = torch.nan
            assert not torch.isfinite(row.loss(*inputs)).all()


@pytest.mark.parametrize("scale", [0.0, 1e3])
@every_loss
def test_extreme_values_have_a_finite_loss_and_gradient(row: Row, scale: float):
    if scale and row.name.startswith("confident_regression"):
        return  # the covariance of fewer draws than classes is inverted by its ridge, which is lost beside 1e6
    for offset in (0.0, 1.0):
        inputs = row.make(dtype=torch.float32)
        for place in (row.student[0], *row.teacher):
            inputs[place] = scale * inputs[place] + offset if inputs[place].is_floating_point() else inputs[place]
        inputs[row.student[0]].requires_grad_()
        value = row.loss(*inputs)
        value.sum().backward()
        assert torch.isfinite(value).all()
        assert torch.isfinite(inputs[row.student[0]].grad).all()
