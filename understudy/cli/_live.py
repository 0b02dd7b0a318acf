"""The display of running trainings: progress bars, losses and time left; plain lines where there is no terminal."""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from understudy.training.callbacks import Callback, on_validation

if TYPE_CHECKING:
    from understudy.tasks import Figure
    from understudy.training.records import Epoch, TrainingRecord

REFRESH = 0.1  # seconds between two updates of the loss


class Live(Callback):
    """One line per training, and a progress bar for each one that runs."""

    def __init__(self, console: Console):
        self.console = console
        self.bars = Progress(
            TextColumn("{task.description}", style="bold", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[said]}", markup=False),
            console=console,
            refresh_per_second=8,
        )
        self.trainings: dict[str, _Line] = {}
        self.planned: list[str] = []
        self.whole: TaskID | None = None  # the bar of all trainings together
        self.loads: dict[str, TaskID] = {}
        self.begun: set[str] = set()
        self.figure: Figure | None = None

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.console.is_terminal:
            self.bars.stop()

    def of(self, training: str) -> "Callback":
        return self.trainings.setdefault(training, _Line(self, training))

    def downloads(self, file: str, done: int, total: int | None) -> None:
        if file not in self.loads:
            self.loads[file] = self.bars.add_task(f"{file:<12}", total=total, said="loading")
            size = f", {total / 1e6:.0f} MB" if total else ""
            self.say(f"loading {file}{size}")
        self.bars.update(self.loads[file], completed=done, said="loaded" if done == total else "loading")

    def run_begins(self, trainings: Sequence[str], figure: "Figure") -> None:
        self.figure = figure
        number = f"{len(trainings)} training{'s' if len(trainings) > 1 else ''}"
        self.console.print(f"{number}: {', '.join(trainings)}", markup=False, highlight=False)
        self.planned, self.whole = list(trainings), None
        if len(trainings) > 1:
            self.whole = self.bars.add_task(f"{'all':<12}", total=1.0, said="")

    def moved(self) -> None:
        """Update the bar of the whole run: the finished share and the time left."""
        if self.whole in self.bars.task_ids:
            self.bars.update(self.whole, completed=self.share, said=self.told)

    @property
    def _steps(self) -> tuple[float, float, float]:
        """The number of steps, of finished steps, and of steps finished since this display began."""
        names = [*self.planned, *(name for name in self.trainings if name not in self.planned)]
        lines = [self.trainings[name] for name in names if name in self.trainings]
        known = [line.steps for line in lines if line.steps]
        usual = sum(known) / len(known) if known else 0.0  # of trainings that have not begun
        before = sum(line.ended and not line.steps for line in lines)
        total = sum(known) + usual * (len(names) - len(known) - before)
        here = sum(line.done - max(line.resumed_at, 0) for line in lines)
        return total, sum(line.done for line in lines), here

    @property
    def share(self) -> float:
        """The finished share of the run, from 0 to 1."""
        total, done, _ = self._steps
        return min(1.0, done / total) if total else 0.0

    @property
    def told(self) -> str:
        """The number of finished trainings and the estimated time of the others."""
        total, done, here = self._steps
        ended = sum(line.ended for line in self.trainings.values())
        began = min((line.began for line in self.trainings.values() if line.began), default=0.0)
        rate = here / max(time.monotonic() - began, 1e-6) if began else 0.0
        left = f", about {span((total - done) / rate)} left" if rate and total > done else ""
        return f"{ended} of {max(len(self.planned), len(self.trainings))} done{left}"

    def note(self, text: str) -> None:
        self.console.print(text, style="yellow", markup=False)

    def say(self, text: str) -> None:
        """Print a line where no bars are shown."""
        if not self.console.is_terminal:
            self.console.print(text, markup=False, highlight=False)


class _Line(Callback):
    """One training's bar."""

    def __init__(self, live: Live, training: str):
        self.live, self.training = live, training
        self.bar: TaskID | None = None
        self.steps, self.done, self.stage, self.validation = 0, 0, "", ""
        self.began, self.resumed_at, self.shown = 0.0, -1, 0.0
        self.ended = False

    @property
    def share(self) -> float:
        """The finished share, from 0 to 1."""
        return min(1.0, self.done / self.steps) if self.steps else 0.0

    def downloads(self, file: str, done: int, total: int | None) -> None:
        self.live.downloads(file, done, total)

    def training_begins(self, name: str, stages: Mapping[str, int], steps: int) -> None:
        self.live.begun.add(self.training)
        self.steps, self.done, self.resumed_at, self.validation = steps, 0, -1, ""
        if self.bar is None:  # unchanged where the worker has died
            self.bar = self.live.bars.add_task(f"{name:<12}", total=steps, said="")

    def stage_begins(self, name: str, objective: str, epochs: int, epoch: int) -> None:
        self.stage = name
        again = f", going on after epoch {epoch}" if epoch else ""
        self.live.say(f"  {self.training}, stage {name!r}: {objective}, {epochs} epochs{again}")

    def step(self, done: int, loss: float | None) -> None:
        self.done, now = done, time.monotonic()
        if self.resumed_at < 0:
            self.resumed_at, self.began = done, now
        if now - self.shown < REFRESH or self.bar is None:
            return
        self.shown = now
        rate = (done - self.resumed_at) / max(now - self.began, 1e-6)
        left = f", {span((self.steps - done) / rate)} left" if rate else ""
        value = f"loss {loss:.4g}" if loss is not None else ""
        self.live.bars.update(self.bar, completed=done, said=f"{self.stage}: {value}{self.validation}{left}")
        self.live.moved()

    def epoch_ends(self, epoch: "Epoch") -> None:
        text = on_validation(epoch, self.live.figure, digits=1)
        self.validation = f", {text}" if text else ""
        place = f"{epoch.training} {epoch.stage} epoch {epoch.epoch}"
        self.live.say(f"  {place}: loss {epoch.loss or 0.0:.4g}{self.validation}")

    def training_ends(self, name: str, record: "TrainingRecord") -> None:
        text = on_validation(record, self.live.figure) or "done"
        if self.bar is None:
            self.bar = self.live.bars.add_task(f"{name:<12}", total=1, said="")
            text += " (done before)"
        self.live.bars.update(self.bar, total=1, completed=1, said=text)
        self.ended, self.done = True, self.steps
        self.live.moved()
        self.live.say(f"{name}: {text}" + (f" ({self.live.told})" if self.live.whole is not None else ""))

    def note(self, text: str) -> None:
        self.live.note(text)


def span(seconds: float) -> str:
    """A duration in words."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds // 60:.0f} min {seconds % 60:02.0f} s" if seconds < 3600 else f"{seconds / 3600:.1f} h"
