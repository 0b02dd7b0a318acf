"""Every method on every task that it says it fits: stages from its defaults, one step of each on tiny networks."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from tests.methods.test_methods import ATTENTION, OF_UNLABELLED
from tests.tasks.test_tasks import IMAGES, NAMES, made
from understudy import Objective, methods
from understudy.config.train import TrainConfig
from understudy.data import from_inputs
from understudy.data.sources import InMemory
from understudy.data.unlabelled import with_unlabelled
from understudy.errors import UserError
from understudy.models.families.fcos import Head
from understudy.models.families.pillars import CentreHead, Pillars
from understudy.nested import chosen
from understudy.objective.labels import Labels
from understudy.objective.term import takes_rows
from understudy.plans.stages import method_stages
from understudy.training.stage_state import facts_of

CONFIG = TrainConfig(epochs=4, batch=12)
SIDE = 8


class Net(nn.Module):
    """Two maps, dropout and a layer that answers, for the inputs of any task: all become an image first."""

    def __init__(self, data, width: int, stride: int = 2):
        super().__init__()
        name, channels = data.task.name, 1
        self.name = name
        if name in ("text", "tags"):
            self.tokens = nn.Parameter(torch.randn(data.shape[0], SIDE))
        elif name == "links":
            self.entities = nn.Parameter(torch.randn(data.task.outputs, SIDE * SIDE // 2))
            self.relations = nn.Parameter(torch.randn(data.shape[0], SIDE * SIDE // 2))
        elif name == "detection-3d":
            channels, self.pillars = 3, Pillars(data.shape[0], 3, data.task.side, data.task.side / SIDE, (-3.0, 3.0))
        else:
            channels = 3
        self.maps1 = nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.maps2 = nn.Sequential(
            nn.Conv2d(width, 2 * width, 3, stride, padding=1), nn.BatchNorm2d(2 * width), nn.ReLU()
        )
        self.dropout = nn.Dropout(0.2)
        if name == "detection":
            self.head = Head(2 * width, data.task.outputs, 0, stride)
        elif name == "detection-3d":
            self.head = CentreHead(2 * width, data.task.outputs, 0, data.task.side)
        else:
            layer = nn.Conv2d if name == "segmentation" else nn.Linear
            self.head = layer(2 * width, data.task.outputs, *([1] if name == "segmentation" else []))

    def forward(
        self, x=None, *, input_ids=None, attention_mask=None, head=None, relation=None, points=None, count=None
    ) -> Tensor:
        if points is not None:
            x = self.pillars(points, count)
        if input_ids is not None:
            embedded = self.tokens[input_ids] * attention_mask.unsqueeze(2)
            x = self.padded(embedded)
        elif head is not None:  # as in ConvE
            x = torch.cat((self.entities[head], self.relations[relation]), 1).view(-1, 1, SIDE, SIDE)
        features = self.dropout(self.features(x))
        if self.name == "tags":
            return self.head(nn.functional.interpolate(features.mean(3), input_ids.shape[1]).mT)
        return self.head(features if isinstance(self.head, (nn.Conv2d, Head, CentreHead)) else features.mean((2, 3)))

    def padded(self, embedded: Tensor) -> Tensor:
        return nn.functional.pad(embedded, (0, 0, 0, SIDE - embedded.shape[1])).unsqueeze(1)

    def features(self, x: Tensor) -> Tensor:
        return self.maps2(self.maps1(x))


class Attending(Net):
    """A transformer on the tokens of a text, or on the rows of an image."""

    def __init__(self, data, width: int, stride: int = 2):
        super().__init__(data, width, stride)
        channels = self.maps1[0].in_channels
        self.maps1, self.maps2 = nn.Identity(), nn.Linear(channels * SIDE, 2 * width)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(2 * width, 2, 8, batch_first=True) for _ in range(width // 3)
        )

    def padded(self, embedded: Tensor) -> Tensor:
        return embedded.unsqueeze(1)

    def features(self, x: Tensor) -> Tensor:
        tokens = self.maps2(x.transpose(1, 2).flatten(2))
        for layer in self.layers:
            tokens = layer(tokens)
        return tokens.transpose(1, 2).unsqueeze(3)


DATA = {name: made(name) for name in NAMES}
DATA["unlabelled"] = from_inputs(IMAGES, classes=3, validation=8)  # targets of -1, on which reading them would fail
DATA["embedding"] = from_inputs(IMAGES, task={"name": "embedding", "size": 6}, validation=8)
FITTING = [
    (name, method)
    for name in DATA
    for method in methods.fitting(DATA[name].task)
    if name != "soft-labels" or any(term.reads.labels for term in methods.find(method).terms())
]


@pytest.mark.parametrize(("name", "method"), [pair for pair in FITTING if pair[1] not in OF_UNLABELLED])
def test_a_method_takes_a_step_on_a_task_that_it_fits(name, method):
    take_a_step(DATA[name], method)


def more(data):
    """The data with samples without labels: the same inputs again."""
    part = data.train
    inputs = next(part.in_order(len(part), torch.device("cpu"))).inputs
    if data.task.name != "tags":
        return with_unlabelled(data, inputs)
    words = [" ".join(data.task.vocabulary[number] for number in row if number > 3) for row in inputs["input_ids"]]
    return with_unlabelled(data, InMemory(*data.task.unlabelled(words)))


PARTLY = {name: more(data) for name, data in DATA.items() if data.task.labelled}


@pytest.mark.parametrize(("name", "method"), [pair for pair in FITTING if pair[0] in PARTLY])
def test_a_method_takes_a_step_where_some_samples_have_no_label(name, method):
    take_a_step(PARTLY[name], method)


def take_a_step(data, method):
    name = data.task.name
    torch.manual_seed(0)
    kind = Attending if method in ATTENTION else Net
    teacher, student = kind(data, 6).eval(), kind(data, 3, stride=2 if name.startswith("detection") else 4)
    stages = method_stages(method, CONFIG, {}, student, teacher, data)
    example, facts = data.example(2, torch.device("cpu")), facts_of(data)
    batch = next(
        data.train.epoch(
            0, seed=0, batch=12, augmentation=CONFIG.augmentation, task=data.task, device=torch.device("cpu")
        )
    )
    for stage in stages:
        make = partial(
            Objective,
            stage.objective,
            student=student,
            teacher=teacher,
            example=example,
            facts=facts,
            task=data.task,
            unlabelled=data.unlabelled > 0,
        )
        parts = [part.term for part in stage.objective.parts if not isinstance(part.term, Labels)]
        if data.unlabelled and not stage.objective.reads.teacher_output and any(term.reads.labels for term in parts):
            with pytest.raises(UserError, match="reads the label of each sample"):
                make()
            return
        objective = make()
        objective.train()
        reading = objective.read(batch.inputs, batch.targets, epoch=0.0, ids=batch.ids)
        if objective.has_adversaries:
            objective.adversary_loss(reading).backward()
        unknown = replace(reading, targets=torch.full((len(batch),), torch.nan))
        for name, part in objective.parts.items():
            reads = part.term.reads
            if not (reads.labels or stage.objective.reads.teacher_output or takes_rows(part.term, data.task)):
                owned = {**objective.owned, **objective.adversaries}
                assert part.term.loss(unknown, owned.get(name)).isfinite().all()
        outcome = objective.judge(reading)
        assert torch.isfinite(outcome.loss)
        outcome.loss.backward()
        trained = student if any(part.term.trains_student for part in objective.parts.values()) else objective.owned
        gradients = [p.grad for p in trained.parameters() if p.grad is not None]
        assert any(gradient.abs().sum() > 0 for gradient in gradients)
        objective.learn(reading)


def test_every_task_has_methods_of_many_kinds():
    for name, data in DATA.items():
        fitting = methods.fitting(data.task)
        on_scores = [method for method in fitting if any(t.reads.scores for t in methods.find(method).terms())]
        assert len(fitting) >= (25 if data.task.labelled else 15 if data.task.rows_per_sample else 3), name
        assert len(on_scores) >= 15 or data.task.rows_per_sample is None, (name, on_scores)
        assert chosen(data.train.targets, slice(2)) is not None
