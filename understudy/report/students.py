"""The students of several runs side by side: what each is worth and costs, in order, and which one to choose."""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from understudy.measure import Budget, Candidate, Choice, Spread, choose
from understudy.report.reading import Record
from understudy.runs.records import NetworkRecord


@dataclass(frozen=True)
class Student:
    """One method of one run: the mean of its seeds, and the network that it trains."""

    name: str
    run: Path
    method: str
    network: NetworkRecord
    accuracy: Spread  # on the part that the run measured on
    validation: float | None
    agreement: float | None
    verdict: str | None

    @property
    def latency_ms(self) -> float | None:
        return self.network.latency_ms.p50 if self.network.latency_ms else None


@dataclass(frozen=True)
class Students:
    """All of them. They are chosen by validation where every one has it, for the test part must choose nothing."""

    records: Mapping[Path, Record]
    all: tuple[Student, ...]

    @classmethod
    def of(cls, records: Mapping[Path, Record]) -> "Students":
        names = short_names(list(records))
        found = []
        for run, record in records.items():
            for method, row in record.result.methods.items():
                if (accuracy := record.result.spread_of(method)) is None:
                    continue
                name = names[run] if len(record.result.methods) == 1 else " · ".join(filter(None, (names[run], method)))
                verdict = record.result.verdicts.get(method)
                agreement = row.agreement.spread.mean if row.agreement and row.agreement.spread else None
                told = verdict.verdict if verdict else None
                found.append(
                    Student(
                        name, run, method, record.result.network_of(method), accuracy, row.validation, agreement, told
                    )
                )
        return cls(records, tuple(found))

    @property
    def by_validation(self) -> bool:
        return all(student.validation is not None for student in self.all)

    @property
    def chosen_by(self) -> str:
        """The part whose accuracy decides."""
        parts = {record.result.data.measured_on for record in self.records.values()}
        return "validation" if self.by_validation else "/".join(sorted(parts))

    def worth(self, student: Student) -> float:
        """The accuracy that decides."""
        return student.validation if self.by_validation and student.validation is not None else student.accuracy.mean

    def choice(self, budget: Budget) -> Choice:
        rows = [Candidate(s.name, self.worth(s), s.latency_ms, s.network.bytes) for s in self.all]
        return choose(rows, budget, part=self.chosen_by)

    def speed_up(self, student: Student) -> float | None:
        """Over the teacher of its own run, with which it was measured in turn."""
        teacher = self.records[student.run].result.networks.get("teacher")
        if not student.latency_ms or teacher is None or teacher.latency_ms is None:
            return None
        return teacher.latency_ms.p50 / student.latency_ms

    def named(self, name: str) -> Student:
        return next(student for student in self.all if student.name == name)

    def sorted(self, key: str) -> list[Student]:
        """Best first: ``key`` is one of ``SORTS``; what is not known comes last."""
        return sorted(self.all, key=lambda student: (SORTS[key](self, student), -self.worth(student), student.name))


def _least(value: float | None) -> float:
    return math.inf if value is None else value


SORTS: dict[str, Callable[[Students, Student], float]] = {
    "accuracy": lambda students, student: -students.worth(student),
    "latency": lambda _, student: _least(student.latency_ms),
    "size": lambda _, student: _least(student.network.bytes),
    "multiplications": lambda _, student: _least(student.network.multiplications),
    "test": lambda _, student: -student.accuracy.mean,
}


def short_names(runs: Sequence[Path]) -> dict[Path, str]:
    """As much of the end of each path as tells them apart; nothing where there is one alone."""
    if len(runs) == 1:
        return {runs[0]: ""}
    whole = {run: Path(os.path.abspath(run)).parts for run in runs}
    for length in range(1, max(map(len, whole.values())) + 1):
        names = {run: "/".join(parts[-length:]) for run, parts in whole.items()}
        if len(set(names.values())) == len(runs):
            return names
    return {run: str(run) for run in runs}
