"""The students of several runs: figures and costs, sorted, and the chosen one."""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from understudy.errors import UserError
from understudy.measure import Budget, Candidate, Choice, Spread, Verdict, choose
from understudy.report.reading import RunFiles
from understudy.runs.records import NetworkRecord
from understudy.tasks import Figure


@dataclass(frozen=True)
class Student:
    """One method of one run: the mean of its seeds, and the network that it trains."""

    name: str
    run: Path
    method: str
    network: NetworkRecord
    measured: Spread  # the first figure on the part that the run measured on
    validation: float | None
    agreement: float | None
    verdict: Verdict | None
    broken: int  # how many of its trainings are of no use

    @property
    def latency_ms(self) -> float | None:
        return self.network.latency_ms.p50 if self.network.latency_ms else None


@dataclass(frozen=True)
class Students:
    """All students of some runs of one task.

    They are chosen by validation where each has a figure there, since test data must not select.
    """

    records: Mapping[Path, RunFiles]
    all: tuple[Student, ...]

    @classmethod
    def of(cls, records: Mapping[Path, RunFiles]) -> "Students":
        names = short_names(list(records))
        _check_one_task(records)
        students = []
        for run, record in records.items():
            result = record.result
            for method, row in result.methods.items():
                if (measured := result.spread_of(method)) is None:
                    continue
                agreement = row.spread("agreement")
                lone = names[run] and len(result.methods) == 1
                students.append(
                    Student(
                        names[run] if lone else " · ".join(filter(None, (names[run], method))),
                        run,
                        method,
                        result.network_of(method),
                        measured,
                        row.validation(result.first.name),
                        agreement.mean if agreement else None,
                        result.verdicts.get(method),
                        sum(bool(training.broken) for training in row.trainings),
                    )
                )
        return cls(records, tuple(students))

    @property
    def figure(self) -> Figure:
        """The figure that decides."""
        return next(iter(self.records.values())).result.first

    @property
    def by_validation(self) -> bool:
        return all(student.validation is not None for student in self.all)

    @property
    def chosen_by(self) -> str:
        """The part whose figure decides."""
        parts = {record.result.data.measured_on for record in self.records.values()}
        return "validation" if self.by_validation else "/".join(sorted(parts))

    def worth(self, student: Student) -> float:
        """The value that decides."""
        return student.validation if self.by_validation and student.validation is not None else student.measured.mean

    def choice(self, budget: Budget) -> Choice:
        rows = [Candidate(s.name, self.worth(s), s.latency_ms, s.network.bytes) for s in self.all]
        return choose(rows, self.figure, budget, part=self.chosen_by)

    def speed_up(self, student: Student) -> float | None:
        """The speed-up over the teacher of the same run, which was measured in turn with it."""
        teacher = self.records[student.run].result.networks.get("teacher")
        if not student.latency_ms or teacher is None or teacher.latency_ms is None:
            return None
        return teacher.latency_ms.p50 / student.latency_ms

    def named(self, name: str) -> Student:
        return next(student for student in self.all if student.name == name)

    def sorted(self, key: str) -> list[Student]:
        """Sort the best first; ``key`` is one of ``SORTS``. Unknown values come last."""

        def place(student: Student) -> tuple[float, float, str]:
            return SORTS[key](self, student), -self.quality(self.worth(student)), student.name

        return sorted(self.all, key=place)

    def quality(self, value: float) -> float:
        """A value of the figure as a number that is better when higher; NaN is the worst."""
        return self.figure.quality(value)


def _check_one_task(records: Mapping[Path, RunFiles]) -> None:
    """Refuse runs of different tasks, whose figures cannot be compared."""
    tasks = {(record.result.task.name, record.result.first.name): run for run, record in records.items()}
    if len(tasks) > 1:
        tasks_of_runs = "; ".join(f"{run} is {task} by {figure}" for (task, figure), run in tasks.items())
        raise UserError(
            f"runs of different tasks cannot be compared ({tasks_of_runs}): make a report of each task's runs"
        )


def _least(value: float | None) -> float:
    return math.inf if value is None else value


SORTS: dict[str, Callable[[Students, Student], float]] = {
    "value": lambda students, student: -students.quality(students.worth(student)),
    "latency": lambda _, student: _least(student.latency_ms),
    "size": lambda _, student: _least(student.network.bytes),
    "multiplications": lambda _, student: _least(student.network.multiplications),
    "test": lambda students, student: -students.quality(student.measured.mean),
}


def short_names(runs: Sequence[Path]) -> dict[Path, str]:
    """The shortest distinct ends of the paths; empty for a single one."""
    if len(runs) == 1:
        return {runs[0]: ""}
    whole = {run: Path(os.path.abspath(run)).parts for run in runs}
    for length in range(1, max(map(len, whole.values())) + 1):
        names = {run: "/".join(parts[-length:]) for run, parts in whole.items()}
        if len(set(names.values())) == len(runs):
            return names
    return {run: str(run) for run in runs}
