"""The page of several runs: the chosen student, the frontier, and a sortable table."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from understudy.measure import Budget, Choice
from understudy.report.figures.drawing import Drawn
from understudy.report.format import count, memory, milliseconds, plural, ratio, short
from understudy.report.page import Judgement, Tile
from understudy.report.reading import RunFiles
from understudy.report.students import Student, Students
from understudy.report.tables import EMPTY, Cell, Column, Table, TableRow
from understudy.report.templates import rendered
from understudy.runs.records import Result


@dataclass(frozen=True)
class PlacedRow(TableRow):
    """A row with its place in every order."""

    places: tuple[tuple[str, int], ...] = ()


def comparison(
    students: Students, budget: Budget, choice: Choice, frontier: Drawn | None, *, sort: str = "value"
) -> str:
    """One HTML page without external files. The table is sorted by CSS, without a script."""
    orders = headings(students)
    sort = sort if sort in orders else "value"
    versions = {record.result.versions.get("understudy", "") for record in students.records.values()}
    caption = "The line: nothing cheaper is as good. Grey: trained alone."
    caption += " The ring: the student to choose." if choice.chosen else ""
    caption += " Dashed: the bounds." if budget != Budget() else ""
    return rendered(
        "comparison.html",
        heading=f"{plural(len(students.all), 'student')} of {plural(len(students.records), 'run')}",
        lead=_lead(students, budget),
        version=versions.pop() if len(versions) == 1 else None,
        frontier=frontier,
        caption=caption,
        verdicts=[_verdict(choice)],
        tiles=list(_tiles(students, choice)),
        caveats=caveats(students, choice),
        table=table(students, choice, sort),
        orders=orders,
        order=sort,
        runs=[_run(folder, record) for folder, record in students.records.items()],
    )


def headings(students: Students) -> dict[str, str]:
    """The orders of the table; the test part's only where another part decides."""
    first = students.figure.title
    orders = {
        "value": f"{first} on {students.chosen_by}",
        "latency": "latency",
        "size": "size",
        "multiplications": "multiplications",
    }
    return orders | ({"test": "on test"} if students.by_validation else {})


def table(students: Students, choice: Choice, sort: str) -> Table:
    """The students in one order, each with its rank in the others."""
    orders = headings(students)
    places = {key: {student.name: place for place, student in enumerate(students.sorted(key), 1)} for key in orders}
    columns = [Column("name", "student"), *(Column(key, title) for key, title in orders.items())]
    columns += [Column("agreement", "agreement"), Column("against", "against alone")]
    rows = []
    for student in students.sorted(sort):
        chosen = choice.chosen is not None and choice.chosen.name == student.name
        marks = ["the student to choose"] if chosen else []
        marks += [f"{student.broken} of {len(student.measured.values)} broken"] if student.broken else []
        rows.append(
            PlacedRow(
                student.name,
                tuple(_cells(students, student, list(orders))),
                mark=" · ".join(marks),
                kept=chosen,
                broken=bool(student.broken),
                places=tuple((key, place[student.name]) for key, place in places.items()),
            )
        )
    note = "Means over the seeds, the best first. Latencies are those that each run measured; below them the speed-up "
    note += "over the teacher of the run, which was measured in turn."
    return Table("Students", tuple(columns), tuple(rows), note)


def caveats(students: Students, choice: Choice | None = None) -> list[str]:
    """The reasons why figures of several runs are not quite comparable, and broken trainings of the chosen student."""
    results = [record.result for record in students.records.values()]
    sentences = []
    if choice and choice.chosen and (chosen := students.named(choice.chosen.name)).broken:
        sentences.append(f"{chosen.name}: {chosen.broken} of {len(chosen.measured.values)} trainings are broken.")
    parts = [(r.data.name, r.data.measured_on, r.data.measured) for r in results]
    measured = {(*part, r.data.digest, tuple(r.task.options)) for part, r in zip(parts, results, strict=True)}
    if len(measured) > 1:
        named = sorted({f"{name or 'unnamed'}, {count(number)} {part} samples" for name, part, number in parts})
        sentences.append(f"These runs were not measured on the same samples ({'; '.join(named)}): compare with care.")
    held = sorted({r.data.validation for r in results})
    if students.by_validation and len(measured) == 1 and len(held) > 1:
        numbers = " and ".join(map(count, held))
        sentences.append(f"Validation, which decides, has {numbers} samples: it is not the same part in all runs.")
    seeds = Counter(tuple(sorted(result.seeds)) for result in results)
    if len(seeds) > 1:
        counted = "; ".join(f"{', '.join(map(str, key))} in {plural(runs, 'run')}" for key, runs in seeds.items())
        sentences.append(f"The runs have different seeds ({counted}): a difference may be one of seeds.")
    if len({_timed_on(result) for result in results}) > 1:
        sentences.append("The latencies come from different devices or numbers of threads: compare with care.")
    for path, record in students.records.items():
        latency = record.result.network_of(record.result.foremost).latency_ms
        if latency and latency.warning:
            sentences.append(f"{path.name}: {latency.warning}")
    return sentences


