"""Average precision against published code: COCO's tools and VOC's development kit."""

import contextlib
import io

import numpy as np
import pytest
import torch

from tests.tasks.test_detection import some_boxes
from understudy.tasks.average_precision import Precision, mean_precision


def scene(generator, images=12, classes=3):
    """Objects, some of them ignored, and detections near them or anywhere, with scores of which some are equal."""
    found = []
    for _ in range(images):
        objects = some_boxes(generator, int(torch.randint(0, 6, (), generator=generator)))
        near = objects + torch.randint(-3, 4, objects.shape, generator=generator)
        answers = torch.cat((near, objects[:2], some_boxes(generator, 4)))
        answers[:, 2:] = torch.maximum(answers[:, 2:], answers[:, :2] + 1)
        scores = torch.randint(1, 20, (len(answers),), generator=generator) / 20
        kinds = [torch.randint(0, classes, (len(some),), generator=generator) for some in (objects, answers)]
        kinds[1][: len(objects)] = kinds[0]
        ignored = torch.rand(len(objects), generator=generator) < 0.2
        found.append((answers, scores, kinds[1], objects, kinds[0], ignored))
    return found


def measured(scenes, classes, eleven=False):
    precision = Precision(classes, eleven=eleven)
    for answers, scores, kinds, objects, labels, ignored in scenes:
        precision.add(*(some.double().numpy() for some in (answers, scores)), kinds.numpy(), objects.double().numpy(),
                      labels.numpy(), ignored.numpy())  # fmt: skip
    return precision.of_classes()


@pytest.mark.parametrize("seed", range(5))
def test_the_average_precision_is_that_of_cocos_tools(seed):
    coco = pytest.importorskip("faster_coco_eval")
    scenes, number = scene(torch.Generator().manual_seed(seed)), 0
    truth = {"images": [], "annotations": [], "categories": [{"id": kind + 1, "name": str(kind)} for kind in range(3)]}
    found = []
    for image, (answers, scores, kinds, objects, labels, ignored) in enumerate(scenes, 1):
        truth["images"].append({"id": image, "width": 99, "height": 99})
        for box, label, crowd in zip(objects.tolist(), labels.tolist(), ignored.tolist(), strict=True):
            number += 1
            sides = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
            truth["annotations"].append({"id": number, "image_id": image, "category_id": label + 1, "bbox": sides,
                                         "area": sides[2] * sides[3], "iscrowd": int(crowd)})  # fmt: skip
        for box, score, kind in zip(answers.tolist(), scores.tolist(), kinds.tolist(), strict=True):
            sides = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
            found.append({"image_id": image, "category_id": kind + 1, "bbox": sides, "score": score})
    with contextlib.redirect_stdout(io.StringIO()):
        judged = coco.COCO(truth)
        evaluation = coco.COCOeval_faster(judged, judged.loadRes(found), iouType="bbox")
        evaluation.run()
    ours = measured(scenes, 3)
    assert mean_precision(ours) == pytest.approx(evaluation.stats[0], abs=1e-9)
    assert mean_precision(ours[:, 0]) == pytest.approx(evaluation.stats[1], abs=1e-9)
    assert 0.02 < mean_precision(ours) < 0.9


def voc_2007(scenes, kind):
    """VOC's development kit, as it is written: all detections by score, each against its image's objects."""
    objects = [part[3][part[4] == kind].double().numpy() for part in scenes]
    difficult = [part[5][part[4] == kind].numpy() for part in scenes]
    taken = [np.zeros(len(some), bool) for some in objects]
    listed = [
        (score, image, box)
        for image, part in enumerate(scenes)
        for box, score, own in zip(part[0].double().numpy(), part[1].tolist(), part[2].tolist(), strict=True)
        if own == kind
    ]
    hits, misses, points = 0, 0, []
    for _, image, box in sorted(listed, key=lambda one: -one[0]):
        best, where = -1.0, -1
        for place, other in enumerate(objects[image]):
            sides = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
            if (sides > 0).all():
                union = (box[2:] - box[:2]).prod() + (other[2:] - other[:2]).prod() - sides.prod()
                if sides.prod() / union > best:
                    best, where = sides.prod() / union, place
        if best > 0.5:
            if difficult[image][where]:
                continue
            hits, misses = (hits + 1, misses) if not taken[image][where] else (hits, misses + 1)
            taken[image][where] = True
        else:
            misses += 1
        points.append((hits, hits / (hits + misses)))
    count = sum(int((~some).sum()) for some in difficult)
    recalls = np.arange(0.0, 1.1, 0.1)
    return sum(max((p for h, p in points if h / count >= recall), default=0.0) for recall in recalls) / 11


@pytest.mark.parametrize("seed", range(3))
def test_eleven_points_are_those_of_vocs_development_kit(seed):
    scenes = scene(torch.Generator().manual_seed(10 + seed))
    ours = measured(scenes, 3, eleven=True)[:, 0]
    assert ours.tolist() == pytest.approx([voc_2007(scenes, kind) for kind in range(3)], abs=1e-9)


def test_a_class_without_objects_has_no_precision():
    box = np.array([[0.0, 0.0, 4.0, 4.0]])
    precision = Precision(3)
    precision.add(box, np.array([0.9]), np.array([0]), box, np.array([1]), np.array([False]))
    values = precision.of_classes()
    assert np.isnan(values[[0, 2]]).all()
    assert (values[1] == 0).all()
    assert mean_precision(values) == 0
