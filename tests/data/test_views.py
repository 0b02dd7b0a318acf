"""A view is a function of (seed, epoch, sample id), whatever batch the sample is drawn in."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from understudy import randomness
from understudy.data import Augmentation, Blur, Crop, Erase, Jitter, RandAugment, TrivialAugment, colour, policies, rows
from understudy.data.augmentation import PLAIN
from understudy.errors import UserError
from understudy.tasks import Classification

IMAGES = torch.randint(1, 256, (16, 2, 8, 6), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
IMAGES3 = torch.randint(0, 256, (40, 3, 9, 14), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
seeds, epochs = st.integers(-(2**63), 2**63 - 1), st.integers(0, 10_000)
chosen = st.lists(st.integers(0, 15), min_size=1, max_size=16)
some_views = st.builds(
    Augmentation,
    crop=st.sampled_from([None, Crop(), Crop(scale=(0.5, 1.0), ratio=(1.0, 1.0))]),
    shift=st.integers(0, 3),
    flip=st.booleans(),
    policy=st.sampled_from([None, RandAugment(), RandAugment(operations=1, magnitude=30), TrivialAugment()]),
    jitter=st.sampled_from([None, Jitter(), Jitter(contrast=0.0, hue=0.0, share=1.0)]),
    grey=st.sampled_from([None, 0.2]),
    blur=st.sampled_from([None, Blur(), Blur(sigma=(0.5, 0.5))]),
    solarise=st.sampled_from([None, 0.5]),
    mixup=st.sampled_from([0.0, 0.2, 1.0, 4.0]),
    cutmix=st.sampled_from([None, 1.0]),
    cutout=st.integers(0, 5),
    erase=st.sampled_from([None, Erase(share=0.5)]),
)


def drawn(views, seed, epoch, ids):
    """Augmentation of the samples ``ids``, mixing included."""
    x = views.draw(IMAGES[ids], seed, epoch, ids)
    other = views.partners(seed, epoch, ids, torch.arange(16))
    if other is not None:
        x, _ = views.mix(x, views.draw(IMAGES[other], seed, epoch, other), seed, epoch, ids)
    return views.finish(x, seed, epoch, ids)


def places_only(views):
    """Whether a view moves and drops pixels and computes nothing, so that it is exact."""
    computed = (views.crop, views.policy, views.jitter, views.grey, views.blur, views.solarise)
    return not views.mixup and not any(computed)


@settings(max_examples=40, deadline=None)
@given(some_views, seeds, epochs, chosen)
def test_a_view_does_not_depend_on_its_batch(views, seed, epoch, numbers):
    ids = torch.tensor(numbers)
    together = drawn(views, seed, epoch, ids)
    alone = torch.cat([drawn(views, seed, epoch, one) for one in ids.split(1)])
    turned = drawn(views, seed, epoch, ids.flip(0)).flip(0)
    for other in (alone, turned):
        if places_only(views):
            assert torch.equal(together, other)
        else:  # arithmetic may differ in its last bit with the batch's size; a level may then fall to its other side
            far = (together - other).abs() > 1e-4
            assert far.float().mean() < 0.02


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4), st.booleans(), seeds, epochs)
def test_shift_and_flip_move_whole_pixels(shift, flip, seed, epoch):
    ids = torch.arange(16)
    views = Augmentation(shift=shift, flip=flip).draw(IMAGES, seed, epoch, ids)
    padded = torch.nn.functional.pad(IMAGES.float() / 255, (shift,) * 4)
    for image, view in zip(padded, views, strict=True):
        crops = [
            image[:, top : top + 8, left : left + 6] for top in range(2 * shift + 1) for left in range(2 * shift + 1)
        ]
        candidates = crops + [crop.flip(2) for crop in crops] if flip else crops
        assert any(torch.allclose(view, candidate) for candidate in candidates)


def test_every_shift_and_both_sides_occur():
    ids = torch.arange(400)
    picture = torch.zeros(1, 1, 5, 5, dtype=torch.uint8)
    picture[..., 2, 2] = 255
    where = Augmentation(shift=2).draw(picture.expand(400, -1, -1, -1), 1, 1, ids).flatten(1).argmax(1)
    assert where.unique().tolist() == list(range(25))
    side = torch.zeros(1, 1, 1, 2, dtype=torch.uint8)
    side[..., 0] = 255
    left = Augmentation(flip=True).draw(side.expand(400, -1, -1, -1), 1, 1, ids)[:, 0, 0, 0]
    assert 150 < left.sum() < 250


def test_epochs_and_seeds_draw_other_views():
    ids, views = torch.arange(16), Augmentation(shift=3, flip=True)
    first = views.draw(IMAGES, 0, 0, ids)
    assert not torch.equal(first, views.draw(IMAGES, 0, 1, ids))
    assert not torch.equal(first, views.draw(IMAGES, 1, 0, ids))


ALL = Augmentation(
    crop=Crop(), shift=1, flip=True, policy=RandAugment(), jitter=Jitter(), grey=0.3, blur=Blur(), solarise=0.3,
    mixup=0.4, cutmix=1.0, cutout=2, erase=Erase(share=0.5),
)  # fmt: skip


class Transfers(TorchDispatchMode):
    """Counts the values that go from the CPU to another device."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        given = [one for one in args if isinstance(one, torch.Tensor) and one.ndim]
        if isinstance(out, torch.Tensor) and out.device.type == "meta" and any(x.device.type == "cpu" for x in given):
            self.count += 1
        return out


