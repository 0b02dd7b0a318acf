"""The maxout unit and its network: gradient, compilation, autocast, and activations that keep their size."""

import pytest
import torch
from torch import nn

from understudy.errors import UserError
from understudy.models import Conv, Maxout, MaxoutNet, fitnet
from understudy.models.families.maxout import MaxoutConv


def separated(*shape: int) -> torch.Tensor:
    """Values that are nowhere near a tie."""
    values = torch.randperm(torch.Size(shape).numel(), generator=torch.Generator().manual_seed(0))
    return values.double().view(shape).div(10).requires_grad_()


@pytest.mark.parametrize("pieces", [1, 2, 3, 5])
def test_gradient(pieces):
    assert torch.autograd.gradcheck(Maxout(pieces), separated(2, 2 * pieces, 3))


def test_is_the_largest_piece():
    x = torch.randn(2, 12, 5)
    torch.testing.assert_close(Maxout(3)(x), x.view(2, 3, 4, 5).amax(1), rtol=0, atol=0)


def test_a_tie_gives_the_whole_gradient_to_one_piece():
    x = torch.zeros(1, 2, requires_grad=True)
    Maxout(2)(x).backward(torch.ones(1, 1))
    assert sorted(x.grad.flatten().tolist()) == [0, 1]


def test_values_a_hair_apart_are_no_tie():
    x = torch.tensor([[1e-38, 1.1e-38]], requires_grad=True)
    for order in ([0, 1], [1, 0]):
        (gradient,) = torch.autograd.grad(Maxout(2)(x[:, order]).sum(), x)
        assert gradient.tolist() == [[0, 1]]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast(dtype):
    layer, x = MaxoutConv(3, Conv(4, pool=(2, 2))), torch.randn(2, 3, 8, 8)
    with torch.autocast("cpu", dtype=dtype):
        y = layer(x)
    assert y.dtype == dtype
    y.float().sum().backward()
    assert layer.conv.weight.grad.dtype == torch.float32
    assert layer.conv.weight.grad.isfinite().all()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the compiler makes an instance of the function's class
def test_compiled_as_one_graph():
    layer = nn.Sequential(MaxoutConv(3, Conv(4, pool=(2, 2), pieces=3)))
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    x = torch.randn(2, 3, 8, 8)
    expected = torch.autograd.grad(layer(x).square().sum(), list(layer.parameters()))
    torch.testing.assert_close(torch.autograd.grad(compiled(x).square().sum(), list(layer.parameters())), expected)


def test_per_sample_gradients():
    layer, x = MaxoutConv(1, Conv(2)), torch.randn(3, 1, 4, 4)
    parameters = dict(layer.named_parameters())

    def total(parameters, sample):
        return torch.func.functional_call(layer, parameters, (sample[None],)).sum()

    by_sample = torch.func.vmap(torch.func.grad(total), in_dims=(None, 0))(parameters, x)
    layer(x).sum().backward()
    torch.testing.assert_close(by_sample["conv.weight"].sum(0), layer.conv.weight.grad)


def test_modern_init_keeps_activations_through_19_layers():
    torch.manual_seed(0)
    network, sizes = fitnet(4), {}
    for name, module in network.named_children():
        module.register_forward_hook(lambda _m, _i, y, name=name: sizes.update({name: y.square().mean().sqrt().item()}))
    network(torch.randn(4, 3, 32, 32))
    assert len(sizes) == 19
    assert all(0.3 < size < 8 for size in sizes.values()), sizes


def test_paper_init():
    network = fitnet(1, init="paper")
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any()
        else:
            assert 0.0045 < parameter.abs().max() <= 0.005


def test_norm_replaces_the_bias():
    layer = MaxoutConv(3, Conv(4), norm=True)
    assert layer.conv.bias is None
    assert [type(part).__name__ for part in layer] == ["Conv2d", "BatchNorm2d", "Maxout"]


def test_dropout_drops_what_enters_a_layer_in_training_only():
    network = MaxoutNet([Conv(4)], 2, 1, 4, dropout=(0.5, 0.25))
    seen = {}
    network.conv1.register_forward_pre_hook(lambda _m, args: seen.update(conv1=args[0]))
    network.out.register_forward_pre_hook(lambda _m, args: seen.update(out=args[0]))
    x = torch.ones(64, 1, 4, 4)
    network(x)
    assert 0.4 < (seen["conv1"] == 0).float().mean() < 0.6
    assert seen["conv1"].max() == 2
    assert 0.2 < (seen["out"] == 0).float().mean() < 0.3
    network.eval()(x)
    assert torch.equal(seen["conv1"], x)


@pytest.mark.parametrize("pool", [None, (2, 2), (3, 2), (4, 2), (8, 8), (2, 3)])
def test_side_agrees_with_pytorch(pool):
    layer = Conv(1, kernel=1, padding=0, pool=pool)
    network = MaxoutConv(1, layer)
    for side in range(3, 40):
        assert layer.side(side) == network(torch.zeros(1, 1, side, side)).shape[-1]


def test_user_mistakes():
    with pytest.raises(UserError, match=r"4 x 4 are too small .* conv1"):
        MaxoutNet([Conv(4, kernel=5, padding=0)], 2, 1, 4)
    with pytest.raises(UserError, match="two chances"):
        MaxoutNet([Conv(4)], 2, 1, 4, dropout=(0.0, 1.0))
    with pytest.raises(UserError, match="1 piece or more"):
        MaxoutNet([Conv(4, pieces=0)], 2, 1, 4)
