"""Cost against size: data, stores of answers, plans and trials, by sizes that nobody trains; into ``results/scale.md``.

    python scripts/scale.py
    python scripts/scale.py --only plans --nodes 100 1000

Samples are numbers without pictures, an engine that ends each training at once takes the place of the trainings, and a
number that of a trial's figure, so that what is measured is the package's own work, in seconds of one core's time. With
``--only``, the other tables of the page stay as they are. What several processes gain is measured by trainings, in
seconds of the clock: on a quiet machine with as many cores as processes.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from understudy import randomness
from understudy import recipe as recipes
from understudy.answers.file import Shelf
from understudy.config.settings import Settings
from understudy.data.parts import split
from understudy.files import write_atomically
from understudy.measure.machine import machine, peak_memory, reset_peak_memory
from understudy.models import student
from understudy.plans import Node, TrainingCache
from understudy.plans.engines.base import Ended, Engine
from understudy.plans.entry import METRICS, finish
from understudy.plans.execution import Execution
from understudy.plans.training import Builders, Job
from understudy.recipe import Recipe
from understudy.recipe.schema import DataTable, NetworkTable
from understudy.runs.folder import RunFolder
from understudy.training import checkpoints
from understudy.training.callbacks import Callback
from understudy.training.records import TrainingRecord
from understudy.training.saving import Saver
from understudy.tuning import Tuning

CLASSES, LOGITS, BATCH = 1000, 1000, 256
Row = Sequence[object]


@dataclass
class Numbers:
    """A source of so many samples without content."""

    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    def batches(self, lists: list[Tensor], device: torch.device) -> Iterator[Tensor]:
        for ids in lists:
            yield torch.zeros(len(ids), 1)


class AtOnce(Engine):
    """Trainings that end as soon as they are started, with files of a few bytes."""

    def __init__(self) -> None:
        self.job: Job | None = None
        self.seconds = 0.0  # which are not the scheduler's

    def start(self, job: Job) -> None:
        self.job = job

    def next(self) -> Ended:
        job, began = self.job, time.process_time()
        assert job is not None
        folder = Path(job.folder)
        for name in (METRICS, student.WEIGHTS, student.DESCRIPTION):
            write_atomically(folder / name, b"{}\n" if name != METRICS else b"")
        node = job.node.model_dump(mode="json")
        record = finish(folder, TrainingRecord(training=job.name, key=job.key, node=node))
        self.seconds += time.process_time() - began
        return Ended(job.name, record)


def seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def of_data(samples: Sequence[int]) -> Iterator[Row]:
    for count in samples:
        source = Numbers(torch.arange(count) % CLASSES)
        splitting = seconds(partial(split, source, 0.1, seed=0, strata=source.targets))
        order = seconds(partial(randomness.shuffled, 0, 0, torch.arange(count)))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        yield f"{count:,}", f"{splitting:.2f}", f"{order:.3f}", f"{peak:.0f}"


def of_stores(samples: Sequence[int], folder: Path) -> Iterator[Row]:
    words = LOGITS // 2
    values = torch.arange(BATCH * words).view(BATCH, words)
    for count in samples:
        path = folder / f"logits-{count:07d}.answers"
        ids = randomness.integers(0, 0, torch.arange(BATCH), "scale", 0, count)
        began = time.process_time()
        shelf = Shelf(path, count, words)
        opening = time.process_time() - began
        writing = seconds(partial(shelf.write, ids, values))
        reading = min(seconds(partial(shelf.read, ids)) for _ in range(20))
        shelf.close()
        yield f"{count:,}", f"{1e3 * opening:.1f}", f"{1e3 * writing:.1f}", f"{1e3 * reading:.2f}"


def of_plans(nodes: Sequence[int], folder: Path) -> Iterator[Row]:
    for count in nodes:
        whole, engine = folder / f"plan-{count}", AtOnce()
        builders = Builders()
        settings = Settings(device="cpu", threads=1)
        data, cache = DataTable(name="demo", validation=200), TrainingCache(whole / "cache")
        network = NetworkTable(network="resnet8", settings={"channels": 1})
        assert builders.of(data).content  # read once, whatever the number of nodes
        began = time.process_time()
        execution = Execution(RunFolder(whole), builders, engine, threads=1, cache=cache, callback=Callback())
        for seed in range(count // 4):
            teacher = f"teacher-{seed}"
            common = {"data": data, "network": network, "seed": seed, "arithmetic": settings}
            execution.submit(
                Node(name=teacher, role="teacher", **common),
                *(Node(name=f"{method}-{seed}", method=method, teachers=(teacher,), **common) for method in METHODS),
            )
        done = sum(1 for _ in execution.results())
        spent = time.process_time() - began - engine.seconds
        yield f"{count:,}", f"{spent:.1f}", f"{1e3 * spent / done:.2f}"


class Untrained:
    """What takes the place of a trial's training: a figure."""

    def __call__(self, recipe: Recipe, out: Path, callback: Callback) -> list[float]:
        method = recipe.methods["kd"]
        away = abs(float(str(method.settings["temperature"])) - 4) + 1000 * abs(recipe.train.optimizer.lr - 0.05)
        return [1 / (1 + away)]