@pytest.mark.parametrize("views", [ALL, replace(ALL, policy=TrivialAugment(), shift=0)], ids=["rand", "trivial"])
def test_a_device_is_never_waited_for(views, monkeypatch):
    """On the device "meta", which holds no values, whatever would look at one fails; all that goes there is sent."""
    sent = rows.sent
    asked = []

    def without_waiting(values, device):
        asked.append(values)
        with torch.utils._python_dispatch._disable_current_modes():
            return sent(values, device)

    for module in (rows, colour, policies):
        monkeypatch.setattr(module, "sent", without_waiting)
    host = rows.OnHost(3, torch.arange(16))
    ids, images = host.ids.to("meta"), torch.zeros(16, 3, 12, 10, device="meta")
    with Transfers() as transfers:
        x = views.draw(images, 0, 3, ids, host=host, check=False)
        x, _ = views.mix(x, x, 0, 3, ids)
        assert views.finish(x, 0, 3, ids).shape == images.shape
    assert asked
    assert not transfers.count
    with pytest.raises(NotImplementedError):
        views.draw(images, 0, 3, ids, check=False)  # the numbers are on the device


def test_each_image_gets_the_operations_that_are_drawn_for_it():
    x, ids = IMAGES3.float() / 255, torch.arange(40) * 3
    changed = RandAugment().draw(x, 5, 2, ids)
    expected = x.clone()
    for number in range(2):
        choice = randomness.integers(5, 2, ids, f"rand/{number}/operation", 0, 14)
        sign = torch.where(randomness.uniform(5, 2, ids, f"rand/{number}/sign") < 0.5, -1.0, 1.0)
        for image, (operation, strength) in enumerate(zip(choice.tolist(), 0.3 * sign, strict=True)):
            if operation:
                one = policies._operations(x, wide=False)[operation]
                expected[image] = one(expected[image : image + 1], strength[None])[0]
    assert ((changed - expected).abs() > 1e-5).float().mean() < 0.001  # a level may fall to its other side


@pytest.mark.parametrize("flip", [True, False])
def test_large_images_are_moved_as_small_ones_are(flip, monkeypatch):
    views, ids = Augmentation(shift=3, flip=flip), torch.arange(40)
    small = views.draw(IMAGES3, 1, 1, ids)
    monkeypatch.setattr("understudy.data.augmentation.LARGE", 1)
    assert torch.equal(views.draw(IMAGES3, 1, 1, ids), small)


def test_a_crop_is_sampled_at_the_grid_of_its_box():
    ids, x = torch.arange(40), IMAGES3.float() / 255
    top, left, height, width = Crop().boxes((9, 14), 1, 1, ids)
    theta = torch.zeros(40, 2, 3)
    theta[:, 0, 0], theta[:, 0, 2] = width / 14, (2 * left + width) / 14 - 1
    theta[:, 1, 1], theta[:, 1, 2] = height / 9, (2 * top + height) / 9 - 1
    grid = torch.nn.functional.affine_grid(theta, [40, 3, 9, 14], align_corners=False)
    expected = torch.nn.functional.grid_sample(x, grid, padding_mode="border", align_corners=False)
    torch.testing.assert_close(Crop().draw(x, 1, 1, ids), expected)


@pytest.mark.parametrize("views", [ALL, Augmentation(flip=True), Augmentation(grey=1.0), Augmentation(solarise=1.0)])
def test_what_is_given_is_not_written_to(views):
    for images in (IMAGES3, IMAGES3.float() / 255):
        before = images.clone()
        views.finish(views.draw(images, 0, 0, torch.arange(40)), 0, 0, torch.arange(40))
        assert torch.equal(images, before)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 8), seeds, epochs)
def test_cutout_is_one_square_at_most(side, seed, epoch):
    x = torch.ones(16, 2, 8, 6)
    cut = Augmentation(cutout=side).finish(x, seed, epoch, torch.arange(16))
    for image in cut:
        assert torch.equal(image[0], image[1])
        rows, columns = (image[0] == 0).any(1).nonzero().flatten(), (image[0] == 0).any(0).nonzero().flatten()
        assert (len(rows) > 0) == (len(columns) > 0)
        if len(rows):
            height, width = int(rows[-1] - rows[0]) + 1, int(columns[-1] - columns[0]) + 1
            assert max(height, width) <= side
            assert int((image[0] == 0).sum()) == height * width
    assert (x == 1).all()


