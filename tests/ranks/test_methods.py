"""The first step of every stage of every method has the same gradients on two processes as on one."""

import pytest
from torch import Tensor

from tests.ranks import cases
from tests.ranks.group import Group

# Methods whose losses are differences of nearly equal values, which rounding changes most.
LOOSE: dict[str, float] = {"scalekd": 1e-4}


@pytest.fixture(scope="module")
def gradients(both: Group) -> list[dict[str, Tensor]]:
    return [cases.first_gradients(0), *both("first_gradients")]


@pytest.mark.parametrize("name", cases.CHECKED)
def test_the_first_step_has_the_gradients_of_one_process(gradients: list[dict[str, Tensor]], name: str):
    alone, *ranks = gradients
    for number in range(len(cases.method_stages(name))):
        wanted = alone[f"{name} {number}"]
        for rank in ranks:
            off = (rank[f"{name} {number}"] - wanted).norm() / wanted.norm()
            assert off <= LOOSE.get(name, 1e-5), f"stage {number}: {off:.1e}"
