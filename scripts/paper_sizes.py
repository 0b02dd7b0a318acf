"""The sizes and speeds of the students of FitNets' and CAN's table 5 beside the paper's, into results/paper_sizes.md.

Usage: python scripts/paper_sizes.py [--rounds 5] [--threads 1] [--only fitnets] [--out FILE]

Weights and multiplications are counted. A speed-up is the teacher's time by the student's: in every round all networks
of a table answer once, in float32, and the least of the rounds counts, in seconds of the processor, so that other work
on the machine takes as little part as it can. Some minutes for each table; the networks have fresh weights.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from understudy.measure.machine import machine, versions
from understudy.measure.size import multiplications
from understudy.models import NetworkSpec

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Row:
    """A network and what the paper prints: millions of parameters, and the teacher's time by the network's."""

    network: str
    parameters: float
    speed_up: float


@dataclass(frozen=True)
class Table:
    """A table; the first row is the teacher. ``batches`` are the sizes at which the networks are timed."""

    title: str
    note: str
    rows: tuple[Row, ...]
    classes: int
    settings: dict[str, object]
    batches: tuple[int, ...]


# CAN prints the seconds of a batch of 100.
CAN_SECONDS = {
    "wrn-40-10": (55.9, 8.73),
    "wrn-10-2": (0.32, 0.14),
    "wrn-10-4": (1.22, 0.32),
    "wrn-10-6": (2.72, 0.60),
    "wrn-10-8": (4.81, 0.82),
    "wrn-10-10": (7.49, 1.17),
    "wrn-16-4": (2.77, 0.71),
    "wrn-22-4": (4.32, 1.07),
    "wrn-28-4": (5.87, 1.44),
    "wrn-34-4": (7.42, 1.73),
}
TABLES = {
    "fitnets": Table(
        "FitNets, table 5: CIFAR-10",
        "Weights without biases, with two pieces in the fully connected maxout layer, as the printed counts have it "
        "([why](../docs/fitnets.md#counts)). The paper's times are of the test images on a GPU that it does not name.",
        (
            Row("maxout-cifar", 9.0, 1.0),
            Row("fitnet1", 0.25, 13.36),
            Row("fitnet2", 0.862, 4.64),
            Row("fitnet3", 1.6, 1.37),
            Row("fitnet4", 2.5, 1.52),
        ),
        10,
        {"fc_pieces": 2},
        (1, 100),
    ),
    "can": Table(
        "CAN, table 5: CIFAR-100",
        "All parameters. The paper's times are of a batch of 100 on a CPU that it does not name, 8.73 s for its "
        "teacher.",
        tuple(Row(name, size, 8.73 / seconds) for name, (size, seconds) in CAN_SECONDS.items()),
        100,
        {},
        (1, 100),
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=TABLES, help="print this table alone, and write nothing")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "paper_sizes.md")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.only:
        print("\n".join(section(TABLES[given.only], given.rounds)))
        return
    lines = [*head(given.rounds), *(line for table in TABLES.values() for line in section(table, given.rounds))]
    given.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{given.out}: {len(TABLES)} tables")


def head(rounds: int) -> Iterator[str]:
    """What the page says before its tables."""
    facts, torch_version = machine(), versions()["torch"]
    yield "# Sizes and speeds beside the papers'\n"
    yield "    python scripts/paper_sizes.py\n"
    yield (
        f"Speed-ups are ratios of the least processor time of {rounds} rounds, in which all networks of a table take\n"
        f"turns, in float32, with {facts['threads']} thread, on an {facts['processor']} on which other work may have "
        f"run; PyTorch {torch_version}.\n"
        "The networks have fresh weights; the accuracies of these students are not measured here."
    )


def section(table: Table, rounds: int) -> Iterator[str]:
    """One table as Markdown."""
    networks = {
        row.network: NetworkSpec(row.network, table.settings).build(table.classes, 3, 32).eval() for row in table.rows
    }
    example = torch.rand(max(table.batches), 3, 32, 32)
    times = {batch: least_times(networks, example[:batch], rounds) for batch in table.batches}
    teacher = table.rows[0]
    yield f"\n## {table.title}\n\n{table.note}\n"
    measured = " | ".join(f"speed-up, batch {batch}" for batch in table.batches)
    yield (
        f"| network | parameters | the paper's | teacher's by these | the paper's | multiplications | {measured} "
        "| the paper's |"
    )
    yield "|---|" + "---:|" * (6 + len(table.batches))
    whole = weights(networks[teacher.network], biases=not table.settings)
    for row in table.rows:
        count = weights(networks[row.network], biases=not table.settings)
        million = multiplications(networks[row.network], example) / 1e6
        speeds = " | ".join(f"{found[teacher.network] / found[row.network]:.1f}" for found in times.values())
        yield (
            f"| {row.network} | {count:,} | {row.parameters:g} M | {whole / count:.2f} "
            f"| {teacher.parameters / row.parameters:.2f} | {million:,.1f} M | {speeds} | {row.speed_up:.2f} |"
        )


def weights(network: nn.Module, *, biases: bool) -> int:
    """The number of parameters; without ``biases`` of those with two dimensions or more."""
    return sum(parameter.numel() for parameter in network.parameters() if biases or parameter.ndim > 1)


def least_times(networks: dict[str, nn.Module], example: torch.Tensor, rounds: int) -> dict[str, float]:
    """The least processor time of each network's answer; the first round does not count."""
    least = dict.fromkeys(networks, float("inf"))
    for number in range(rounds + 1):
        for name, network in networks.items():
            with torch.inference_mode():
                began = time.process_time()
                network(example)
                if number:
                    least[name] = min(least[name], time.process_time() - began)
    return least


if __name__ == "__main__":
    main()
