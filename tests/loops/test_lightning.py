"""The Lightning module and the callback: they train, measure, keep their state, and leave the teacher alone."""

import copy

import lightning
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from understudy import Objective, UserError
from understudy.loops.lightning import DistillationCallback, DistillationModule
from understudy.terms import CAN, CE, CRD, KD, Facts, Hint

pytestmark = pytest.mark.filterwarnings("ignore")


def trainer(folder, epochs=2, **settings) -> lightning.Trainer:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "accelerator": "cpu"}
    return lightning.Trainer(max_epochs=epochs, default_root_dir=folder, **quiet | settings)


def loader(batch, ids=False) -> DataLoader:
    numbers = (torch.arange(len(batch[0])),) if ids else ()
    return DataLoader(TensorDataset(*batch, *numbers), batch_size=8)


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.02, momentum=0.9)


def module(networks, batch) -> DistillationModule:
    teacher, student = copy.deepcopy(networks)
    torch.manual_seed(2)
    facts = Facts(samples=len(batch[0]), labels=batch[1])
    terms = CE() + KD() + Hint("0 -> 0") + CAN(dropout=0.0) + CRD("3:input -> 3:input", width=4, negatives=4)
    objective = Objective(terms, student=student, teacher=teacher, example=batch[0][:2], facts=facts)
    return DistillationModule(objective, sgd, adversaries=sgd, schedule=lambda o: torch.optim.lr_scheduler.StepLR(o, 1))


def test_the_module_trains_all_there_is_and_measures(networks, batch, tmp_path) -> None:
    made = module(networks, batch)
    before = copy.deepcopy(made.objective.state_dict()), copy.deepcopy(made.student.state_dict())
    teacher = copy.deepcopy(made.objective.teachers[0].network.state_dict())
    fitted = trainer(tmp_path)
    fitted.fit(made, loader(batch, ids=True), loader(batch))
    assert 0 <= fitted.callback_metrics["validation/accuracy"] <= 1
    assert {"loss", "terms/kd", "terms/can"} <= fitted.callback_metrics.keys()
    for part, was in zip((made.objective, made.student), before, strict=True):
        moved = [name for name, value in part.state_dict().items() if not torch.equal(was[name], value)]
        assert len(moved) > 0.7 * len(was), moved  # not those whose gradient is zero before a batch norm
    assert all(torch.equal(teacher[k], v) for k, v in made.objective.teachers[0].network.state_dict().items())
    assert {name.split(".")[1] for name in made.state_dict()} == {"student", "owned"}


class SeedOfTheStep(lightning.Callback):
    """CRD draws its negatives from PyTorch's generator."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        torch.manual_seed(trainer.global_step)


def test_the_module_resumes_exactly(networks, batch, tmp_path) -> None:
    whole, half, resumed = (module(networks, batch) for _ in range(3))
    trainer(tmp_path, callbacks=[SeedOfTheStep()]).fit(whole, loader(batch, ids=True))
    first = trainer(tmp_path, epochs=1, callbacks=[SeedOfTheStep()])
    first.fit(half, loader(batch, ids=True))
    first.save_checkpoint(tmp_path / "half.ckpt")
    second = trainer(tmp_path, callbacks=[SeedOfTheStep()])
    second.fit(resumed, loader(batch, ids=True), ckpt_path=tmp_path / "half.ckpt")
    for ours, theirs in ((resumed.objective, whole.objective), (resumed.student, whole.student)):
        for name, value in ours.state_dict().items():
            assert torch.equal(value, theirs.state_dict()[name]), name


class Theirs(lightning.LightningModule):
    def __init__(self, model: nn.Module, whole: bool = False):
        super().__init__()
        self.model, self.whole = model, whole

    def training_step(self, batch, batch_idx):
        loss = nn.functional.cross_entropy(self.model(batch[0]), batch[1])
        return {"loss": loss} if self.whole else loss

    def configure_optimizers(self):
        return sgd(self.parameters())


@pytest.mark.parametrize("whole", [False, True])
def test_the_callback_adds_terms_to_somebodys_module(networks, batch, tmp_path, whole) -> None:
    teacher, student = networks
    theirs, images = Theirs(student, whole), batch[0]
    callback = DistillationCallback(0.9 * KD() + Hint("0 -> 0"), teacher=teacher, student="model", example=images[:2])
    alone = copy.deepcopy(student)
    trainer(tmp_path).fit(Theirs(alone), loader(batch))
    fitted = trainer(tmp_path, callbacks=[callback])
    fitted.fit(theirs, loader(batch))
    assert {"terms/kd", "terms/hint"} <= fitted.callback_metrics.keys()
    hint = next(callback.objective.owned.parameters())
    assert any(hint is value for value in fitted.optimizers[0].param_groups[0]["params"])
    assert hint in fitted.optimizers[0].state
    assert not torch.equal(alone[3].weight, student[3].weight)
    assert theirs.training_step.__func__ is Theirs.training_step
    fitted.save_checkpoint(tmp_path / "theirs.ckpt")
    kept = next(iter(torch.load(tmp_path / "theirs.ckpt")["callbacks"].values()))
    assert torch.equal(kept["owned.hint.weight"], callback.objective.owned["hint"].weight)
    again = DistillationCallback(0.9 * KD() + Hint("0 -> 0"), teacher=teacher, student="model", example=images[:2])
    trainer(tmp_path, epochs=3, callbacks=[again]).fit(theirs, loader(batch), ckpt_path=tmp_path / "theirs.ckpt")


def test_the_callback_refuses_what_it_cannot_train(networks, batch, tmp_path) -> None:
    callback = DistillationCallback(CAN(dropout=0.0), teacher=networks[0], student="model", example=batch[0][:2])
    with pytest.raises(UserError, match="adversary"):
        trainer(tmp_path, callbacks=[callback]).fit(Theirs(networks[1]), loader(batch))
    with pytest.raises(UserError, match="no targets"):
        trainer(tmp_path).fit(module(networks, batch), loader(batch, ids=True), DataLoader(batch[0], batch_size=8))