def of_trials(trials: Sequence[int], folder: Path) -> Iterator[Row]:
    searched = recipes.parse_searched(RECIPE, "recipe.toml", [], SPACE)
    tuning = Tuning(searched, folder / "tune")
    vars(tuning.trainer).update(train=Untrained(), prepare=lambda: None)
    done, spent = 0, 0.0
    with tuning.folder.locked():
        for count in trials:
            few = max(done, count - FEW)
            spent += seconds(partial(tuning.search, few))
            last = seconds(partial(tuning.search, count))
            done, spent = count, spent + last
            yield f"{count:,}", f"{spent:.1f}", f"{1e3 * last / (count - few):.0f}"


def of_processes(processes: Sequence[int], folder: Path) -> Iterator[Row]:
    """Seconds of the last epoch by the log, in turn; each number of processes trains through torchrun.

    As many trainings side by side, each of one process that waits for no other, tell what the machine itself gains.
    """
    (folder / "recipe.toml").write_text(TRAINED)
    ways = [(1, "batch"), *((count, way) for count in processes if count > 1 for way in ("batch", "process", "apart"))]
    times: dict[tuple[int, str], list[float]] = {way: [] for way in ways}
    for number in range(ROUNDS):
        for count, way in ways:
            out = folder / f"processes-{count}-{way}-{number}"
            if way == "apart":
                runs = [trained(1, "batch", out.with_name(f"{out.name}-{copy}")) for copy in range(count)]
                times[count, way].append(max(last_epoch(run) for run in runs) / count)
            else:
                times[count, way].append(last_epoch(trained(count, way, out)))
    first = times[ways[0]]
    for (count, way), taken in times.items():
        gains = [one / several for one, several in zip(first, taken, strict=True)]
        spread = f"{min(gains):.2f} to {max(gains):.2f}" if count > 1 else ""
        statistics_of = "its own training" if way == "apart" else f"the {way}"
        yield count, statistics_of, f"{statistics.median(taken):.1f}", f"{statistics.median(gains):.2f}", spread


