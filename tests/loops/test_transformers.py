"""The mixin of transformers' Trainer: its loss, its optimizer, accumulation, checkpoints."""

import pytest
import torch
from torch import Tensor, nn
from transformers import TrainingArguments

from tests.loops.conftest import net
from understudy import Objective
from understudy.loops.transformers import STATE, DistillationTrainer
from understudy.terms import DKD, KD, Hint

pytestmark = pytest.mark.filterwarnings("ignore")


TERMS = 0.9 * KD() + Hint("body.0 -> body.0")


class Network(nn.Module):
    """A network in the form that the Trainer takes: inputs by name, a dict with the loss."""

    def __init__(self, width: int):
        super().__init__()
        self.body = net(width)

    def forward(self, pixel_values: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        logits = self.body(pixel_values)
        loss = {} if labels is None else {"loss": nn.functional.cross_entropy(logits, labels)}
        return {**loss, "logits": logits}


class Summing(Network):
    """One that divides its loss by the samples of all accumulated batches."""

    def forward(self, pixel_values: Tensor, labels: Tensor | None = None, **kwargs: Tensor) -> dict[str, Tensor]:
        logits = self.body(pixel_values)
        if labels is None:
            return {"logits": logits}
        loss = nn.functional.cross_entropy(logits, labels, reduction="sum")
        return {"loss": loss / kwargs.get("num_items_in_batch", len(labels)), "logits": logits}


def network(kind: type[Network], width: int, seed: int) -> Network:
    torch.manual_seed(seed)
    return kind(width)


@pytest.fixture
def data(batch):
    return [{"pixel_values": image, "labels": label} for image, label in zip(*batch, strict=True)]


def trainer(data, folder, terms=TERMS, kind=Network, **settings) -> DistillationTrainer:
    arguments = {
        "per_device_train_batch_size": 8,
        "max_steps": 4,
        "learning_rate": 1e-2,
        "optim": "sgd",
        "logging_strategy": "no",
    }
    quiet = {
        "report_to": [],
        "use_cpu": True,
        "save_strategy": "no",
        "disable_tqdm": True,
        "lr_scheduler_type": "constant",
    }
    example = {"pixel_values": torch.stack([row["pixel_values"] for row in data[:2]])}
    network_of = {"teacher": network(kind, 8, 0), "model": network(kind, 4, 1)}
    made = TrainingArguments(output_dir=str(folder), **arguments | quiet | settings)
    return DistillationTrainer(
        args=made, train_dataset=data, eval_dataset=data, terms=terms, example=example, **network_of
    )


def test_the_loss_is_the_trainers_plus_the_terms(data, batch, tmp_path) -> None:
    made = trainer(data, tmp_path)
    made.model.train()
    inputs = {"pixel_values": batch[0][:8], "labels": batch[1][:8]}
    own = made.model(**inputs)["loss"]
    terms = made.added.objective({"pixel_values": inputs["pixel_values"]}).loss
    torch.testing.assert_close(made.compute_loss(made.model, inputs), own + terms)
    made.model.eval()
    torch.testing.assert_close(made.compute_loss(made.model, inputs), own)


def test_it_trains_the_regressor_evaluates_and_resumes(data, tmp_path) -> None:
    made = trainer(data, tmp_path / "a", save_strategy="steps", save_steps=2)
    before = made.added.objective.owned["hint"].weight.clone()
    made.train()
    assert not torch.equal(before, made.added.objective.owned["hint"].weight)
    assert "eval_loss" in made.evaluate()
    assert (tmp_path / "a" / "checkpoint-2" / STATE).exists()
    resumed = trainer(data, tmp_path / "b")
    resumed.train(resume_from_checkpoint=str(tmp_path / "a" / "checkpoint-2"))
    for ours, theirs in ((made.model, resumed.model), (made.added.objective, resumed.added.objective)):
        for name, value in ours.state_dict().items():
            torch.testing.assert_close(theirs.state_dict()[name], value, msg=name)


@pytest.mark.parametrize("kind", [Network, Summing])
def test_accumulated_batches_train_as_one(data, kind, tmp_path) -> None:
    whole = trainer(data, tmp_path / "a", kind=kind, max_steps=2, per_device_train_batch_size=16)
    parts = trainer(
        data, tmp_path / "b", kind=kind, max_steps=2, per_device_train_batch_size=4, gradient_accumulation_steps=4
    )
    for made in (whole, parts):
        made.train()
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(parts.model.state_dict()[name], value, msg=name)


def test_targets_are_taken_where_a_term_reads_them(data, batch, tmp_path) -> None:
    made = trainer(data, tmp_path, terms=DKD())
    made._targets = lambda inputs: inputs["labels"]
    made.train()
    assert isinstance(made.added.objective, Objective)
