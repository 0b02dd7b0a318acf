"""What the losses on hidden values share or prepare: margins, masks, means of classes, selected neurons."""

import numpy as np
import pytest
import torch

from understudy.errors import UserError
from understudy.losses import attention_transfer, fsp, ickd, nst, ofd, vid
from understudy.methods.cat_kd import class_activation_maps
from understudy.methods.class_distance import class_means
from understudy.methods.mgd import masked
from understudy.methods.neurons import select_neurons
from understudy.methods.ofd import bn_margin
from understudy.methods.shared.maps import on_common_grid, products
from understudy.methods.vid import raw_of_variance


def test_the_margin_is_the_mean_of_the_negative_answers():
    weight, bias = torch.tensor([1.5, -0.5, 2.0]), torch.tensor([0.3, -0.4, -1.0])
    drawn = np.random.default_rng(0).normal(size=1_000_000)
    expected = []
    for s, b in zip(weight.tolist(), bias.tolist(), strict=True):
        answers = s * drawn + b
        expected.append(answers[answers < 0].mean())
    np.testing.assert_allclose(bn_margin(weight, bias).numpy(), expected, atol=5e-3)


def test_the_margin_of_a_hardly_ever_negative_channel_and_of_a_dead_one():
    margin = bn_margin(torch.tensor([0.1, 0.0, 0.0, 0.0]), torch.tensor([5.0, -2.0, 0.0, 2.0]))
    torch.testing.assert_close(margin, torch.tensor([-0.3, -2.0, 0.0, 0.0]))


def test_masks_of_places_and_of_channels():
    values = torch.ones(2, 3, 4, 4)
    places, channels = torch.rand(2, 1, 4, 4), torch.rand(2, 3, 1, 1)
    torch.testing.assert_close(masked(values, places, ratio=0.5)[:, 2], (places[:, 0] >= 0.5).float())
    torch.testing.assert_close(masked(values, channels, ratio=0.5)[..., 1, 1], (channels[..., 0, 0] >= 0.5).float())
    with pytest.raises(UserError, match="mask neither"):
        masked(values, torch.rand(2, 4))


def test_the_means_of_the_own_and_of_the_other_classes():
    features, labels = torch.tensor([[1.0], [3.0], [5.0], [9.0]]), torch.tensor([0, 0, 1, 2])
    own, others = class_means(features, labels)
    assert own.flatten().tolist() == [2, 2, 5, 9]
    torch.testing.assert_close(others.flatten(), torch.tensor([7.0, 7.0, 13 / 3, 3.0]))
    alone = class_means(features, torch.zeros(4, dtype=torch.long))[1]
    assert alone.tolist() == [[0], [0], [0], [0]]


def test_selected_neurons_tell_much_and_do_not_repeat_each_other():
    tells = torch.tensor([[0.9, 0.5], [0.9, 0.5], [0.5, 0.8], [0.5, 0.5]]) * 5
    assert select_neurons(tells, 2, redundancy=0.0).tolist() == [0, 1]
    assert 2 in select_neurons(tells, 2, redundancy=20.0).tolist()
    assert select_neurons(tells, 1, cost=torch.tensor([1.0, 1.0, 1.0, -1.0])).tolist() == [3]
    with pytest.raises(UserError, match="cannot select 5 neurons"):
        select_neurons(tells, 5)


def test_selection_settles_at_the_mean_field():
    tells = torch.rand(20, 6, generator=torch.Generator().manual_seed(0))
    few, many = (select_neurons(tells, 8, redundancy=3.0, iterations=n) for n in (50, 500))
    assert few.tolist() == many.tolist()


def test_the_raw_variance_is_the_variances_inverse():
    raw = torch.full((1,), raw_of_variance(5.0), dtype=torch.float64)
    zero = torch.zeros(2, 1, 3, dtype=torch.float64)
    torch.testing.assert_close(vid(zero, zero, raw), torch.full((2,), 0.5 * np.log(5.0), dtype=torch.float64))


def test_class_activation_maps_average_to_the_logits():
    features, weight = torch.randn(2, 3, 4, 4), torch.randn(5, 3)
    maps = class_activation_maps(features, weight)
    torch.testing.assert_close(maps.mean((2, 3)), features.mean((2, 3)) @ weight.T)


def test_products_keep_full_precision_under_autocast():
    rows = torch.randn(2, 3, 64)
    with torch.autocast("cpu", torch.bfloat16):
        inside = products(rows, rows)
    assert inside.dtype == torch.float32
    torch.testing.assert_close(inside, products(rows, rows), rtol=0, atol=0)


def test_a_common_grid_is_the_smallest():
    first, second = on_common_grid(torch.randn(2, 3, 8, 4), torch.randn(2, 5, 4, 6))
    assert first.shape == (2, 3, 4, 4)
    assert second.shape == (2, 5, 4, 4)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: attention_transfer(torch.randn(2, 3), torch.randn(2, 3)), "no maps"),
        (lambda: attention_transfer(torch.randn(2, 3, 4), torch.randn(2, 3, 5)), "no common grid"),
        (lambda: ickd(torch.randn(2, 3, 4, 4), torch.randn(2, 5, 4, 4)), "put a regressor"),
        (lambda: fsp(*[torch.randn(2, c, 4, 4) for c in (1, 2, 1, 3)]), "1 and 2 channels, the teacher's 1 and 3"),
        (lambda: nst(*torch.randn(2, 2, 3, 4, 4), kernel="gausian"), "did you mean 'gaussian'"),
        (lambda: ofd(torch.randn(2, 3, 4), torch.randn(2, 3, 4), torch.zeros(4)), "one value for each channel"),
    ],
)
def test_shapes_that_would_broadcast_and_unknown_settings_are_refused(call, words):
    with pytest.raises(UserError, match=words):
        call()


def test_dead_maps_give_finite_values_and_gradients():
    student = torch.zeros(2, 3, 4, 4, requires_grad=True)
    teacher = torch.randn(2, 3, 4, 4)
    (attention_transfer(student, teacher) + ickd(student, teacher)).sum().backward()
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()