def _timed_on(result: Result) -> tuple[object, ...]:
    """The device and the number of threads with which a run's latencies were measured."""
    machine, latency = result.machine, result.network_of(result.foremost).latency_ms
    threads = latency.threads if latency else machine.get("threads")
    accelerator = None if result.settings.get("device") == "cpu" else machine.get("accelerator")
    return machine.get("processor"), threads, accelerator


def _lead(students: Students, budget: Budget) -> str:
    names = sorted({record.result.data.name or "unnamed" for record in students.records.values()})
    decides = f"{students.figure.title} on {students.chosen_by}"
    return f"Data: {', '.join(names)} · budget: {budget.text(students.figure)} · chosen by {decides}"


def _verdict(choice: Choice) -> Judgement:
    if choice.chosen:
        return Judgement.of("beats", "choose", choice.reason, choice.chosen.name)
    return Judgement.of("loses", "nothing", choice.reason)


def _tiles(students: Students, choice: Choice) -> Iterator[Tile]:
    if choice.chosen is None:
        return
    student, figure = students.named(choice.chosen.name), students.figure
    result = students.records[student.run].result
    taught, teacher = result.teacher_spread, result.networks.get("teacher")
    against = [f"{students.chosen_by} {figure.text(students.worth(student))}"] if students.by_validation else []
    against += [f"teacher {figure.text(taught.mean)}"] if taught else []
    yield Tile(figure.text(student.measured.mean), f"{figure.title} on {result.data.measured_on}", " · ".join(against))
    latency = teacher.latency_ms.p50 if teacher and teacher.latency_ms else None
    size, multiplications = (teacher.bytes, teacher.multiplications) if teacher else (None, None)
    for text, label, ours, theirs, (less, more) in (
        (milliseconds, "for one sample", student.latency_ms, latency, ("faster", "slower")),
        (memory, "of weights", student.network.bytes, size, ("smaller", "larger")),
        (short, "multiplications", student.network.multiplications, multiplications, ("fewer", "more")),
    ):
        if ours is not None:
            compared = ratio(theirs, ours, less, more)
            yield Tile(text(ours), label, f"{' '.join(compared)} than the teacher's {text(theirs)}" if compared else "")


def _cells(students: Students, student: Student, orders: list[str]) -> Iterator[Cell]:
    unit, faster = students.figure.unit, students.speed_up(student)
    cells = {
        "value": Cell(students.worth(student), "figure", unit),
        "latency": Cell(student.latency_ms, "ms", small=Cell(faster, "times").text if faster else ""),
        "size": Cell(student.network.bytes, "bytes"),
        "multiplications": Cell(student.network.multiplications, "short"),
        "test": Cell(student.measured, "figure", unit),
    }
    yield from (cells[key] for key in orders)
    yield Cell(student.agreement, "figure")
    yield Cell(student.verdict, "verdict", unit) if student.verdict else EMPTY


@dataclass(frozen=True)
class _Run:
    """A run among several."""

    folder: str
    student: str
    teachers: list[str]
    sentences: list[str]
    command: str


def _run(folder: Path, record: RunFiles) -> _Run:
    result = record.result
    student = result.networks.get("student")
    return _Run(
        str(folder),
        student.network if student else "",
        [network.network for network in result.teacher_networks.values()],
        [verdict.sentence for verdict in result.verdicts.values()],
        result.command,
    )
