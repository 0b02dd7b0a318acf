"""Detection: suppression and assignment against loops, boxes that move, letterboxes, training, the report."""

import copy
import json

import numpy as np
import pytest
import torch
from PIL import Image

import understudy
from tests.tasks.test_tasks import IMAGES, Detector, made
from understudy import Objective
from understudy.data import Augmentation, Crop, from_datasets, from_tensors
from understudy.data.images import LETTERBOX, fitted
from understudy.errors import UserError
from understudy.losses import bounded_boxes, box_distance
from understudy.methods.fgd import object_weights
from understudy.models import build
from understudy.shipping.predict import predict
from understudy.tasks import Detection, Landmarks, Segmentation, boxes, padded
from understudy.tasks.boxes import boxes_of, giou, iou, responsible, suppressed
from understudy.tasks.task import Told
from understudy.terms import FGD, Hint, Labels, Localisation
from understudy.training.preflight import check_data

TASK = Detection(("person", "car"))


def some_boxes(generator, count, size=40.0):
    """Boxes on whole pixels, so that many overlap by just as much as others."""
    low = torch.randint(0, int(size) - 8, (count, 2), generator=generator).float()
    return torch.cat((low, low + torch.randint(2, 24, (count, 2), generator=generator)), 1)


@pytest.mark.parametrize("seed", range(6))
def test_suppression_is_the_greedy_loop(seed):
    generator = torch.Generator().manual_seed(seed)
    found = torch.stack([some_boxes(generator, 60, 20.0 + 10 * seed) for _ in range(3)])
    kinds = torch.randint(0, 2, (3, 60), generator=generator)
    gone = suppressed(found, kinds, 0.4)
    for image in range(3):
        kept = []
        for number in range(60):
            over = [
                other
                for other in kept
                if kinds[image, other] == kinds[image, number]
                and iou(found[image, other : other + 1], found[image, number : number + 1]) > 0.4
            ]
            if not over:
                kept.append(number)
        assert (~gone[image]).nonzero().flatten().tolist() == kept
    assert gone.any()
    assert torch.equal(boxes.suppressed(found[:0], kinds[:0], 0.4), torch.zeros(0, 60, dtype=torch.bool))