@settings(max_examples=30, deadline=None)
@given(st.floats(0.01, 50), seeds)
def test_mixed_labels_are_distributions(alpha, seed):
    ids = torch.arange(64)
    share = Augmentation(mixup=alpha).share(seed, 0, ids)
    labels = Classification(tuple("abcde")).mixed(ids % 5, (ids + 1) % 5, share)
    assert torch.allclose(labels.sum(1), torch.ones(64))
    assert ((share >= 0) & (share <= 1)).all()
    assert torch.allclose(labels[ids, ids % 5], share, atol=1e-6)


def test_plain_views_change_nothing_but_the_scale():
    assert torch.equal(PLAIN.draw(IMAGES, 0, 0, torch.arange(16)), IMAGES.float() * (1 / 255))
    x = torch.rand(4, 3)
    assert PLAIN.draw(x, 0, 0, torch.arange(4)) is x
    assert PLAIN.partners(0, 0, torch.arange(4), torch.arange(4)) is None


def test_views_that_cannot_be():
    with pytest.raises(UserError, match="must not be negative"):
        Augmentation(shift=-1)
    with pytest.raises(UserError, match=r"need images \(C, H, W\); samples have shape \(3,\)"):
        Augmentation(cutout=2).draw(torch.rand(4, 3), 0, 0, torch.arange(4))
    with pytest.raises(UserError, match=r"not torch.int64"):
        Augmentation(mixup=1.0).draw(torch.ones(4, 3, dtype=torch.int64), 0, 0, torch.arange(4))
    with pytest.raises(UserError, match="shift = 6 would leave nothing of images of 6 pixels"):
        Augmentation(shift=6).draw(IMAGES, 0, 0, torch.arange(16))


def test_partners_come_from_the_pool():
    pool = torch.tensor([3, 5, 9])
    assert set(Augmentation(mixup=1.0).partners(0, 0, torch.arange(100), pool).tolist()) == {3, 5, 9}
    assert randomness.integers(0, 0, torch.arange(100), "mixup/partner", 0, 3).unique().tolist() == [0, 1, 2]


def test_a_crop_is_a_part_of_the_image_at_its_place():
    ramp = torch.linspace(0, 1, 64).expand(200, 1, 48, 64).contiguous()
    ids = torch.arange(200)
    crop = Crop(scale=(0.25, 0.25), ratio=(1.0, 1.0))
    x = crop.draw(ramp, 3, 1, ids)
    assert x.shape == ramp.shape
    width = (x[:, 0, 0, -1] - x[:, 0, 0, 0]) * 63
    assert torch.allclose(width, torch.full((200,), 27.7), atol=1.1)  # half of the sides of a square of the same area
    assert x.min() < 0.05
    assert x.max() > 0.95
    assert torch.allclose(Crop(scale=(1.0, 1.0), ratio=(4 / 3, 4 / 3)).draw(ramp, 3, 1, ids), ramp, atol=1e-5)


def test_cutmix_pastes_a_box_and_says_its_share():
    ids = torch.arange(64)
    x, other = torch.zeros(64, 2, 16, 12), torch.ones(64, 2, 16, 12)
    pasted, share = Augmentation(cutmix=1.0).mix(x, other, 5, 2, ids)
    assert set(pasted.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(1 - pasted.mean((1, 2, 3)), share)
    assert 0.3 < share.mean() < 0.8
    both, shares = Augmentation(cutmix=1.0, mixup=1.0).mix(x, other, 5, 2, ids)
    boxes = torch.tensor([len(image.unique()) == 2 or image.unique().item() in (0, 1) for image in both])
    assert 16 < int(boxes.sum()) < 48
    torch.testing.assert_close(1 - both.mean((1, 2, 3)), shares)


def test_erasing_leaves_some_images_alone_and_a_rectangle_in_the_others():
    x = torch.ones(400, 1, 20, 20)
    erased = Erase(scale=(0.1, 0.2), ratio=(1.0, 1.0), share=0.25).finish(x, 1, 1, torch.arange(400))
    holes = 1 - erased.mean((1, 2, 3))
    assert 60 < int((holes > 0).sum()) < 140
    assert (holes[holes > 0] > 0.08).all()
    assert (holes < 0.22).all()


def test_targets_that_are_places_do_not_follow_a_bent_image():
    with pytest.raises(UserError, match="cannot follow"):
        Augmentation(policy=TrivialAugment()).moved((8, 8), 0, 0, torch.arange(2))


@pytest.mark.parametrize("views", [{"jitter": Jitter()}, {"policy": RandAugment()}, {"solarise": 0.5}])
def test_colours_of_normalised_images_are_not_changed_in_silence(views):
    images, ids = torch.randn(4, 3, 8, 8), torch.arange(4)
    with pytest.raises(UserError, match=rf"{next(iter(views))} change colours between 0 and 1"):
        Augmentation(**views).draw(images, 0, 0, ids)
    assert Augmentation(**views).draw(images.sigmoid(), 0, 0, ids).shape == images.shape
    assert Augmentation(crop=Crop(), blur=Blur(), grey=0.5).draw(images, 0, 0, ids).shape == images.shape
