"""Rows, places and meters: what methods on class scores see of any task, and evaluation by batches."""

import inspect
import weakref

import pytest
import torch
from torch import Tensor, nn

import understudy
from tests.tasks.test_tasks import PLAIN, made, networks
from understudy import Objective, losses, methods
from understudy.data import from_tensors
from understudy.errors import UserError
from understudy.objective.term import unfit
from understudy.plans.key import canonical
from understudy.tasks import Classification, MetricMeter, MultiLabel, Regression
from understudy.terms import CRD, CWTM, DIST, KD, Hint, Labels
from understudy.training import evaluate
from understudy.training.stage_state import facts_of

DIFFERENCES = {"logits_l1", "srrl_logits"}  # sums over all values of a sample, without a softmax


@pytest.mark.parametrize(
    "name",
    [name for name, loss in vars(losses).items() if callable(loss) and "logits" in str(inspect.signature(loss))],
)
def test_a_map_of_scores_is_refused_where_a_softmax_would_go_over_its_width(name):
    loss = getattr(losses, name)
    needed = [p.name for p in inspect.signature(loss).parameters.values() if p.default is p.empty]
    of_logits = [parameter for parameter in needed if parameter.endswith("logits")]
    if name in DIFFERENCES or not of_logits:
        return
    maps = torch.randn(2, 3, 4, 5)
    several = torch.randn(2, 2, 3, 4, 5)
    given = {
        parameter: several if parameter in ("guides_logits", "peers_logits", "teachers_logits") else maps
        for parameter in of_logits
    }
    others = {parameter: torch.zeros(2, dtype=torch.int64) for parameter in needed if parameter not in of_logits}
    with pytest.raises((UserError, RuntimeError)):
        loss(**given, **others)


def test_a_methods_terms_say_on_what_they_depend():
    kinds = {name: methods.find(name).per for name in ("kd", "dgkd", "ctkd", "crd", "rkd", "dist", "mlkd", "alone")}
    assert kinds == {
        "kd": "row", "dgkd": "row", "ctkd": "row", "crd": "batch", "rkd": "batch", "dist": "batch", "mlkd": "batch",
        "alone": "sample",
    }  # fmt: skip


def test_methods_that_fit_a_task_are_known():
    fitting = methods.fitting(Classification(("a", "b")))
    assert set(methods.METHODS) - set(fitting) == {"terms", "stages", "localisation", "fgd"}  # own terms, and boxes
    several = methods.fitting(MultiLabel())
    assert {"kd", "dist", "born-again-cwtm", "ctkd", "fitnets", "rkd"} <= {*several}
    assert not {"mlkd", "crd", "srrl", "bss"} & {*several}
    assert "kd" not in methods.fitting(Regression())
    assert methods.find("crd").unfit(Regression(), {"other_classes": False}) is None


def test_what_contrasts_classes_needs_class_numbers():
    pair = "out:input -> out:input"
    assert "class number" in str(unfit(CRD(pair), MultiLabel()))
    assert unfit(CRD(pair, other_classes=False), MultiLabel()) is None


def test_crd_needs_no_labels_where_it_draws_from_all_samples():
    data = made("regression")
    teacher, student = networks(data)
    objective = Objective(
        Labels() + CRD("out:input -> out:input", other_classes=False, negatives=4),
        student=student, teacher=teacher, task=data.task, example=data.example(2, torch.device("cpu")),
        facts=facts_of(data),
    )  # fmt: skip
    outcome = objective(data.example(8, torch.device("cpu")), data.train.targets[:8], ids=data.train.ids[:8])
    outcome.loss.backward()
    assert torch.isfinite(outcome.loss)


