"""How far two trainings by CAN lie apart: after a rounding error, and with other draws of the discriminator's dropout.

python -m tests.ranks.can_draws
"""

import torch
from torch import Tensor

from tests.ranks import cases
from understudy.terms import CAN, CE

VARIANTS = {"can": CAN(), "without dropout": CAN(dropout=0.0), "without batch norm (wgan)": CAN(game="wgan")}


def weights(network: torch.nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def trained(noise: float = 0.0, first_seed: int = 0, steps: int = 24) -> Tensor:
    """The student's weights, begun with a disturbance, each step drawing from a seed of its own."""
    teacher, student = cases.networks()
    torch.manual_seed(5)
    made = cases.objective("variant", student, teacher)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.mul_(1 + noise * torch.randn(parameter.shape, generator=generator))
    optimizer = torch.optim.SGD(student.parameters(), lr=0.05, momentum=0.9)
    adversaries = torch.optim.SGD(made.adversaries.parameters(), lr=0.0005, momentum=0.9)
    for step in range(steps):
        images, labels, ids = (value.roll(step, 0) for value in cases.batch())
        torch.manual_seed(first_seed + step)
        reading = made.read(images, labels, ids=ids)
        for one, loss in ((adversaries, made.adversary_loss), (optimizer, lambda reading: made.judge(reading).loss)):
            value = loss(reading)
            one.zero_grad()
            value.backward()
            one.step()
    return weights(student)


def main() -> None:
    begun = weights(cases.networks()[1])
    for name, term in VARIANTS.items():
        cases.TERMS["variant"] = CE() + term
        ended = trained()
        others = {"disturbed by 1e-7": trained(1e-7), "other draws": trained(first_seed=1000), "moved": begun}
        apart = {what: float((other - ended).norm() / ended.norm()) for what, other in others.items()}
        print(name, ", ".join(f"{what}: {distance:.1e}" for what, distance in apart.items()))


if __name__ == "__main__":
    main()
