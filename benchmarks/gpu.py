"""``python -m benchmarks.gpu``: in half an hour what one GPU must show, into ``results/gpu.md``.

    python -m benchmarks.gpu
    python -m benchmarks.gpu --only bits waits --out part.md
    python -m benchmarks.gpu --device cpu --quick  # every part at its smallest, to see that it runs

A part that fails is a line of the page with its error, and the others go on; the exit code is 1 then.
"""

import argparse
import hashlib
import statistics
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks import ours
from benchmarks.workload import CLASSES, MEAN, PAIRS, STD, Pair, Work
from understudy import Augmentation, Settings, Stage, TrainConfig, UserError, optimizers
from understudy.bench.steps import interleaved, median_ratio
from understudy.config.hardware import synchronize, timed
from understudy.files import write_atomically
from understudy.measure.machine import machine, peak_memory, reset_peak_memory, versions
from understudy.methods import find
from understudy.models import Normalized, SideBySide
from understudy.training.callbacks import Callback
from understudy.training.evaluate import figures
from understudy.training.interrupt import Stopped, StopRequest
from understudy.training.loop import Training

Row = Sequence[object]
METHODS: dict[str, dict[str, Any]] = {
    "alone": {},
    "kd": {},
    "fitnets": {"pair": "layer2 -> layer2", "hint_epochs": 1},
    "crd": {},
    "can": {},
    "at": {"pairs": ("layer2 -> layer2",)},
    "review": {"pairs": ("layer2 -> layer2",), "embedding": "fc:input -> fc:input"},
}
WAITS = ("aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::masked_select", "aten::_unique2")
FEW = 3  # steps that a part takes before it counts or measures


@dataclass(frozen=True)
class Place:
    """Where, and how much of everything."""

    device: torch.device
    quick: bool

    @property
    def pair(self) -> Pair:
        return Pair("ResNet-8 -> ResNet-8", "resnet8", "resnet8", "layer2", "bn2") if self.quick else PAIRS["a"]

    @property
    def work(self) -> Work:
        return Work(self.pair, 128 if self.quick else 5120)

    @property
    def methods(self) -> dict[str, dict[str, Any]]:
        return {"can": METHODS["can"]} if self.quick else METHODS

    @property
    def batches(self) -> tuple[int, ...]:
        return (32,) if self.quick else (128, 512, 2048)

    @property
    def rounds(self) -> int:
        return 1 if self.quick else 15

    def settings(self, **given: Any) -> Settings:
        return Settings(device=str(self.device), **given)

    def config(self, batch: int, **given: Any) -> TrainConfig:
        views = Augmentation(shift=4, flip=True)
        plain = TrainConfig(epochs=2, batch=batch, optimizer=optimizers.SGD(lr=0.05), augmentation=views, keep="last")
        return replace(plain, **given)

    def training(self, stages: Sequence[Stage], settings: Settings, **how: Any) -> Training:
        torch.manual_seed(0)
        student, teacher = (Normalized(network(), MEAN, STD) for network in (self.work.student, self.work.teacher))
        return Training(student, [teacher], stages, self.work.data, settings=settings, **how)

    def stepping(self, stage: Stage, settings: Settings, **how: Any) -> Callable[[], None]:
        """A step of a stage, as a training takes it, on one batch after another."""
        training = self.training([stage], settings, **how)
        with settings.in_force():
            training.open(stage)
            few = [batch for _, batch in zip(range(FEW), training.batches(stage), strict=False)]
        taken = 0

        def step() -> None:
            nonlocal taken
            training.place.step, taken = 0, taken + 1
            with settings.in_force():
                training.advance(stage, few[taken % len(few)], time.monotonic())

        return step


class StopsAfter(Callback):
    """Asks to stop after so many steps."""

    def __init__(self, steps: int):
        self.left, self.request = steps, StopRequest()

    def step(self, done: int, loss: float | None) -> None:
        self.left -= 1
        if self.left == 0:
            self.request.signal_number = 15