def trained(count: int, norm: str, out: Path) -> tuple[subprocess.Popen[str], Path]:
    """A training that has begun, by ``count`` processes, and its folder."""
    agent = ["-m", "torch.distributed.run", "--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0"]
    command = [sys.executable, *([*agent, f"--nproc-per-node={count}"] if count > 1 else [])]
    command += ["-m", "understudy", "distill", str(out.parent / "recipe.toml"), "--out", str(out), "--no-check"]
    command += ["--set", f"settings.batch_norm={norm}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment), out


def last_epoch(training: tuple[subprocess.Popen[str], Path]) -> float:
    process, out = training
    _, errors = process.communicate()
    if process.returncode:
        raise SystemExit(errors)
    lines = [json.loads(line) for line in (out / METRICS).read_text().splitlines()]
    return float(lines[-1]["seconds"] - lines[-2]["seconds"])


def of_checkpoints(millions: Sequence[int], folder: Path) -> Iterator[Row]:
    """Networks of one layer after another, with the state of AdamW; memory beside that of the state itself."""
    for count in millions:
        network = nn.Sequential(*(nn.Linear(1000, 1000, bias=False) for _ in range(count)))
        optimizer = torch.optim.AdamW(network.parameters())
        for parameter in network.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        optimizer.zero_grad()
        state = {"student": network.state_dict(), "optimizer": optimizer.state_dict()}
        size = sum(tensor.numel() * tensor.element_size() for tensor in checkpoints.flat(state)[1].values())
        saver, before = Saver(folder / f"checkpoints-{count}", 20.0, shares_cores=True), resident()
        reset_peak_memory(torch.device("cpu"))
        saver.write(1, state)
        paused = saver.paused
        saver.finish()
        more = (peak_memory(torch.device("cpu"))["process"] - before) / size
        times = f"{paused:.2f}", f"{saver.written:.2f}", f"{saver.until_next:.0f}"
        yield count, f"{size / 1e6:.0f}", *times, f"{more:.2f}"


def resident() -> int:
    """Bytes of memory that this process has now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


ROUNDS = 5
TRAINED = """
seeds = [0]
[data]
name = "demo"
validation = 904
[student]
network = "resnet14"
settings = { channels = 1 }
[settings]
precision = "float32"
threads = 1
[train]
epochs = 2
batch = 256
[methods.alone]
"""
FEW = 20  # trials whose cost is that of one more
SPACE = ["methods.kd.temperature=1..20", "train.optimizer.lr=1e-4..1 log"]
RECIPE = """
seeds = [0]
[data]
name = "demo"
validation = 500
[teacher]
network = "resnet8"
settings = { channels = 1 }
train = { epochs = 1 }
[student]
network = "resnet8"
settings = { channels = 1 }
[methods.kd]
"""
METHODS = ("kd", "dkd", "dist")
ABOUT = """\
Samples are numbers without pictures, an engine that ends each training at once takes the place of the trainings, and
a number that of a trial's figure, so that only the package's own work is measured."""
TABLES: dict[str, tuple[str, Row]] = {
    "data": (
        "Data: seconds to split off a validation part by 1,000 classes and to order an epoch; memory of the process.",
        ("samples", "split (s)", "order (s)", "memory (MB)"),
    ),
    "stores": (
        "Stores of answers with 1,000 logits: milliseconds to open a view, and to write and read a batch of 256.",
        ("samples", "open (ms)", "write (ms)", "read (ms)"),
    ),
    "plans": (
        "Plans of teachers with three students each, with a cache: all but the trainings, and what a node takes.",
        ("nodes", "seconds", "ms a node"),
    ),
    "trials": (
        "Searches of two settings: all but the trainings, and what one more trial takes, its proposal included.",
        ("trials", "seconds", "ms for one more"),
    ),
    "checkpoints": (
        "Checkpoints with the state of AdamW, in seconds of the clock: how long the training waits, when the file is "
        "there, when the next one is due; and memory for it beside the state, as a multiple of the state.",
        ("million weights", "MB", "waits (s)", "written (s)", "next (s)", "memory"),
    ),
    "processes": (
        "Training of a ResNet-14 by labels in float32, 256 images a batch, one thread a process: from what batch norms "
        f"take their statistics, and seconds of the clock for an epoch. Medians of {ROUNDS} rounds. The last "
        "row is what the machine itself gains: trainings side by side without exchange, their time over their number.",
        ("processes", "statistics of", "seconds", "times as fast", "in the rounds"),
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(TABLES), nargs="+", default=list(TABLES))
    parser.add_argument("--samples", type=int, nargs="+", default=[10**5, 10**6, 10**7])
    parser.add_argument("--nodes", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 1000, 3000])
    parser.add_argument("--millions", type=int, nargs="+", default=[25, 100])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--out", type=Path, default=Path("results/scale.md"))
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    lines = [
        "# Cost against size",
        "",
        "Made by `python scripts/scale.py`, on one thread, in seconds of its time; each table names its commit and "
        "processor.",
        "",
        ABOUT,
    ]
    sections = kept(chosen.out)
    with tempfile.TemporaryDirectory() as name:
        rows = {
            "data": lambda: of_data(chosen.samples),
            "stores": lambda: of_stores(chosen.samples, Path(name)),
            "plans": lambda: of_plans(chosen.nodes, Path(name)),
            "trials": lambda: of_trials(chosen.trials, Path(name)),
            "checkpoints": lambda: of_checkpoints(chosen.millions, Path(name)),
            "processes": lambda: of_processes(chosen.processes, Path(name)),
        }
        for table in chosen.only:
            title, head = TABLES[table]
            where = f"Commit {commit()}, {machine()['processor']}."
            made = [f"{title} {where}", "", _line(head), _line(["---:"] * len(head))]
            for row in rows[table]():
                made.append(_line(row))
                print(table, *row, flush=True)
            sections[table] = "\n".join(made)
            tables = ["\n" + sections[name] for name in TABLES if name in sections]
            chosen.out.write_text("\n".join([*lines, *tables]) + "\n")


def commit() -> str:
    told = subprocess.run(["git", "rev-parse", "--short=9", "HEAD"], capture_output=True, text=True, check=False)
    return told.stdout.strip()


def kept(page: Path) -> dict[str, str]:
    """The tables of a page, with their titles."""
    parts = page.read_text().split("\n\n") if page.exists() else []
    titled = {
        name: [i for i, part in enumerate(parts) if part.startswith(title)] for name, (title, _) in TABLES.items()
    }
    return {name: "\n\n".join(parts[at[0] : at[0] + 2]).strip() for name, at in titled.items() if at}


def _line(cells: Row) -> str:
    return f"| {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    main()
