"""Shapes within a budget: the widest at each depth, with latencies that are given."""

import pytest
import torch

from understudy import UserError
from understudy.measure import Latency, Limits, Shape, widest
from understudy.measure.shapes import at_equal_cost, shapes
from understudy.measure.size import size
from understudy.models import NetworkSpec
from understudy.models.sizes import Sized

PICTURES = (3, 8, 8)


def by_parameters(calls=None):
    """A latency of 1 ms for each 100,000 parameters."""

    def measure(networks, seconds):
        if calls is not None:
            calls.append((sorted(networks), seconds))
        counts = {name: sum(p.numel() for p in network.parameters()) for name, network in networks.items()}
        return {name: Latency(count / 1e5, count / 1e5, 1, 1) for name, count in counts.items()}

    return measure


def test_shapes_are_counted_without_weights_as_they_are_with_them():
    for shape in shapes("plain", PICTURES, 3):
        if shape.depth < 5:
            counted = size(shape.network.build(3, 3, 8), torch.zeros(1, *PICTURES))
            assert shape.parameters == counted.parameters
            assert shape.counted(PICTURES, 3).multiplications == counted.multiplications


@pytest.mark.parametrize(
    "limits",
    [
        Limits(latency_ms=1.0),
        Limits(parameters=100_000),
        Limits(multiplications=2_000_000),
        Limits(latency_ms=0.6, parameters=100_000, multiplications=600_000),
    ],
    ids=str,
)
def test_at_each_depth_stands_the_widest_that_fits(limits, monkeypatch):
    monkeypatch.setattr(Sized, "published", (14, 8))
    every = [shape.counted(PICTURES, 3) for shape in shapes("resnet", PICTURES, 3, {"shortcut": "A"})]
    assert len({(shape.depth, shape.parameters) for shape in every}) == 16

    def fits(shape: Shape) -> bool:
        latency = shape.parameters / 1e5 <= (limits.latency_ms or 1e9)
        counted = shape.parameters <= (limits.parameters or 1e9)
        return latency and counted and shape.multiplications <= (limits.multiplications or 1e12)

    expected = {shape.depth: shape for shape in sorted(every, key=lambda shape: shape.parameters) if fits(shape)}
    found = widest(["resnet"], limits, PICTURES, 3, by_parameters(), settings={"shortcut": "A"})
    assert [(shape.depth, str(shape)) for shape in found] == [(depth, str(expected[depth])) for depth in (14, 8)]
    assert [shape.multiplications for shape in found] == [expected[depth].multiplications for depth in (14, 8)]
    assert all(shape.latency.p50 == shape.parameters / 1e5 for shape in found)


def test_what_is_too_slow_is_left_out_early_and_the_others_are_measured_together():
    calls = []
    found = widest(["plain"], Limits(latency_ms=0.5), PICTURES, 3, by_parameters(calls))
    *short, (together, seconds) = calls
    assert {str(shape) for shape in found} <= set(together)
    assert all(len(names) == 1 for names, _ in short)
    assert seconds > max(seconds for _, seconds in short)


def test_where_nothing_fits_the_message_says_what_the_thinnest_takes():
    with pytest.raises(UserError, match=r"^no shape of plain fits \(at most 10 parameters\): give a larger budget$"):
        widest(["plain"], Limits(parameters=10), PICTURES, 3, by_parameters())
    thinnest = min(shapes("plain", PICTURES, 3), key=lambda shape: shape.parameters)
    with pytest.raises(UserError) as raised:
        widest(["plain"], Limits(latency_ms=1e-9), PICTURES, 3, by_parameters())
    takes = f"{thinnest} takes {thinnest.parameters / 1e5:.3g} ms"
    assert str(raised.value) == f"no shape of plain fits (at most 1e-09 ms): give a larger budget; {takes}"


def test_where_many_widths_are_almost_fast_enough_the_widest_that_fits_is_found(monkeypatch):
    monkeypatch.setattr(Sized, "published", (8,))
    every = sorted(shapes("resnet", PICTURES, 3), key=lambda shape: shape.parameters)
    times = {str(shape): 1 + place / 100 for place, shape in enumerate(every)}  # as of networks that are overhead alone

    def measure(networks, seconds):
        return {name: Latency(times[name], times[name], 1, 1) for name in networks}

    (found,) = widest(["resnet"], Limits(latency_ms=1.035), PICTURES, 3, measure)
    assert str(found) == str(every[3])
    assert len(every) > 5


def test_several_families_stand_beside_each_other(monkeypatch):
    monkeypatch.setattr(Sized, "published", property(lambda self: (8, 4) if "plain" in self.pattern else (14,)))
    monkeypatch.setattr(Sized, "others", ())
    found = widest(["plain", "resnet"], Limits(parameters=50_000), PICTURES, 3, by_parameters())
    assert [str(shape).split(",")[0] for shape in found] == ["resnet14", "plain4"]


def test_a_choice_at_equal_cost_keeps_both_ends():
    deep = [Shape(NetworkSpec(f"plain{n}"), n, 100 - n, 1) for n in (10, 8, 6, 4)]
    tiny = Shape(NetworkSpec("plain2"), 2, 10, 1)
    limits = Limits(parameters=100)
    assert [shape.depth for shape in at_equal_cost([*deep, tiny], limits, 2)] == [10, 4]
    assert [shape.depth for shape in at_equal_cost([*deep, tiny], limits, 3)] == [10, 6, 4]
    assert [shape.depth for shape in at_equal_cost([*deep, tiny], limits, 1)] == [10]
    assert at_equal_cost([], limits, 3) == []


@pytest.mark.parametrize(
    ("family", "sample", "said"),
    [
        ("resnext", PICTURES, "no list of sizes"),
        ("plane", PICTURES, "did you mean 'plain'"),
        ("wrn", (7,), "networks of images"),
    ],
)
def test_what_has_no_shapes_is_told(family, sample, said):
    with pytest.raises(UserError, match=said):
        list(shapes(family, sample, 3))


@pytest.mark.parametrize("limits", [{}, {"latency_ms": 0.0}, {"parameters": 0}, {"latency_ms": float("nan")}])
def test_a_budget_has_limits_above_nothing(limits):
    with pytest.raises(UserError, match="limit"):
        Limits(**limits)