def bits(place: Place) -> Iterator[Row]:
    """Whether a training gives the same bits again, and resumed after a stop, and what warned."""
    for precision in ("bfloat16",) if place.quick else ("float32", "bfloat16", "float16"):
        settings = place.settings(precision=precision)
        for method, own in place.methods.items():
            stages = find(method)(place.config(place.batches[0]), **own)
            with warnings.catch_warnings(record=True) as caught, tempfile.TemporaryDirectory() as name:
                warnings.simplefilter("always")
                one, two = (_weights(place.training(stages, settings)) for _ in range(2))
                stop = StopsAfter(FEW)
                how: dict[str, Any] = {"checkpoint_folder": Path(name)}
                with suppress(Stopped):
                    place.training(stages, settings, callback=stop, stop=stop.request, **how).run()
                resumed = _weights(place.training(stages, settings, **how))
            told = {str(w.message).split(" does not")[0] for w in caught if "deterministic" in str(w.message)}
            yield method, precision, _equal(one == two), _equal(one == resumed), ", ".join(sorted(told)) or "none"


def waits(place: Place) -> Iterator[Row]:
    """How often a step waits for the device, by what; in steps of which no figure is due."""
    for method, own in place.methods.items():
        for stage in find(method)(place.config(place.batches[0]), **own):
            step = place.stepping(stage, place.settings())
            for _ in range(FEW):
                step()
            found: Counter[str] = Counter()
            with _waiting(place.device, found):
                for _ in range(FEW):
                    step()
            yield method, stage.name, sum(found.values()) / FEW, ", ".join(sorted(found)) or "none"


def steps(place: Place) -> Iterator[Row]:
    """Milliseconds of a step under several settings, beside a bare loop over the same networks (F2)."""
    wished: dict[str, Settings] = {
        "float32, exact": place.settings(),
        "float32, fastest": place.settings(exact=False),
        "float32, fastest, TF32": place.settings(exact=False, tf32=True),
        "bfloat16, exact": place.settings(precision="bfloat16"),
        "bfloat16, fastest": place.settings(precision="bfloat16", exact=False),
        "bfloat16, fastest, compiled": place.settings(precision="bfloat16", exact=False, compile=True),
    }
    if place.quick:
        wished = {"float32, fastest": wished["float32, fastest"]}
    for batch in place.batches:
        (stage,) = find("kd")(place.config(batch))
        for name, settings in wished.items():
            variants = {"step": place.stepping(stage, settings), "floor": _floor(place, stage, settings)}
            times = interleaved(variants, place.device, seconds=0, least=place.rounds)
            ratio = median_ratio(times["floor"], times["step"])
            yield batch, name, *(_ms(times[kind]) for kind in ("step", "floor")), f"{ratio:.2f}"


def capture(place: Place) -> Iterator[Row]:
    """Milliseconds of a plain distillation step, launched one by one and as one captured graph."""
    for batch in place.batches:
        one = _PlainStep(place, batch)
        for _ in range(FEW):
            one.step()
        graph = one.captured() if place.device.type == "cuda" else one.step
        times = interleaved({"launched": one.step, "captured": graph}, place.device, seconds=0, least=place.rounds)
        ratio = median_ratio(times["launched"], times["captured"])
        yield batch, *(_ms(times[kind]) for kind in ("launched", "captured")), f"{ratio:.2f}"


def stored(place: Place) -> Iterator[Row]:
    """Steps with stored answers: milliseconds until the host is free again, and until the device is."""
    with tempfile.TemporaryDirectory() as name:
        for kind in ("kd", "stored kd"):
            loop = ours.loop(place.work, kind, place.settings(precision="bfloat16"), Path(name))
            loop.step()
            host = statistics.median(_host_seconds(loop.step, place.device) for _ in range(place.rounds))
            whole = statistics.median(timed(loop.step, place.device) for _ in range(place.rounds))
            yield kind, f"{1e3 * host:.2f}", f"{1e3 * whole:.2f}"


def weights(place: Place) -> Iterator[Row]:
    """What moving averages, FitNets' RMSProp and bounds on kernels add to a step, in milliseconds."""
    config = place.config(place.batches[0])
    changed = {
        "plain": config,
        "moving average": replace(config, ema=0.999),
        "RMSProp": replace(config, optimizer=optimizers.RMSProp()),
        "bounds on kernels": replace(config, max_norm={"*conv*.weight": 1.0}),
    }
    made = {name: find("kd")(of)[0] for name, of in changed.items()}
    variants = {name: place.stepping(stage, place.settings()) for name, stage in made.items()}
    times = interleaved(variants, place.device, seconds=0, least=place.rounds)
    for name, values in times.items():
        yield name, _ms(values), f"{1e3 * (statistics.median(values) - statistics.median(times['plain'])):.2f}"


