"""torchvision's detectors before suppression: the boxes and scores that it answers with, and what can be learnt."""

import pytest
import torch

from understudy import Objective
from understudy.errors import UserError
from understudy.models import NetworkSpec, build
from understudy.models.detectors import Images, dense
from understudy.models.weights import load_whole
from understudy.tasks import Detection, padded
from understudy.tasks.boxes import boxes_of
from understudy.terms import KD, Hint, Labels, Localisation

models = pytest.importorskip("torchvision.models")

TASK = Detection(("dog", "cat"))
SIDE = 64
EVERYTHING = {"score_thresh": 0.0, "nms_thresh": 1.0, "detections_per_img": 10**6, "topk_candidates": 10**6}
FRESH = {"weights": None, "weights_backbone": None, "num_classes": 3}
NAMES = ["fcos_resnet50_fpn", "retinanet_resnet50_fpn", "ssd300_vgg16", "ssdlite320_mobilenet_v3_large"]
TARGETS = padded([{"boxes": [[4, 4, 40, 60]], "classes": [1]}, {"boxes": [[8, 0, 60, 50]], "classes": [0]}])
IMAGES = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
SMALLEST = {"ssd300_vgg16": 300}  # its last layers need images of this size


def images_for(name):
    side = SMALLEST.get(name, SIDE)
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))


def of_torchvision(name):
    """Its own detector, which takes images as they are and keeps every box."""
    torch.manual_seed(0)
    detector = models.get_model(name, **FRESH, **EVERYTHING).eval()
    side, transform = SMALLEST.get(name, SIDE), detector.transform
    transform.min_size, transform.max_size, transform.fixed_size = (side,), side, None
    transform.image_mean, transform.image_std = [0.0] * 3, [1.0] * 3
    return detector


@pytest.mark.parametrize("name", NAMES)
def test_boxes_and_scores_are_those_of_torchvision(name):
    detector, images = of_torchvision(name), images_for(name)[:1]
    with torch.no_grad():
        theirs = detector(list(images))[0]
        theirs = {key: value[theirs["labels"] > 0] for key, value in theirs.items()}  # no background
        answer = {"places": dense(detector)(images)}
    assert TASK.misfit(answer) is None
    boxes = TASK.boxes(answer)[0].clamp(0, images.shape[3])
    logits = answer["places"][0, :, 8:]
    scores = TASK.scores(answer)[0] if name.startswith("fcos") else logits.sigmoid()
    assert len(theirs["scores"]) == scores.numel()
    torch.testing.assert_close(theirs["scores"].sort()[0], scores.flatten().sort()[0], rtol=1e-4, atol=1e-5)
    for box, score, label in list(zip(theirs["boxes"], theirs["scores"], theirs["labels"], strict=True))[:20]:
        apart = (boxes - box).abs().amax(1) + 1e3 * (scores[:, label - 1] - score).abs()
        assert apart.min() < 0.05


@pytest.mark.parametrize("name", NAMES)
def test_it_is_built_by_name_takes_torchvisions_weights_and_learns(name):
    torch.manual_seed(1)
    images = images_for(name)
    teacher = NetworkSpec(f"torchvision:{name}", {}).build(classes=2, channels=3, size=SIDE)
    load_whole(teacher, models.get_model(name, **FRESH).state_dict(), "theirs.pt")
    student = build(f"torchvision:{name}", classes=2)
    terms = Labels() + KD(temperature=1) + Localisation()
    objective = Objective(terms, student=student, teacher=teacher, example=images, task=TASK)
    outcome = objective(images, TARGETS)
    outcome.loss.backward()
    assert torch.isfinite(outcome.loss)
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in student.head.parameters())
    answers = student.eval()(images)
    assert (
        TASK.wanted({"places": answers}, boxes_of(TARGETS))[1].any(1).all()
    )  # each box has a place that answers for it


def test_other_anchors_are_told_and_hints_work():
    torch.manual_seed(0)
    student = build("fcos", classes=2, channels=3, width=4, finest=8)
    teachers = [
        build(f"torchvision:{name}", classes=2) for name in ("ssdlite320_mobilenet_v3_large", "fcos_resnet50_fpn")
    ]
    for teacher in teachers:
        with pytest.raises(UserError, match=r"compared place by place: give both the same .* hints on their features"):
            Objective(Labels() + KD(), student=student, teacher=teacher, example=IMAGES, task=TASK)
    hint = Hint("backbone.fpn.layer_blocks.0 -> neck.0", reduce="relative", where="targets")
    objective = Objective(Labels() + hint, student=student, teacher=teachers[1], example=IMAGES, task=TASK)
    objective(IMAGES, TARGETS).loss.backward()


def test_a_detector_of_two_stages_teaches_by_its_pyramid():
    torch.manual_seed(0)
    teacher = build("torchvision:fasterrcnn_mobilenet_v3_large_320_fpn", classes=2, box_score_thresh=0.0)
    answer = teacher.eval()(IMAGES)
    assert TASK.misfit({"places": answer}) is None
    kept = teacher.roi_heads(*_proposed(teacher), [(SIDE, SIDE)] * 2)[0][0]
    found = TASK.detections({"places": answer[:1]})
    first = kept["scores"].argmax()
    torch.testing.assert_close(found["boxes"][0, 0], kept["boxes"][first])
    assert found["classes"][0, 0] == kept["labels"][first] - 1
    assert found["scores"][0, 0].item() == pytest.approx(kept["scores"][first].item(), rel=1e-3)
    student = build("fcos", classes=2, channels=3, width=4, finest=32)
    hint = Hint("backbone.fpn.layer_blocks.0 -> neck.0", reduce="relative", where="targets")
    Objective(Labels() + hint, student=student, teacher=teacher, example=IMAGES, task=TASK)(
        IMAGES, TARGETS
    ).loss.backward()
    with pytest.raises(UserError, match="trained by torchvision's own losses; here it can be a teacher"):
        teacher.train()(IMAGES)


def _proposed(teacher):
    features = teacher.backbone(IMAGES)
    return features, teacher.rpn(Images.of(IMAGES), features, None)[0]


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("retinanet_resnet51_fpn", {}, "no classifier and no detector 'retinanet_resnet51_fpn'; did you mean 'retinan"),
        ("fcos_resnet50_fpn", {"weights_backbone": "DEFAULT"}, "'weights_backbone' is not taken as a setting"),
        ("fcos_resnet50_fpn", {"channels": 1}, "take 3 channels"),
    ],
)
def test_mistakes(name, settings, words):
    with pytest.raises(UserError, match=words):
        build(f"torchvision:{name}", **settings)
