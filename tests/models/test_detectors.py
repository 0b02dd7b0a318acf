"""Detectors of torchvision, by stand-ins that have its attributes; tests/loops has the real ones."""

import pytest
import torch
from torch import nn

from understudy.errors import UserError
from understudy.models import Normalized
from understudy.models.detectors import SURE, dense
from understudy.models.library_weights import unlike_its_weights
from understudy.tasks import Detection

TASK = Detection(("dog", "cat"))
LOGITS = torch.tensor([[[0.5, 1.0, -1.0], [0.0, 2.0, 3.0]]])  # the background and two classes, at two anchors
ANCHORS = torch.tensor([[0.0, 0.0, 8.0, 8.0], [4.0, 0.0, 20.0, 4.0]])


class Head(nn.Module):
    def forward(self, maps):
        count = len(maps[0])
        of = {"cls_logits": LOGITS, "bbox_regression": torch.full((1, 2, 4), 0.5), "bbox_ctrness": torch.ones(1, 2, 1)}
        return {name: value.expand(count, -1, -1) for name, value in of.items()}


class Anchors(nn.Module):
    def forward(self, images, maps):
        return [ANCHORS] * len(images.image_sizes)


class Shifting:
    """Boxes are their anchors, moved by so much."""

    def decode_single(self, codes, boxes):
        return boxes + codes


def stand_in(**attributes):
    made = nn.Module()
    made.backbone, made.head, made.box_coder = nn.Identity(), Head(), Shifting()
    made.anchor_generator = Anchors()
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


def test_the_grid_of_fcos_stays_and_its_distances_are_in_strides():
    answer = dense(stand_in(center_sampling_radius=1.5))(torch.zeros(3, 3, 8, 8))
    assert answer.shape == (3, 2, 10)
    assert answer[0, 0].tolist() == [4.0, 4.0, 8.0, 0.5, 0.5, 0.5, 0.5, 1.0, 1.0, -1.0]


@pytest.mark.parametrize("softmax", [False, True])
def test_anchors_are_places_whose_boxes_are_decoded(softmax):
    answer = {"places": dense(stand_in(**({"neg_to_pos_ratio": 3.0} if softmax else {})))(torch.zeros(2, 3, 8, 8))}
    assert TASK.misfit(answer) is None
    torch.testing.assert_close(TASK.boxes(answer)[1], ANCHORS + 0.5)
    assert answer["places"][0, :, 2].tolist() == [1.0, 1.0]  # an eighth of the sides 8 and 8, the root of 16 x 4
    assert (answer["places"][..., 7] == SURE).all()
    shares = LOGITS.softmax(2) if softmax else LOGITS.sigmoid()
    torch.testing.assert_close(answer["places"][:1, :, 8:].sigmoid(), shares[..., 1:])


def test_boxes_of_two_stages_are_places_with_their_scores():
    kept = {
        "boxes": torch.tensor([[2.0, 4.0, 10.0, 8.0]]), "scores": torch.tensor([0.3]), "labels": torch.tensor([2]),
    }  # fmt: skip
    empty = {name: value[:0] for name, value in kept.items()}
    heads = nn.Module()
    heads.detections_per_img, heads.box_predictor = 3, nn.Module()
    heads.box_predictor.cls_score = nn.Linear(1, 3)
    heads.forward = lambda features, proposals, sizes, targets: ([kept, empty], {})
    proposals = nn.Module()
    proposals.forward = lambda images, features, targets: (None, {})
    network = dense(stand_in(roi_heads=heads, rpn=proposals)).eval()
    answer = {"places": network(torch.zeros(2, 3, 16, 16))}
    assert TASK.misfit(answer) is None
    found = TASK.detections(answer)
    assert found["classes"][:, 0].tolist() == [1, -1]
    assert found["boxes"][0, 0].tolist() == [2.0, 4.0, 10.0, 8.0]
    assert found["scores"][0, 0].item() == pytest.approx(0.3, rel=1e-3)
    assert (found["classes"][:, 1:] == -1).all()
    with pytest.raises(UserError, match="trained by torchvision's own losses; here it can be a teacher"):
        network.train()(torch.zeros(2, 3, 16, 16))


def test_a_teacher_whose_images_are_not_normalised_is_told_what_torchvision_does():
    change = nn.Module()
    change.image_mean, change.image_std = [0.5, 0.4, 0.3], [0.2, 0.2, 0.2]
    network, images = dense(stand_in(center_sampling_radius=1.5, transform=change)), torch.rand(2, 3, 8, 8)
    assert "were trained with mean 0.5 0.4 0.3, std 0.2 0.2 0.2" in unlike_its_weights(network, images)
    assert unlike_its_weights(Normalized(network, change.image_mean, change.image_std), images) is None
    assert unlike_its_weights(dense(stand_in(center_sampling_radius=1.5)), images) is None


def test_other_networks_are_no_detectors():
    with pytest.raises(UserError, match="Linear is no detector of torchvision"):
        dense(nn.Linear(1, 1))