def side_by_side(place: Place) -> Iterator[Row]:
    """Milliseconds of a supervised step of several students, one after another and as one batched program."""
    for batch in place.batches:
        images = torch.rand(batch, 3, 32, 32, device=place.device)
        labels = torch.arange(batch, device=place.device) % CLASSES
        for count in (2,) if place.quick else (4, 16):
            students = SideBySide([place.work.student().to(place.device) for _ in range(count)])
            one_by_one = partial(_each, students)
            ways: dict[str, Callable[[Tensor], Iterable[Tensor]]] = {"one by one": one_by_one, "side by side": students}
            variants = {name: partial(_supervised, way, images, labels) for name, way in ways.items()}
            times = interleaved(variants, place.device, seconds=0, least=place.rounds)
            ratio = median_ratio(times["one by one"], times["side by side"])
            yield count, batch, *(_ms(times[kind]) for kind in variants), f"{ratio:.2f}"


def _each(students: SideBySide, images: Tensor) -> list[Tensor]:
    return [student(images) for student in students.networks]


def _supervised(logits: Callable[[Tensor], Iterable[Tensor]], images: Tensor, labels: Tensor) -> None:
    losses = [nn.functional.cross_entropy(one, labels) for one in logits(images)]
    torch.stack(losses).sum().backward()


def memory(place: Place) -> Iterator[Row]:
    """The most memory of each method's steps, in megabytes."""
    for method, own in place.methods.items():
        for stage in find(method)(place.config(place.batches[0]), **own):
            reset_peak_memory(place.device)
            step = place.stepping(stage, place.settings(precision="bfloat16"))
            for _ in range(FEW):
                step()
            found = peak_memory(place.device)
            yield method, stage.name, round(found.get("accelerator", found.get("process", 0)) / 1e6)


def out_of_memory(place: Place) -> Iterator[Row]:
    """On purpose: an evaluation that must halve its batch, and a step that must name a microbatch."""
    network = _Hungry(place).to(place.device)
    work = Work(place.pair, 1000)
    data = work.data
    measured = figures(network, data.train, data.task, place.settings())
    yield "evaluation", f"{len(data.train)} samples, at most {network.most} at once", f"{len(measured)} figures"
    stages = find("alone")(place.config(2 * network.most))
    try:
        Training(network, [], stages, data, settings=place.settings(), name="student").run()
        yield "training step", f"{2 * network.most} samples", "**no error**"
    except UserError as error:
        yield "training step", f"{2 * network.most} samples", str(error)


PARTS: dict[str, tuple[Callable[[Place], Iterator[Row]], Row]] = {
    "bits": (bits, ("method", "precision", "again", "resumed", "without an exact algorithm")),
    "waits": (waits, ("method", "stage", "waits a step", "by")),
    "steps": (steps, ("batch", "settings", "step (ms)", "floor (ms)", "of the floor")),
    "capture": (capture, ("batch", "launched (ms)", "captured (ms)", "times as fast")),
    "stored": (stored, ("step", "host (ms)", "whole (ms)")),
    "weights": (weights, ("update", "step (ms)", "more than plain (ms)")),
    "side by side": (side_by_side, ("students", "batch", "one by one (ms)", "side by side (ms)", "times as fast")),
    "memory": (memory, ("method", "stage", "MB")),
    "out of memory": (out_of_memory, ("what", "of", "outcome")),
}