def test_suppression_in_pieces_is_that_at_once(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    found = torch.stack([some_boxes(generator, 20) for _ in range(5)])
    whole = suppressed(found, torch.zeros(5, 20), 0.3)
    monkeypatch.setattr(boxes, "AT_ONCE", 500)
    assert torch.equal(suppressed(found, torch.zeros(5, 20), 0.3), whole)


def test_generalised_iou_is_its_formula():
    generator = torch.Generator().manual_seed(1)
    one, other = some_boxes(generator, 50), some_boxes(generator, 50)
    for first, second, value in zip(one.tolist(), other.tolist(), giou(one, other).tolist(), strict=True):
        cells = np.zeros((3, 70, 70), bool)
        hull = [min(first[0], second[0]), min(first[1], second[1]), max(first[2], second[2]), max(first[3], second[3])]
        for layer, box in zip(cells, (first, second, hull), strict=True):
            layer[int(box[1]) : int(box[3]), int(box[0]) : int(box[2])] = True
        union = (cells[0] | cells[1]).sum()
        assert value == pytest.approx((cells[0] & cells[1]).sum() / union - (cells[2].sum() - union) / cells[2].sum())


def test_a_place_answers_for_the_smallest_box_that_fits_its_stride():
    rows = [{"boxes": [[0, 0, 160, 160], [4, 4, 20, 20]], "classes": [0, 1]}, {"boxes": [], "classes": []}]
    targets = boxes_of(padded(rows))
    fine = torch.tensor([[x, y, 8.0] for y in (4.0, 12.0, 20.0) for x in (4.0, 12.0, 20.0)])
    coarse = torch.tensor([[x, y, 16.0] for y in (56.0, 72.0, 88.0) for x in (56.0, 72.0, 88.0)])
    places = torch.cat((fine, coarse)).expand(2, -1, -1)
    number, left_out = responsible(places, targets)
    # Of the small box, those of the fine stride within 12 pixels of its middle, inside; of the large one, the coarse.
    assert number[0, :9].tolist() == [-1, -1, -1, -1, 1, -1, -1, -1, -1]
    assert number[0, 9:].tolist() == [-1, -1, -1, -1, 0, 0, -1, 0, 0]
    assert (number[1] == -1).all()
    assert not left_out.any()
    alone, _ = responsible(places[:1, :9], boxes_of(padded(rows[:1])))
    assert alone[0, 4] == 1  # a single stride takes boxes of any size


def test_an_ignored_box_is_neither_learned_nor_held_against_a_place():
    known = padded([{"boxes": [[0, 0, 16, 16]], "classes": [0], "iscrowd": [1]}])
    free = padded([{"boxes": [], "classes": []}])
    place = torch.zeros(1, 2, 10)
    place[0, :, :3] = torch.tensor([[8.0, 8.0, 16.0], [40.0, 8.0, 16.0]])
    changed = place.clone()
    changed[0, 0, 8:] = 5.0
    losses = [TASK.loss({"places": answer}, known).item() for answer in (place, changed)]
    assert losses[0] == losses[1] > 0
    assert TASK.loss({"places": changed}, free).item() > losses[0]


def exact_answer(targets):
    """The answer of a detector that knows the targets, at strides 8 and 16 of images of 64 pixels."""
    objects = boxes_of(targets)
    centres = [torch.arange(64 // stride) * stride + stride / 2 for stride in (8, 16)]
    grids = [torch.stack(torch.meshgrid(c, c, indexing="xy"), -1).flatten(0, 1) for c in centres]
    places = torch.cat([torch.nn.functional.pad(g, (0, 1), value=s) for g, s in zip(grids, (8.0, 16.0), strict=True)])
    places = places.expand(len(objects.boxes), -1, -1)
    number, _ = responsible(places, objects)
    wanted = objects.boxes.gather(1, number.clamp_min(0)[..., None].expand(-1, -1, 4))
    x, y, stride = places.unbind(2)
    left, top, right, bottom = wanted.unbind(2)
    sides = torch.stack((x - left, y - top, right - x, bottom - y), 2) / stride.unsqueeze(2)
    kinds = objects.classes.gather(1, number.clamp_min(0)).where(number >= 0, -1)
    logits = torch.where(kinds[..., None] == torch.arange(2), 8.0, -8.0)
    centre = torch.full_like(x, 8.0).unsqueeze(2)
    return {"places": torch.cat((places, sides, centre, logits), 2)}


EXACT = padded([
    {"boxes": [[3, 5, 21, 22], [30, 28, 62, 60]], "classes": [0, 1]},
    {"boxes": [], "classes": []},
    {"boxes": [[8, 8, 60, 50]], "classes": [1]},
])  # fmt: skip


def test_who_knows_the_boxes_has_all_precision_and_hardly_a_loss():
    answer = exact_answer(EXACT)
    meter = TASK.meter()
    meter.update(answer, EXACT)
    found = meter.compute()
    assert found["ap"] == found["ap50"] == 1.0
    kept = TASK.kept(answer, EXACT)
    assert kept["boxes"].shape == (3, 100, 4)
    assert (kept["classes"] >= 0).sum(1).tolist() == [2, 0, 1]
    assert TASK.compared(kept, kept, EXACT) == {"overlap": 1.0}
    told = TASK.told(answer)
    assert [one["label"] for one in told[0].record["boxes"]] in (["person", "car"], ["car", "person"])
    assert told[1].text == "nothing"
    numbers = TASK.numbers(answer, EXACT)
    torch.testing.assert_close(numbers.values * numbers.weights, numbers.targets * numbers.weights)
    assert numbers.weights.sum(1).tolist()[1] == 0
    assert TASK.details([kept, kept], EXACT, ())["options"] == [1.0, 1.0]
    errors = TASK.errors(kept, {name: value.flip(0) for name, value in kept.items()}, EXACT, torch.tensor([7, 8, 9]))
    assert errors == {"student": {"count": 0, "ids": []}, "teacher": {"count": 2, "ids": [7, 9]}, "both": 0}


@pytest.mark.parametrize("columns", [slice(3, 4), slice(6, 7), slice(7, 8), slice(8, 10)], ids=str)
def test_each_part_of_an_answer_has_a_loss(columns):
    answer = exact_answer(EXACT)["places"]
    least = TASK.loss({"places": answer}, EXACT)
    answers = responsible(answer[..., :3], boxes_of(EXACT))[0] >= 0
    worse = answer.clone()
    worse[..., columns] *= torch.where(answers, -1.0, 1.0).unsqueeze(2)
    more = TASK.loss({"places": worse}, EXACT)
    assert ((more - least).abs() > 1e-3)[answers.any(1)].all()
    assert torch.equal(more[1], least[1])


def test_rows_of_places_that_answer_have_half_of_the_weight():
    answer = exact_answer(EXACT)
    rows = TASK.rows(answer, EXACT)
    assert torch.equal(rows.scores[..., 1].flatten(1), answer["places"][..., 8:].flatten(1))
    right = rows.labels.bool()
    assert torch.equal(right, rows.scores[..., 1] > 0)
    of_objects = responsible(answer["places"][..., :3], boxes_of(EXACT))[0].repeat_interleave(2, 1) >= 0
    shares = (rows.weights * of_objects).sum(1) / rows.weights.sum(1)
    torch.testing.assert_close(shares, torch.tensor([0.5, 0.0, 0.5]))


VIEWS = [
    Augmentation(shift=5, flip=True),
    Augmentation(crop=Crop(scale=(0.4, 1.0))),
    Augmentation(crop=Crop(scale=(0.4, 1.0)), shift=4, flip=True),
]


@pytest.mark.parametrize("views", VIEWS, ids=str)
def test_boxes_masks_and_points_follow_their_pixels(views):
    size, count = 32, 24
    ids = torch.arange(count)
    generator = torch.Generator().manual_seed(0)
    low = torch.randint(4, 16, (count, 2), generator=generator)
    high = low + torch.randint(6, 12, (count, 2), generator=generator)
    images = torch.zeros(count, 1, size, size)
    for number in range(count):
        images[number, 0, low[number, 1] : high[number, 1], low[number, 0] : high[number, 0]] = 1.0
    drawn = views.draw(images, 0, 2, ids)[:, 0]
    moves = views.moved((size, size), 0, 2, ids)
    targets = padded([
        {"boxes": [[*low[number].tolist(), *high[number].tolist()]], "classes": [1]} for number in range(count)
    ])  # fmt: skip
    found = boxes_of(TASK.moved(targets, moves))
    masks = Segmentation(("none", "object")).moved((images[:, 0] > 0).long(), moves)
    middle = (low + high).float() / 2 - 0.5  # a point is the centre of its pixel
    points = Landmarks(("x", "y")).moved(middle.unsqueeze(1), moves).squeeze(1)
    gone = 0
    for number in range(count):
        inside = (drawn[number] > 0.5).nonzero()
        if found.classes[number, 0] < 0:
            gone += 1
            assert inside.numel() < 0.3 * (high[number] - low[number]).prod() * 2 * 4
            continue
        assert masks[number].eq(1).ne(drawn[number] > 0.5).float().sum() <= 0.2 * len(inside) + 24
        edges = torch.cat((inside.amin(0).flip(0), inside.amax(0).flip(0) + 1)).float()
        assert (found.boxes[number, 0] - edges).abs().max() <= 1.01
        box = found.boxes[number, 0]
        scale = size / moves.crop[2][number] * size / moves.crop[3][number] if moves.crop else 1.0
        if (box[2:] - box[:2]).prod() > 0.999 * scale * (high[number] - low[number]).prod():  # nothing was cut off
            torch.testing.assert_close(points[number] + 0.5, (box[:2] + box[2:]) / 2, atol=1e-3, rtol=0)
    assert gone < count / 3


def test_a_training_sees_boxes_that_moved_with_their_images():
    data = made("detection")
    views = Augmentation(crop=Crop(scale=(0.5, 1.0)), flip=True)
    batch = next(data.train.epoch(0, seed=0, batch=40, augmentation=views, task=data.task, device=torch.device("cpu")))
    found = boxes_of(batch.targets)
    assert (found.boxes >= 0).all()
    assert (found.boxes <= 8).all()
    assert not torch.equal(found.boxes, boxes_of(data.train.targets).boxes[: len(found.boxes)])


def test_boxes_of_differing_number_are_padded_and_read_from_datasets():
    rows = [{"boxes": torch.tensor([[0.0, 0.0, 4.0, 4.0]] * number), "labels": torch.zeros(number).long()}
            for number in (2, 0, 1, 1)]  # fmt: skip
    tensors = from_tensors((IMAGES[:4], rows), task="detection", classes=["person"], validation=0)
    dataset = from_datasets([*zip(IMAGES[:4], rows, strict=True)], task="detection", classes=["person"], validation=0)
    for data in (tensors, dataset):
        assert (data.train.targets["classes"] >= 0).sum(1).tolist() == [2, 0, 1, 1]
        assert data.task == Detection(("person",))


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        ([{"boxes": [[0, 0, 4, 4]], "classes": [2]}], "sample 0 has objects of classes"),
        ([{"boxes": [[4, 0, 4, 4]], "classes": [0]}], "which has no area"),
        ([{"boxes": [[0, 0, 4, 4]], "classes": [0, 1]}], "1 boxes, 2 classes"),
        ([{"boxes": [[0, 0, 4, 4]], "classes": [0.5]}], "sample 0: classes must be whole numbers, found 0.5"),
        ([{"boxes": [[0, 1], [0, 1], [4, 5], [4, 5]], "classes": [0, 0]}], r"boxes of shape \(4, 2\); give \(M, 4\)"),
        ([{"boxes": [[0, 0, 4], [0, 0, 4, 4]], "classes": [0, 0]}], "sample 0: expected sequence of length 3"),
        ([{"boxes": [[0, 0, float("nan"), 4]], "classes": [0]}], "which has no area"),
    ],
)
def test_what_is_wrong_with_boxes_is_told(targets, words):
    with pytest.raises(UserError, match=words):
        TASK.check(padded(targets))
    with pytest.raises(UserError, match="makes them of lists"):
        TASK.check(torch.zeros(3))


def test_classes_that_no_box_names_are_asked_for():
    empty = padded([{"boxes": [], "classes": []}] * 4)
    with pytest.raises(UserError, match="no sample has a box, so the classes are unknown"):
        Detection.of(empty)
    assert Detection.of(empty, names=["person"]) == Detection(("person",))


def test_boxes_as_shares_of_the_image_are_a_remark():
    shares = padded([{"boxes": [[0, 0, 0.5, 1]], "classes": [0]}])
    assert Detection(("person",)).remarks(shares) == [
        "no box reaches beyond 1, and boxes are in pixels: multiply shares by width and height"
    ]


@pytest.mark.parametrize(("box", "outside"), [([6, 2, 12, 6], True), ([4, 2, 12, 6], False), ([9, 2, 12, 6], True)])
def test_boxes_outside_their_images_are_a_warning(box, outside):
    data = from_tensors((IMAGES[:4], [{"boxes": [box], "classes": [0]}] * 4), task="detection", validation=0)
    found = [finding.text for finding in check_data(data, 2) if "outside their images" in finding.text]
    text = "4 training samples have targets outside their images, which are 8 x 8 pixels: resize the targets"
    assert [each.startswith(text) for each in found] == [True] * outside


def test_a_box_that_is_not_finite_is_never_kept_and_suppresses_none():
    sides = torch.tensor([[0.25, 0.25, 0.25, 0.25, 4.0, 4.0]]).repeat(4, 1)
    sides[0, 0], sides[1, 2], sides[2, 5] = torch.nan, torch.inf, torch.nan
    places = torch.cat((torch.tensor([[8.0, 8.0, 16.0]]).repeat(4, 1), sides), 1)[None]
    (told,) = Detection(("person",), least_score=0.0).told({"places": places})
    assert told.text == "person 98.2 % at 4, 4, 12, 12"


def test_networks_with_other_places_are_not_compared_by_scores():
    one, other = torch.zeros(2, 4, 10), torch.zeros(2, 16, 10)
    assert "4 places, the teacher at 16" in TASK.fits({"places": one}, {"places": other})
    assert "1 classes" in TASK.fits({"places": one[..., :9]}, {"places": one})
    assert TASK.fits({"places": one}, {"places": one}) is None
    coarse, fine = (build("fcos", classes=2, width=4, finest=stride)(torch.rand(1, 3, side, side))
                    for stride, side in ((16, 64), (8, 32)))  # fmt: skip
    assert "both answer at 16 places, but at others" in TASK.fits({"places": coarse}, {"places": fine})
    assert TASK.fits({"places": coarse}, {"places": coarse}) is None


def test_a_hint_looks_at_objects_alone():
    targets = padded([{"boxes": [[0, 0, 4, 4]], "classes": [0]}] * 2)
    assert TASK.places(targets, (2, 2), (8, 8))[0].tolist() == [[1.0, 0.0], [0.0, 0.0]]
    assert TASK.places(targets, (1, 1), (8, 8))[0].tolist() == [[0.25]]
    teacher, student = Detector(2), Detector(2)
    given = {"student": student, "teacher": teacher, "example": IMAGES[:2], "task": TASK}
    objective = Objective(Hint("conv -> conv", reduce="mean", where="targets"), **given)
    apart = (teacher.conv(IMAGES[:2]) - student.conv(IMAGES[:2])).square().mean(1)
    torch.testing.assert_close(objective(IMAGES[:2], targets).loss, apart[:, :2, :2].mean())


@pytest.mark.parametrize("term", [Localisation(), Localisation(form="huber"), Localisation(bounded=True)], ids=str)
def test_a_student_that_is_its_teacher_learns_no_boxes_from_it(term):
    data = made("detection")
    torch.manual_seed(0)
    teacher = Detector(2)
    batch = next(data.train.in_order(8, torch.device("cpu")))
    same = Objective(term, student=copy.deepcopy(teacher), teacher=teacher, task=data.task)(batch.inputs, batch.targets)
    other = Objective(term, student=Detector(2), teacher=teacher, task=data.task)(batch.inputs, batch.targets)
    assert other.loss > 0
    other.loss.backward()
    assert same.loss.item() == pytest.approx(0.0, abs=1e-6) or term.bounded


def test_bounded_boxes_learn_the_targets_until_they_are_better_than_the_teachers():
    target = torch.tensor([[[0.0, 0.0, 10.0, 20.0], [0.0, 0.0, 10.0, 10.0]]])
    student, teacher = target + 1.0, target + torch.tensor([[[2.0], [0.5]]])
    weights = torch.ones(1, 2)
    expected = (4 * 0.1**2) / 2
    assert bounded_boxes(student, teacher, target, weights).item() == pytest.approx(expected)
    first = 2 * 0.1**2 + 2 * 0.05**2
    assert bounded_boxes(student, teacher, target, weights, margin=1.0).item() == pytest.approx((4 * 0.01 + first) / 2)
    assert box_distance(student, student, weights).item() == pytest.approx(0.0, abs=1e-6)
    seen = torch.tensor([[0.5, 0.0]])
    assert box_distance(student, teacher, seen).item() == pytest.approx(0.5 * (1 - giou(student, teacher)[0, 0].item()))
    assert "has none" in Localisation().misfit(made("binary").task)
    with pytest.raises(UserError, match="boxes are"):
        box_distance(student, teacher[:, :1], weights)
    with pytest.raises(UserError, match="form is"):
        box_distance(student, teacher, weights, form="l1")


def test_fgd_weighs_each_box_alike():
    generator = torch.Generator().manual_seed(3)
    rows = [{"boxes": some_boxes(generator, count).tolist(), "classes": [0] * count} for count in (3, 1)]
    found = object_weights(boxes_of(padded(rows)), (8, 10), (64, 80))
    for image, row in enumerate(rows):  # the authors' loop
        mask = torch.zeros(8, 10)
        for box in row["boxes"]:
            left, right = (int(f(side / 8)) for f, side in ((np.floor, box[0]), (np.ceil, box[2])))
            top, bottom = (int(f(side / 8)) for f, side in ((np.floor, box[1]), (np.ceil, box[3])))
            area = 1 / (bottom + 1 - top) / (right + 1 - left)
            inside = mask[top : bottom + 1, left : right + 1]
            mask[top : bottom + 1, left : right + 1] = inside.clamp_min(area)
        torch.testing.assert_close(found[image], mask)
    assert (object_weights(boxes_of(padded([{"boxes": [], "classes": []}])), (2, 2), (8, 8)) == 0).all()


def test_fgd_leaves_a_student_alone_that_has_the_teachers_maps():
    data, teacher = made("detection"), Detector(2)
    batch = next(data.train.in_order(8, torch.device("cpu")))
    given = {"teacher": teacher, "example": batch.inputs[:2], "task": data.task}
    same = Objective(FGD("conv -> conv"), student=copy.deepcopy(teacher), **given)(batch.inputs, batch.targets).loss
    other = Objective(FGD("conv -> conv"), student=Detector(2, 4), **given)(batch.inputs, batch.targets).loss
    assert same.item() == pytest.approx(0.0, abs=1e-7)
    assert other > 0
    assert "has none" in FGD("a -> b").misfit(made("binary").task)


@pytest.mark.parametrize(("size", "box"), [((40, 20), (0, 4, 16, 12)), ((10, 20), (4, 0, 12, 16)), ((8, 8), None)])
def test_a_letterbox_shows_the_whole_image(tmp_path, size, box):
    path = tmp_path / "image.png"
    Image.new("RGB", size, "white").save(path)
    pixels, fit = fitted(path, (3, 16, 16), LETTERBOX)
    left, top, right, bottom = box or (0, 0, 16, 16)
    assert (pixels[:, top:bottom, left:right] == 255).all()
    assert int((pixels == 255).sum()) == 3 * (right - left) * (bottom - top)
    assert fit.offset == (left, top)
    told = Told("", {"boxes": [{"label": "car", "score": 0.5, "box": [left, top, right, bottom]}]})
    assert TASK.located(told, fit.scale, fit.offset).record["boxes"][0]["box"] == pytest.approx([0, 0, *size])


@pytest.mark.parametrize(("settings", "places"), [({}, 16), ({"finest": 8, "levels": 3}, 64 + 16 + 4)])
def test_fcos_answers_at_every_place_of_its_grids(settings, places):
    network = build("fcos", classes=2, channels=3, width=4, **settings)
    answer = network(torch.rand(2, 3, 64, 64))
    assert answer.shape == (2, places, 10)
    assert TASK.misfit({"places": answer}) is None
    strides = answer[0, :, 2].unique().tolist()
    assert strides == [8.0, 16.0, 32.0] if settings else [16.0]
    first = answer[0, answer[0, :, 2] == strides[0]]
    assert first[1, :2].tolist() == [1.5 * strides[0], 0.5 * strides[0]]  # row by row
    assert sum(p.numel() for p in build("fcos", classes=1, channels=3).parameters()) == 27_078


def test_an_fcos_learns_where_things_are():
    generator = torch.Generator().manual_seed(0)
    low = torch.randint(2, 20, (64, 2), generator=generator)
    high = low + torch.randint(10, 14, (64, 2), generator=generator)
    images = torch.zeros(64, 3, 32, 32)
    for image, start, end in zip(images, low, high, strict=True):
        image[:, start[1] : end[1], start[0] : end[0]] = 1.0
    rows = [{"boxes": [[*start.tolist(), *end.tolist()]], "classes": [0]} for start, end in zip(low, high, strict=True)]
    data = from_tensors((images, rows), task="detection", classes=["square"], validation=16)
    torch.manual_seed(0)
    network = build("fcos", classes=1, channels=3, width=8, finest=8, tower=1)
    objective = Objective(Labels(), student=network, task=data.task)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for epoch in range(40):
        for batch in data.train.epoch(epoch, seed=0, batch=16, augmentation=Augmentation(flip=True), task=data.task,
                                      device=torch.device("cpu")):  # fmt: skip
            optimizer.zero_grad()
            objective(batch.inputs, batch.targets).loss.backward()
            optimizer.step()
    meter = data.task.meter()
    network.eval()
    for batch in data.validation.in_order(16, torch.device("cpu")):
        meter.update({"places": network(batch.inputs)}, batch.targets)
    assert meter.compute()["ap50"] > 0.5


def test_the_report_shows_boxes_in_pictures_and_precision_by_class(tmp_path):
    data = made("detection")
    teacher, student = (build("fcos", classes=2, channels=3, width=4, finest=4) for _ in range(2))
    with torch.no_grad():
        for network in (teacher, student):
            network.heads[0].answers.bias[4:] = 1.0  # so that there are boxes to draw
    run = understudy.distill(
        teacher, student, data, method="localisation", epochs=1, accept_weak=True, out=tmp_path / "run",
        callback=understudy.Callback(),
    )  # fmt: skip
    result = json.loads((run.folder / "result.json").read_text())
    assert result["errors"]["both"] > 0
    sample = result["samples"][0]
    assert set(sample["drawn"]) == {"target", "student", "teacher"}
    picture = np.array(Image.open(run.folder / sample["file"]))
    assert picture.shape == (8, 8, 3)
    assert (picture == (255, 165, 0)).all(2).any()  # the student's
    page = run.report().read_text()
    assert "average precision" in page.lower()
    assert "those of the student orange" in page
    for size in ((16, 12), (30, 30)):
        Image.new("RGB", size, "black").save(tmp_path / f"{size[0]}.png")
    found = predict(run.folder, [tmp_path / "16.png", tmp_path / "30.png"], draw=tmp_path / "drawn")
    assert found[0].text.startswith(("0 ", "1 "))
    drawn = np.array(Image.open(tmp_path / "drawn/0000-16.png"))
    assert drawn.shape == (12, 16, 3)
    assert (drawn == (255, 165, 0)).all(2).any()
    assert max(found[1].record["boxes"][0]["box"]) > 8  # in pixels of the file
