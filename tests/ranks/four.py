"""What the tests show on two processes, on four: views, the first step of all methods, and weights after an epoch.

    python -m tests.ranks.four

On one, two and four processes the samples of an epoch, their order and their views are equal bit for bit; the first
step of every stage of every method has the gradients of one process; and after two epochs weights lie within
``WEIGHTS``.
"""

import sys

import torch
from torch import Tensor

from tests.ranks import cases
from tests.ranks.group import Group
from tests.ranks.test_methods import LOOSE

GRADIENT = 1e-5  # of its norm
WEIGHTS = 1e-3  # of their norm
TRAINED = ("kd", "hint", "can", "crd")


def vector(state: dict[str, Tensor]) -> Tensor:
    return torch.cat([value.double().flatten() for value in state.values()])


def apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm())


def main() -> int:
    torch.set_num_threads(1)
    wrong, alone = 0, cases.first_gradients(0)
    views, weights = cases.viewed(0), {method: vector(cases.distilled(0, None, method)) for method in TRAINED}
    for world in (2, 4):
        group = Group(world)
        try:
            for number, ranks in enumerate(zip(*group("viewed"), strict=True)):
                ids, inputs = (torch.cat(values) for values in zip(*ranks, strict=True))
                wrong += not (torch.equal(ids, views[number][0]) and torch.equal(inputs, views[number][1]))
            print(f"{world} processes: samples, order and views of {len(views)} batches, {wrong} differ", flush=True)
            for method in TRAINED:
                off = max(apart(vector(state), weights[method]) for state in group("distilled", None, method))
                wrong += off > WEIGHTS
                print(f"{world} processes: weights by {method} after two epochs {off:.1e} apart", flush=True)
            if world == 4:  # two are in the tests
                ranks_gradients = group("first_gradients")
                for name, wanted in alone.items():
                    off = max(apart(found[name], wanted) for found in ranks_gradients)
                    wrong += off > LOOSE.get(name.split()[0], GRADIENT)
        finally:
            group.close()
    print(
        f"the first step of {len(alone)} stages of {len(cases.CHECKED)} methods on 4 processes; {wrong} differ in all"
    )
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
