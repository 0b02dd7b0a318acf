"""For every task: the options of a result, the reasons why a student is broken, and the input of its description."""

from dataclasses import replace

import pytest
import torch

from understudy.models import build
from understudy.models.student import describe
from understudy.runs import broken
from understudy.runs.records import Measures
from understudy.tasks import Binary, Classification, Landmarks, MultiLabel, Regression, Text
from understudy.tasks.text import SPECIAL

NAN = float("nan")
TEXT = Text(("bad", "good"), (*SPECIAL, "fine"), 6)
TWO = Classification(("a", "b", "c"))
POINTS = torch.tensor([[[0.0, 0.0], [4.0, 0.0]], [[0.0, 0.0], [NAN, NAN]]])
FACES = Landmarks.of(POINTS[:1], names=("left", "right"), between=(0, 1))
SCORES = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 2.0], [2.0, 0.0, 1.0]])
LABELS = torch.tensor([0, 1, 0])
HOLDS = torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 0.0], [0.0, 0.0]])

OPTIONS = [  # task, the kept answer, targets, the options
    (TWO, {"logits": SCORES}, LABELS, [1.0, 0.0, None]),
    (TEXT, {"logits": SCORES[:, :2]}, LABELS, [1.0, 1.0]),
    (MultiLabel(("x", "y")), {"logits": torch.tensor([[3.0, 1], [2, 1], [1, 1], [0, 1]])}, HOLDS, [5 / 6, None]),
    (Binary(("x",)), {"logits": torch.tensor([[1.0], [-1.0]])}, torch.tensor([[1.0], [0.0]]), []),
    (
        Regression(("p", "q"), (1.0, 1.0)),
        {"values": torch.tensor([[1.0, 2.0], [3.0, 2.0]])},
        torch.tensor([[0.0, 2.0], [0.0, 4.0]]),
        [2.0, 1.0],
    ),
    (FACES, {"values": torch.tensor([[2.0, 1.0, 4.0, 0.0]])}, POINTS[:1], [0.5, 0.25, 0.0, 0.0]),
]


@pytest.mark.parametrize(
    ("task", "answer", "targets", "options"), OPTIONS, ids=lambda value: getattr(value, "name", "")
)
def test_options_are_the_parts_of_the_first_figure(task, answer, targets, options):
    measures = Measures.model_validate(task.details([answer, answer], targets, []))
    assert measures.options == pytest.approx(options)
    assert len(measures.options) in (0, len(task.names))


def test_a_point_that_is_not_marked_counts_nowhere():
    values = torch.tensor([[0.0, 0.0, 4.0, 0.0], [0.0, 0.0, 9.0, 9.0]])
    assert FACES.details([{"values": values}], POINTS, [])["options"] == [0.0, 0.0, 0.0, 0.0]


def reasons(task, answer, targets, value):
    """As a result has them of a student."""
    largest = max(tensor.abs().max().item() for tensor in answer.values()) / task.magnitude(targets)
    luck = task.luck(task.selecting, len(targets))
    constant, usual = task.commonest(answer), broken.commonest(task, targets)
    return broken.reasons(task.selecting, value, luck, constant=constant, usual=usual, largest=largest)


MANY = 400
RARE = (torch.arange(MANY) < 2).long()  # 0.5 % of the samples
HOUSES = torch.linspace(1e6, 9e6, MANY).unsqueeze(1)
PRICES = Regression.of(HOUSES)
BROKEN = [  # task, the kept answer, targets, the value of the first figure, words of each reason
    (TWO, {"logits": torch.eye(3)[torch.arange(MANY) % 3]}, torch.arange(MANY) % 3, 1.0, []),
    (TWO, {"logits": torch.zeros(MANY, 3)}, torch.arange(MANY) % 3, 1 / 3, ["chance", "one answer for 100 %"]),
    (TWO, {"logits": 1e5 * torch.eye(3)[torch.arange(MANY) % 3]}, torch.arange(MANY) % 3, 1.0, ["as large as 1e+05"]),
    (TWO, {"logits": torch.eye(3)[RARE]}, RARE, 1.0, []),  # right, of data in which one answer is nearly always right
    (TEXT, {"logits": torch.zeros(MANY, 2)}, torch.arange(MANY) % 2, 0.5, ["chance", "one answer for 100 %"]),
    (
        Binary.of(torch.arange(MANY) % 2),
        {"logits": torch.ones(MANY, 1)},
        (torch.arange(MANY) % 2).float().unsqueeze(1),
        0.5,
        ["chance", "one answer for 100 %"],
    ),
    (Binary.of(RARE), {"logits": RARE.unsqueeze(1) - 0.5}, RARE.float().unsqueeze(1), 1.0, []),
    (
        MultiLabel(("x", "y"), (0.5, 0.5)),
        {"logits": torch.randn(MANY, 2, generator=torch.Generator().manual_seed(0)).sign()},
        (torch.arange(2 * MANY).view(-1, 2) % 3 == 0).float(),
        0.5,
        ["chance"],
    ),
    (PRICES, {"values": HOUSES + 1.0}, HOUSES, 1.0, []),  # millions, as the targets are
    (PRICES, {"values": HOUSES.mean().expand(MANY, 1)}, HOUSES, 2e6, ["one answer for 100 %"]),
    (PRICES, {"values": 1e5 * HOUSES}, HOUSES, 1e11, ["as large as"]),
    (PRICES, {"values": HOUSES}, HOUSES, NAN, ["no number"]),
    (replace(FACES, usual=1.0), {"values": torch.rand(MANY, 4)}, POINTS[:1].expand(MANY, -1, -1), 0.5, []),
]


@pytest.mark.parametrize(("task", "answer", "targets", "value", "words"), BROKEN)
def test_a_student_is_broken_for_a_reason_that_holds_for_its_task(task, answer, targets, value, words):
    told = reasons(task, answer, targets, value)
    assert len(told) == len(words)
    assert all(word in reason for word, reason in zip(words, told, strict=True))


def test_only_images_have_a_range():
    network = build("plain2", channels=1, size=28)
    assert describe(network, None, (1, 28, 28), TWO)["input"]["range"] == [0.0, 1.0]
    assert describe(network, None, (5, 6), TEXT)["input"] == {
        "shape": [5, 6],
        "tensors": ["input_ids", "attention_mask"],
    }
    assert describe(network, None, (4,), PRICES)["input"] == {"shape": [4]}