@pytest.mark.parametrize("term", [DIST(temperature=1.0), CWTM()])
def test_a_term_across_the_batch_takes_all_rows_for_its_batch(term):
    data = made("multilabel")
    teacher, student = networks(data)
    objective = Objective(term, student=student, teacher=teacher, task=data.task)
    inputs, targets = data.example(8, torch.device("cpu")), data.train.targets[:8]
    rows = [data.task.rows({"logits": network(inputs)}, targets) for network in (student, teacher)]
    plain = Objective(term, student=nn.Identity(), teacher=nn.Identity())
    reading = plain.read(rows[0].flat, rows[0].flat_labels, answers=[plain.ask(rows[1].flat)[0]])
    torch.testing.assert_close(objective(inputs, targets).loss, plain.judge(reading).loss)


def test_the_preflight_names_the_methods_that_fit(tmp_path):
    data = made("regression")
    teacher, student = networks(data)
    with pytest.raises(
        UserError, match=r"does not fit the task: .* Those that fit: alone, fitnets.* more \(.* --task regression\)$"
    ):
        understudy.distill(teacher, student, data, method="kd", epochs=1, out=tmp_path / "run")


def test_a_hint_without_places_has_the_key_of_before():
    plain = Hint("a -> b")
    assert "where" not in canonical(plain)
    assert canonical(Hint("a -> b", where="targets"))["where"] == "targets"


def test_a_hint_by_places_needs_a_task_with_places():
    with pytest.raises(UserError, match="say nothing of places"):
        Objective(
            Hint("conv -> conv", where="targets"), student=networks(made("regression"))[0],
            teacher=networks(made("regression"))[1], example=torch.rand(2, 3, 8, 8), task=made("regression").task,
        )  # fmt: skip


def test_evaluation_holds_one_batch_at_a_time():
    """Of many scores, only those of one batch are there at once, however large the part is."""
    options, alive, most = 2000, [0], [0]

    class Wide(nn.Module):
        def __init__(self):
            super().__init__()
            self.scores = nn.Parameter(torch.zeros(options))

        def forward(self, x: Tensor) -> Tensor:
            answer = x[:, :1] + self.scores
            alive[0] += 1
            most[0] = max(most[0], alive[0])
            weakref.finalize(answer, lambda: alive.__setitem__(0, alive[0] - 1))
            return answer

    data = from_tensors((torch.rand(3000, 4), torch.arange(3000) % options), validation=2500, classes=options)
    evaluate.figures(Wide(), data.validation, data.task, PLAIN)
    assert most[0] <= 2


def test_large_samples_are_evaluated_fewer_at_once():
    images = torch.zeros(8, 3, 1200, 1200, dtype=torch.uint8)
    data = from_tensors((images, torch.arange(8) % 2), validation=0)
    sizes = []

    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            sizes.append(len(x))
            return x[:, :2, 0, 0]

    evaluate.figures(Net(), data.train, data.task, PLAIN)
    assert max(sizes) * 4 * images[0].numel() <= evaluate.BATCH_BYTES
    assert sum(sizes) == 8


def test_metrics_of_torchmetrics_are_a_meter():
    torchmetrics = pytest.importorskip("torchmetrics")
    task = Classification(("a", "b", "c"))
    logits, labels = torch.randn(50, 3), torch.arange(50) % 3
    metric = torchmetrics.classification.MulticlassAccuracy(num_classes=3, average="micro")
    meter, own = MetricMeter(task, {"accuracy": metric}), task.meter()
    for start in range(0, 50, 20):
        for one in (meter, own):
            one.update({"logits": logits[start : start + 20]}, labels[start : start + 20])
    found, expected = meter.compute(), own.compute()
    assert found == pytest.approx({name: expected[name] for name in ("accuracy", "loss")}, rel=1e-5)
    with pytest.raises(UserError, match="measures no 'calibration_error'"):
        evaluate.in_order(found, task)


def test_kd_is_unchanged_by_rows_where_an_answer_is_its_own_row():
    data = made("classification")
    teacher, student = networks(data)
    objective = Objective(Labels() + KD(), student=student, teacher=teacher, task=data.task)
    assert not objective._by_row
