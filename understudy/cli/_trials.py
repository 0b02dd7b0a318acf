"""The display of a search: a table of its trials, the best one so far, and the running training."""

from collections.abc import Mapping

from rich.console import Console, Group
from rich.live import Live as Region
from rich.table import Table

from understudy.cli._live import Live
from understudy.measure import Spread
from understudy.tasks import Figure
from understudy.tuning import Trial, TuneCallback
from understudy.tuning.trials import best as best_so_far

SHOWN = 12  # trials in the live table: the latest ones and the best


class LiveTrials(Live, TuneCallback):
    """A live table where the output is a terminal, one line per trial elsewhere."""

    def __init__(self, console: Console):
        super().__init__(console)
        self.trials: list[Trial] = []
        self.count = 0
        self.region = Region(console=console, get_renderable=self._picture, refresh_per_second=4, transient=True)

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        if self.console.is_terminal:
            self.region.stop()

    def search_begins(self, trials: int, before: list[Trial], figure: Figure) -> None:
        self.figure = figure
        self.count, self.trials = trials, [trial for trial in before if trial.state != "running"]
        if self.console.is_terminal:
            self.bars.stop()  # from here on they are shown below the table
            self.region.start()
        self.say(f"{trials} trials" + (f", {len(self.trials)} of them done before" if self.trials else ""))

    def trial_begins(self, trial: Trial) -> None:
        if not self.console.is_terminal:
            self.say(f"trial {trial.number}: {told(trial.values)}")

    def trial_ends(self, trial: Trial) -> None:
        self.trials.append(trial)
        self.trainings.clear()
        for task in self.bars.task_ids:
            self.bars.remove_task(task)  # the lines of its trainings, which its own line replaces
        if not self.console.is_terminal:
            best = self._best
            so_far = f"; best so far: trial {best.number}, {outcome(best, self.figure)}" if best else ""
            self.say(f"trial {trial.number}: {outcome(trial, self.figure)}{so_far}")

    @property
    def _best(self) -> Trial | None:
        return best_so_far(self.trials, self.figure) if self.figure else None

    def _picture(self) -> Group:
        best = self._best
        table = table_of([trial for trial in self.trials[-SHOWN:] if trial is not best], best, self.figure)
        return Group(table, f"{len(self.trials)} of {self.count} trials", self.bars)


def table_of(trials: list[Trial], best: Trial | None, figure: Figure | None) -> Table:
    """The best first, then these; ``figure`` is the one that selects."""
    table = Table()
    listed = [*([best] if best else []), *trials]
    keys = list(listed[0].values) if listed else []
    for heading in ("trial", *map(_short, keys), "ended with"):
        table.add_column(heading, justify="right", no_wrap=True)
    for trial in listed:
        values = [f"{trial.values[key]:g}" for key in keys]
        mark = " (best)" if trial is best else ""
        table.add_row(
            f"{trial.number}{mark}", *values, outcome(trial, figure), style="green" if trial is best else None
        )
    return table


def _short(key: str) -> str:
    """A setting without the name of its table."""
    return key.split(".", 2 if key.startswith("methods.") else 1)[-1]


def outcome(trial: Trial, figure: Figure | None) -> str:
    """How a trial ended, in a few words."""
    if trial.state == "complete":
        return f"validation {Spread(trial.validation).text(figure.unit if figure else '')}"
    if trial.state == "stopped":
        return f"stopped after {max(trial.curve or {0: 0.0})} epochs: it fell behind"
    return f"failed: {trial.reason}"


def told(values: Mapping[str, float]) -> str:
    return ", ".join(f"{key} = {value:g}" for key, value in values.items())