class _PlainStep:
    """Distillation without this package: what capturing could gain at most."""

    def __init__(self, place: Place, batch: int):
        work = place.work
        self.student, self.teacher = work.student().to(place.device), work.teacher().to(place.device).eval()
        self.images = torch.rand(batch, 3, 32, 32, device=place.device)
        self.labels = torch.arange(batch, device=place.device) % CLASSES
        self.optimizer = torch.optim.SGD(self.student.parameters(), 0.05, momentum=0.9)

    def step(self) -> None:
        with torch.no_grad():
            soft = (self.teacher(self.images) / 4).log_softmax(1)
        logits = self.student(self.images)
        divergence = nn.functional.kl_div((logits / 4).log_softmax(1), soft, reduction="batchmean", log_target=True)
        loss = nn.functional.cross_entropy(logits, self.labels) + 16 * divergence
        self.optimizer.zero_grad(set_to_none=False)
        loss.backward()
        self.optimizer.step()

    def captured(self) -> Callable[[], None]:
        """The step as a CUDA graph."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(FEW):
                self.step()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.step()
        return graph.replay


class _Hungry(nn.Module):
    """A classifier that takes so much memory for each sample that the device holds a few at once."""

    def __init__(self, place: Place):
        super().__init__()
        self.layer = nn.Linear(3 * 32 * 32, CLASSES)
        self.device, self.most = place.device, 24 if place.quick else 100

    def forward(self, x: Tensor) -> Tensor:
        if self.device.type == "cuda":
            each = torch.cuda.get_device_properties(self.device).total_memory // self.most
            torch.empty(len(x) * each, dtype=torch.uint8, device=self.device)
        elif len(x) > self.most:
            raise torch.OutOfMemoryError("out of memory, as a GPU would say")
        logits: Tensor = self.layer(x.flatten(1))
        return logits


class _CountingWaits(TorchDispatchMode):
    def __init__(self, found: Counter[str]):
        super().__init__()
        self.found = found

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.name().split(".")[0] in WAITS:
            self.found[func.name()] += 1
        return func(*args, **(kwargs or {}))


@contextmanager
def _waiting(device: torch.device, found: Counter[str]) -> Iterator[None]:
    """Count what waits for the device: by CUDA's own debugging, elsewhere by the calls that would."""
    if device.type != "cuda":
        with _CountingWaits(found):
            yield
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")
    for warning in caught:
        if "synchroniz" in str(warning.message):
            found[f"{Path(warning.filename).name}:{warning.lineno}"] += 1


def _floor(place: Place, stage: Stage, settings: Settings) -> Callable[[], None]:
    from understudy.bench.floors import Floor

    training = place.training([stage], settings)
    with settings.in_force():
        training.open(stage)
        step = Floor(training, stage, next(iter(training.batches(stage)))).both

    def both() -> None:
        with settings.in_force():
            step()

    return both


def _host_seconds(run: Callable[[], object], device: torch.device) -> float:
    """Until the host is free again, whatever the device has still to do."""
    synchronize(device)
    began = time.perf_counter()
    run()
    taken = time.perf_counter() - began
    synchronize(device)
    return taken


def _weights(training: Training) -> str:
    """The SHA-256 of the student after its training."""
    training.run()
    digest = hashlib.sha256()
    for value in training.student.state_dict().values():
        digest.update(value.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _equal(equal: bool) -> str:
    return "equal" if equal else "**differs**"


def _ms(values: list[float]) -> str:
    return f"{1e3 * statistics.median(values):.2f}"


def _line(cells: Row) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def section(name: str, place: Place) -> tuple[list[str], bool]:
    """A part of the page, and whether it failed."""
    measure, head = PARTS[name]
    began, failed = time.perf_counter(), False
    lines = ["", f"## {name}", "", measure.__doc__ or "", "", _line(head), _line(["---"] * len(head))]
    try:
        for row in measure(place):
            lines.append(_line(row))
            print(name, *row, flush=True)
    except Exception as error:
        failed = True
        print(traceback.format_exc(), file=sys.stderr, flush=True)
        lines += ["", f"**Failed**: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"]
    return [*lines, "", f"{(time.perf_counter() - began) / 60:.1f} minutes."], failed


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--quick", action="store_true", help="every part at its smallest")
    parser.add_argument("--out", type=Path, default=Path("results/gpu.md"))
    options = parser.parse_args(arguments)
    place = Place(Settings(device=options.device).torch_device, options.quick)
    about = ", ".join(f"{name} {value}" for name, value in (machine() | versions()).items())
    page, failed = ["# One GPU", "", f"Made by `python -m benchmarks.gpu`. {about}."], False
    for name in options.only:
        lines, wrong = section(name, place)
        page, failed = [*page, *lines], failed or wrong
        write_atomically(options.out, ("\n".join(page) + "\n").encode())
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
