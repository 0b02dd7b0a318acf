"""Whether the first step of every stage of every method has the same gradients where FSDP2 shards the student.

    torchrun --nproc-per-node=2 -m tests.ranks.sharded_methods

What is refused is listed with the reason; any other difference is an error.
"""

import sys

import torch
import torch.distributed as dist

from tests.ranks import cases
from understudy.errors import UserError

BOUND = 1e-5  # of the norm
LOOSE = {"scalekd": 1e-4}  # methods that rounding changes most


def main() -> int:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    equal, lines, wrong = 0, list[str](), 0
    for name in cases.CHECKED:
        for number in range(len(cases.method_stages(name))):
            whole = cases.first_gradient(name, number)
            try:
                sharded = cases.first_gradient(name, number, parallel="fsdp")
            except UserError as error:
                lines.append(f"{name}: {error}")
                continue
            off = float((sharded - whole).norm() / whole.norm()) if sharded.shape == whole.shape else float("inf")
            alike = off <= LOOSE.get(name, BOUND)
            equal += alike
            wrong += not alike
            if not alike:
                lines.append(f"{name}, stage {number}: {off:.1e} apart")
    if dist.get_rank() == 0:
        print("\n".join(lines))
        print(f"{equal} stages have the same gradients, {len(lines) - wrong} are refused, {wrong} differ")
    dist.destroy_process_group()
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
