"""Detectors of torchvision, answering for a batch of images in the form of the task ``detection``.

torchvision's own networks take lists of images, change their size, need the boxes while they train, and answer after
suppression. These hold the same modules under the same names, so that torchvision's weights fit them, and answer
before suppression: with a place for each anchor.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from understudy.errors import UserError

SURE = 8.0  # the logit of the centreness of detectors without one
ANCHOR = 8.0  # strides that the side of an anchor counts: it answers for boxes of about its size
LEAST = 1e-6  # the least probability whose logit is taken


@dataclass(frozen=True)
class Images:
    """Images of one size, as torchvision's modules ask for them: its ``ImageList``."""

    tensors: Tensor
    image_sizes: list[tuple[int, int]]

    @classmethod
    def of(cls, images: Tensor) -> "Images":
        return cls(images, [(images.shape[2], images.shape[3])] * len(images))


class Coder(Protocol):
    """What makes boxes of a network's values and anchors."""

    def decode_single(self, codes: Tensor, anchors: Tensor) -> Tensor: ...


class Detector(nn.Module):
    """A detector of torchvision without the change of its images, which are to come normalised by ``mean`` and ``std``.

    >>> Detector(torchvision.models.detection.fcos_resnet50_fpn()).mean  # doctest: +SKIP
    (0.485, 0.456, 0.406)
    """

    def __init__(self, detector: nn.Module):
        super().__init__()
        self.backbone, change = detector.get_submodule("backbone"), getattr(detector, "transform", None)
        self.mean: tuple[float, ...] = tuple(getattr(change, "image_mean", ()))
        self.std: tuple[float, ...] = tuple(getattr(change, "image_std", ()))


class OneStage(Detector):
    """FCOS, RetinaNet or SSD: a row for each anchor, (N, anchors, 8 + classes).

    A place of FCOS is that of its grid. Of the others, an anchor is a place at its centre whose stride is an eighth of
    its side, and which is sure of its centreness. So all are trained by the loss of the task, which gives a place the
    boxes around it of about its size, where torchvision takes the anchors of most overlap. The first class of
    torchvision, the background, is left out; SSD's scores, a softmax with the background, become logits of each class.

    Args:
        detector: torchvision's.
    """

    def __init__(self, detector: nn.Module):
        super().__init__(detector)
        self.head = detector.get_submodule("head")
        self.anchor_generator = detector.get_submodule("anchor_generator")
        self.box_coder = cast(Coder, detector.box_coder)
        self.linear = hasattr(detector, "center_sampling_radius")  # FCOS
        self.softmax = hasattr(detector, "neg_to_pos_ratio")  # SSD

    def forward(self, images: Tensor) -> Tensor:
        features = self.backbone(images)
        maps = [features] if isinstance(features, Tensor) else list(features.values())
        outputs: dict[str, Tensor] = {name: value.float() for name, value in self.head(maps).items()}
        anchors: Tensor = self.anchor_generator(Images.of(images[:1]), maps)[0].float()
        centres, sides = (anchors[:, :2] + anchors[:, 2:]) / 2, anchors[:, 2:] - anchors[:, :2]
        logits, codes = outputs["cls_logits"], outputs["bbox_regression"]
        if self.linear:
            strides, distances, centreness = sides[:, :1], codes, outputs["bbox_ctrness"]
        else:
            strides = sides.prod(1, keepdim=True).sqrt() / ANCHOR
            repeated = anchors.expand(len(images), -1, -1).flatten(0, 1)
            boxes = self.box_coder.decode_single(codes.flatten(0, 1), repeated).view_as(codes)
            distances = torch.cat((centres - boxes[..., :2], boxes[..., 2:] - centres), 2) / strides
            centreness = torch.full_like(logits[..., :1], SURE)
        if self.softmax:
            shares = logits.log_softmax(2).clamp(max=-LEAST)
            logits = shares - torch.log(-torch.expm1(shares))
        places = torch.cat((centres, strides), 1).expand(len(images), -1, -1)
        return torch.cat((places, distances, centreness, logits[..., 1:]), 2)


class TwoStage(Detector):
    """Faster R-CNN and its like: a row for each box that is kept of an image. A teacher by hints, not a student.

    Each box is a place at its centre. The maps of the pyramid are ``backbone.fpn.layer_blocks.0`` (the finest) and on.

    Args:
        detector: torchvision's.
    """

    def __init__(self, detector: nn.Module):
        super().__init__(detector)
        self.rpn = detector.get_submodule("rpn")
        self.roi_heads = detector.get_submodule("roi_heads")
        self.most = cast(int, self.roi_heads.detections_per_img)
        last = detector.get_submodule("roi_heads.box_predictor.cls_score")
        assert isinstance(last, nn.Linear)
        self.classes = last.out_features - 1  # without the background

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            raise UserError(
                "a detector of two stages is trained by torchvision's own losses; here it can be a teacher with "
                "weights, whose pyramid is taken for hints"
            )
        batch, features = Images.of(images), self.backbone(images)
        proposals, _ = self.rpn(batch, features, None)
        kept, _ = self.roi_heads(features, proposals, batch.image_sizes, None)
        return torch.stack([self._rows(one) for one in kept])

    def _rows(self, kept: Mapping[str, Tensor]) -> Tensor:
        """The boxes of an image as places of stride 1; a score is the root of the product of two probabilities."""
        boxes, scores = kept["boxes"].float(), kept["scores"].float().clamp(LEAST, 1 - LEAST)
        centres, halves = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
        one = torch.ones_like(scores)[:, None]
        logits = boxes.new_full((len(boxes), self.classes), -2 * SURE)
        logits.scatter_(1, kept["labels"][:, None] - 1, scores.square().logit()[:, None])
        rows = torch.cat((centres, one, halves, halves, SURE * one, logits), 1)
        missing = rows.new_tensor([[0.0] * 2 + [1.0] + [0.0] * 4 + [-SURE] + [-2 * SURE] * self.classes])
        return torch.cat((rows, missing.expand(self.most - len(rows), -1)))


def dense(detector: nn.Module) -> nn.Module:
    """A detector of torchvision for batches of images, with the same modules and weights.

    >>> dense(torchvision.models.detection.fcos_resnet50_fpn())(images)  # doctest: +SKIP
    """
    if hasattr(detector, "roi_heads"):
        return TwoStage(detector)
    if all(hasattr(detector, name) for name in ("backbone", "head", "anchor_generator", "box_coder")):
        return OneStage(detector)
    raise UserError(f"{type(detector).__name__} is no detector of torchvision with anchors or with two stages")
