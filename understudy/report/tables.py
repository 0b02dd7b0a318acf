"""Every table, described once: columns, and rows of plain values. ``render`` makes text, HTML or LaTeX of them.

A new column of the table of students is added in ``students``. It appears on the page, in the terminal, in Markdown,
LaTeX and on the model card.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from understudy.errors import UserError, did_you_mean
from understudy.measure import Latency, Spread, Unit, Verdict
from understudy.plans.folders import TRAININGS
from understudy.report import format as write
from understudy.report.figures.drawing import variable
from understudy.runs.records import (
    Landscapes,
    Method,
    NetworkRecord,
    PathRecord,
    ProofRecord,
    Result,
    Row,
    SearchRecord,
    Teacher,
)
from understudy.tasks import Figure
from understudy.training.records import Epoch

Kind = Literal["text", "figure", "count", "short", "bytes", "ms", "seconds", "number", "times", "verdict"]


@dataclass(frozen=True)
class Cell:
    """A value with its kind, and a small second line.

    Example:
        >>> Cell(80872, "bytes").text
        '80.9 KB'
    """

    value: str | float | Spread | Verdict | None = None
    kind: Kind = "text"
    unit: Unit = "share"  # of a figure, or of the one that a verdict compares
    small: str = ""

    @property
    def text(self) -> str:
        """The value as text, without the small line."""
        value = self.value
        if value is None:
            return write.NONE
        if isinstance(value, Verdict):
            return f"{self.gain}, {value.verdict}" if self.gain else value.verdict  # "+1.18, beats"
        if isinstance(value, Spread):
            return value.text(self.unit)
        if isinstance(value, str):
            return value
        return write.value(value, self.unit) if self.kind == "figure" else _FORMATS[self.kind](value)

    @property
    def gain(self) -> str:
        """A verdict's gain over the student alone, with the digits of its sentence.

        >>> small = Verdict("beats", 0.0031, 0.001, "kd beats the student alone by 0.0031 of mean absolute error.")
        >>> Cell(small, "verdict", unit="").gain
        '+0.0031'
        """
        gain = self.value.gain if isinstance(self.value, Verdict) else None
        return "" if gain is None else f"{gain:+.2f}" if self.unit == "share" else f"{gain:+.3g}"

    @property
    def verdict(self) -> str:
        """The word of a verdict, for its colour."""
        return self.value.verdict if isinstance(self.value, Verdict) else ""


_FORMATS: dict[str, Callable[[float | None], str]] = {
    "text": str,
    "count": write.count,
    "short": write.short,
    "bytes": write.memory,
    "ms": write.milliseconds,
    "seconds": write.seconds,
    "number": lambda value: f"{value:.3g}",
    "times": lambda value: f"{value:.1f}{write.TIMES}",
}
EMPTY = Cell()


@dataclass(frozen=True)
class Column:
    """A heading; a column that is not needed may be left out where there is little room."""

    key: str
    title: str
    small: str = ""
    needed: bool = True


@dataclass(frozen=True)
class TableRow:
    """A row: its name, and a cell for each further column."""

    name: str
    cells: tuple[Cell, ...]
    colour: str = ""  # the page's name of a colour, shown as a dot
    small: str = ""  # more about the name
    mark: str = ""  # a remark about the row
    kept: bool = False  # whether it is the chosen one
    broken: bool = False
    code: bool = False  # whether the name is a file or a piece of code


@dataclass(frozen=True)
class Table:
    """Columns, of which the first names the rows, and rows."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[TableRow, ...]
    note: str = ""

    def without(self, *keys: str) -> "Table":
        """The same without some columns."""
        kept = [place for place, column in enumerate(self.columns) if column.key not in keys]
        rows = tuple(replace(row, cells=tuple(row.cells[place - 1] for place in kept[1:])) for row in self.rows)
        return replace(self, columns=tuple(self.columns[place] for place in kept), rows=rows)

    def with_column(self, column: Column, cells: Mapping[str, Cell]) -> "Table":
        """The same with one more column at the end.

        Args:
            column: its heading.
            cells: by the names of the rows; a row that is not named has an empty one.

        >>> table = Table("Students", (Column("name", ""),), (TableRow("alone", ()), TableRow("kd", ())))
        >>> energy = Column("energy", "energy", "one sample")
        >>> [row.cells[0].text for row in table.with_column(energy, {"kd": Cell(0.31, "number")}).rows]
        ['–', '0.31']
        """
        unknown = set(cells) - {row.name for row in self.rows}
        if unknown:
            name = min(unknown)
            raise UserError(f"the table has no row {name!r}{did_you_mean(name, [row.name for row in self.rows])}")
        rows = tuple(replace(row, cells=(*row.cells, cells.get(row.name, EMPTY))) for row in self.rows)
        return replace(self, columns=(*self.columns, column), rows=rows)

    def without_empty(self) -> "Table":
        """The same without columns that have no value in any row."""
        empty = [
            column.key
            for place, column in enumerate(self.columns[1:])
            if all(row.cells[place].value is None for row in self.rows)
        ]
        return self.without(*empty)

    def narrower(self) -> "Table | None":
        """The same without the last column that is not needed; None where all are."""
        spare = [column.key for column in self.columns if not column.needed]
        return self.without(spare[-1]) if spare else None


def students(result: Result, colours: Mapping[str, str] | None = None, *, only: Collection[str] = ()) -> Table:
    """Teachers and students: the first figure, what distillation gained, size and speed.

    Args:
        colours: of the methods, for dots.
        only: methods to show; by default all.
    """
    first, colours = result.first, colours or {}
    columns = (
        Column("name", ""),
        Column("first", first.title),
        Column("median", "median", "over the seeds", needed=False),
        Column("against", "gain", _over_alone(first), needed=False),
        Column("parameters", "parameters", needed=False),
        Column("multiplications", "multiplications", needed=False),
        Column("latency", "latency", "one sample, median"),
        Column("speed", "speed", "over the teacher"),
        Column("bytes", "size", needed=False),
        Column("agreement", "agreement", "with the teacher", needed=False),
        Column("training", "training", "each seed", needed=False),
        Column("seeds", "each seed", needed=False),
    )
    teacher = result.networks.get("teacher")
    rows = []
    for name, taught in result.each_teacher.items():
        network = result.networks.get(name)
        spread = taught.spread(first.name)
        rows.append(
            TableRow(
                name,
                (_spread(spread, first), _median(spread, first), EMPTY, *_costs(network, None), *[EMPTY] * 3),
                _dot(colours, name),
            )
        )
    for name, method in result.methods.items():
        if only and name not in only:
            continue
        broken = [row for row in method.trainings if row.broken]
        cells = (
            _spread(result.spread_of(name), first),
            _median(result.spread_of(name), first),
            Cell(result.verdicts.get(name), "verdict", first.unit),
            *_costs(result.network_of(name), teacher),
            _spread(method.spread("agreement"), result.task.figure("agreement")),
            Cell(method.seconds.mean if method.seconds else None, "seconds"),
            Cell(", ".join(write.value(row.figures.get(first.name), first.unit) for row in method.trainings)),
        )
        mark = f"{len(broken)} of {len(method.trainings)} broken" if broken else ""
        rows.append(TableRow(f"student, {name}", cells, _dot(colours, name), mark=mark, broken=bool(broken)))
    return Table("Students", columns, tuple(rows), measured_note(result)).without_empty()


def measured_note(result: Result) -> str:
    """The part on which the first figure is measured."""
    seeds, data, title = len(result.seeds), result.data, result.first.title
    note = f"Mean ± standard deviation over {write.plural(seeds, 'seed')}. " if seeds > 1 else ""
    note += f"{title[0].upper()}{title[1:]} is measured on {data.measured:,} samples of the {data.measured_on} part"
    note += ", which is read once, after all training." if data.measured_on == "test" else "; there was no test part."
    student = result.networks.get("student")
    latency = student.latency_ms if student else None
    if latency:
        note += f" Latency is the median for one sample, with {write.plural(latency.threads, 'thread')}"
        note += ", teacher and student measured in turn." if result.teacher_networks else "."
        note += f" {latency.warning}" if latency.warning else ""
    return note


def sizes(result: Result) -> Table | None:
    """Size and speed in full: a row for each quantity, the teacher beside the student."""
    student = result.networks.get("student")
    if student is None or student.parameters is None:
        return None
    teachers = result.teacher_networks
    alone = next(iter(teachers.values())) if len(teachers) == 1 else None
    columns = [Column(name, name) for name in ("", *teachers, "student")]
    columns += [Column("ratio", "student is")] if alone else []
    rows = []
    for label, small, kind, less, more, of in _QUANTITIES:
        values = [of(network) for network in (*teachers.values(), student)]
        if values[-1] is None:
            continue
        cells = [Cell(value, kind, small=p95) if value is not None else EMPTY for value, p95 in map(_split, values)]
        if alone:
            compared = write.ratio(_split(values[0])[0], _split(values[-1])[0], less, more)
            cells.append(Cell(compared[0], small=compared[1]) if compared else EMPTY)
        batch = values[-1].batch if isinstance(values[-1], Latency) else 0
        rows.append(
            TableRow(label + (f", {write.plural(batch, 'sample')}" if batch else ""), tuple(cells), small=small)
        )
    return Table("Size and speed", tuple(columns), tuple(rows))


def further_figures(result: Result, colours: Mapping[str, str]) -> Table | None:
    """The means of all figures but the first; None where there is none."""
    figures = [figure for figure in result.task.figures if figure.name != result.first.name]
    owners: list[tuple[str, str, Teacher | Method]] = [(name, "ink", one) for name, one in result.each_teacher.items()]
    owners += [(name, _dot(colours, name), one) for name, one in result.methods.items()]
    rows = []
    for name, colour, owner in owners:
        spreads = [owner.spread(figure.name) for figure in figures]
        cells = [
            Cell(one.mean if one else None, "figure", unit=f.unit) for one, f in zip(spreads, figures, strict=True)
        ]
        rows.append(TableRow(name, tuple(cells), colour))
    columns = (Column("name", ""), *(Column(figure.name, figure.title, _direction(figure)) for figure in figures))
    table = Table("Further figures", columns, tuple(rows)).without_empty()
    return table if len(table.columns) > 1 else None


def seeds(result: Result, colours: Mapping[str, str]) -> Table:
    """Every single training."""
    first = result.first
    columns = (
        Column("name", ""),
        Column("seed", "seed"),
        Column("measured", result.data.measured_on, first.title),
        Column("validation", "validation", first.title),
        Column("agreement", "agreement", "with the teacher"),
        Column("training", "training"),
        Column("weights", "weights"),
        Column("student", "student", "in the run folder"),
    )
    rows = [
        _seed(result, name, row, _dot(colours, name))
        for name, method in result.methods.items()
        for row in method.trainings
    ]
    for name, teacher in result.each_teacher.items():
        values = teacher.values(first.name)
        for place, value in enumerate(values):
            seed = str(result.seeds[place]) if len(values) == len(result.seeds) else None
            rows.append(TableRow(name, (Cell(seed), Cell(value, "figure", first.unit), *[EMPTY] * 5), "ink"))
    note = ""
    if len(result.trained) > 1:
        because = f": {result.kept_because}" if result.kept_because else ""
        note = f"The student of this run, student.safetensors, is {result.kept}{because}."
    return Table("Every seed", columns, tuple(rows), note).without_empty()


def paths(search: PathRecord, figure: Figure) -> Table:
    """Every whole path that was searched, the best on validation first."""
    columns = (
        Column("path", "path"),
        Column("validation", f"{figure.title} on validation", "which selects"),
        Column("test", "on test", "read once"),
    )
    rows = []
    for place, path in enumerate(search.ranked):
        hop = search.hop(path)
        values = [part.spread if part else None for part in ((hop.validation, hop.test) if hop else (None, None))]
        cells = tuple(_spread(spread, figure) for spread in values)
        rows.append(TableRow(" → ".join(map(str, path)), cells, kept=place == 0))
    return Table("Paths", columns, tuple(rows)).without_empty()


def times(
    epochs: Mapping[str, Sequence[Epoch]], groups: Mapping[str, Sequence[str]], colours: Mapping[str, str], note: str
) -> Table:
    """The times of trainings of each teacher and method, stage by stage."""
    columns = (
        Column("name", ""),
        Column("one", "one training"),
        Column("times", "times"),
        Column("all", "all of them"),
        Column("stages", "one training's stages"),
    )
    rows = []
    for name, members in groups.items():
        spent = [stage_seconds(epochs[member]) for member in members if member in epochs]
        stages = list(dict.fromkeys(stage for one in spent for stage in one))
        if not stages:
            continue
        means = {stage: sum(one.get(stage, 0.0) for one in spent) / len(spent) for stage in stages}
        total = sum(sum(one.values()) for one in spent)
        split = ", ".join(f"{stage} {write.seconds(mean)}" for stage, mean in means.items()) if len(means) > 1 else None
        cells = (Cell(total / len(spent), "seconds"), Cell(str(len(spent))), Cell(total, "seconds"), Cell(split))
        rows.append(TableRow(name, cells, _dot(colours, name)))
    return Table("Time", columns, tuple(rows), note)


def stage_seconds(epochs: Sequence[Epoch]) -> dict[str, float]:
    """The time of each stage of a training, from its log, which counts from the beginning of the training."""
    seconds: dict[str, float] = {}
    before = 0.0
    for epoch in epochs:
        if epoch.seconds is not None:
            seconds[epoch.stage] = seconds.get(epoch.stage, 0.0) + max(epoch.seconds - before, 0.0)
            before = epoch.seconds
    return seconds


def sharpness(record: Landscapes) -> Table:
    """The mean rise of the loss around each student."""
    columns = (
        Column("name", ""),
        Column("loss", "loss"),
        Column("rise", "mean rise", f"at radius {record.sharpness_radius:g}, in norms of the filters"),
    )
    rows = [
        TableRow(one.training, (Cell(one.centre, "number"), Cell(one.sharpness, "number"))) for one in record.students
    ]
    note = f"Loss on {record.samples:,} samples of the {record.part} part."
    return Table("Sharpness", columns, tuple(rows), note)


def trials(search: SearchRecord) -> Table:
    """Every trial of a search for settings."""
    first = search.task.first
    columns = (
        Column("name", ""),
        *(Column(f"setting {key}", key) for key in search.search),
        Column("validation", "validation", first.title),
        Column("ended", "ended"),
    )
    states = {"stopped": "stopped: it fell behind"}
    rows = []
    for trial in search.trials:
        settings = [Cell(f"{trial.settings[key]:g}" if key in trial.settings else None) for key in search.search]
        validation = _spread(trial.validation.spread if trial.validation else None, first)
        ended = Cell(trial.reason or states.get(trial.state, trial.state))
        best = trial.trial == search.best.trial
        rows.append(TableRow(f"trial {trial.trial}", (*settings, validation, ended), kept=best))
    note = (
        f"Compared on validation, {write.plural(len(search.seeds), 'seed')} each. The test part was not opened before "
    )
    note += "the last trial had ended."
    if len(search.test_read_after_trials) > 1:
        looks = ", ".join(map(str, search.test_read_after_trials))
        note += f" It was read more than once: after {looks} trials."
    return Table("Every trial", columns, tuple(rows), note)


def _dot(colours: Mapping[str, str], name: str) -> str:
    """The page's name of a method's colour; teachers and others are black, and without colours there are no dots."""
    return variable(colours[name]) if name in colours else "ink" if colours else ""


def exports(proofs: Mapping[str, ProofRecord]) -> Table:
    """Exported files with their proofs."""
    columns = (
        Column("name", "file"),
        Column("format", "format"),
        Column("bytes", "size"),
        Column("first", next((proof.figure.title for proof in proofs.values()), "figure")),
        Column("agreement", "agrees with PyTorch"),
        Column("latency", "latency, one sample"),
        Column("speed", "speed", "over the teacher"),
    )
    rows = []
    for name, proof in proofs.items():
        after = proof.latency_ms.get("after")
        cells = (
            Cell(proof.format),
            Cell(proof.bytes.get("after"), "bytes"),
            Cell(proof.value.get("after"), "figure", proof.figure.unit),
            Cell(proof.agreement, "figure"),
            Cell(after.p50 if after else None, "ms"),
            Cell(proof.speedup.get("over_teacher"), "times"),
        )
        rows.append(TableRow(name, cells, code=True))
    return Table("Exported files", columns, tuple(rows))


def _spread(spread: Spread | None, figure: Figure) -> Cell:
    return Cell(spread, "figure", figure.unit)


def _median(spread: Spread | None, figure: Figure) -> Cell:
    """Of three seeds or more."""
    return EMPTY if spread is None or spread.median is None else Cell(spread.median, "figure", figure.unit)


def _over_alone(figure: Figure) -> str:
    return "points, over alone" if figure.unit == "share" else "over alone"


def _direction(figure: Figure) -> str:
    return "lower is better" if figure.better == "lower" else ""


def _costs(network: NetworkRecord | None, teacher: NetworkRecord | None) -> tuple[Cell, ...]:
    """Parameters, multiplications, latency, speed-up, bytes."""
    if network is None:  # an ensemble of teachers is not one network
        return (EMPTY,) * 5
    latency = network.latency_ms.p50 if network.latency_ms else None
    theirs = teacher.latency_ms.p50 if teacher and teacher.latency_ms else None
    return (
        Cell(network.parameters, "count"),
        Cell(network.multiplications, "short"),
        Cell(latency, "ms"),
        Cell(theirs / latency if theirs and latency else None, "times"),
        Cell(network.bytes, "bytes"),
    )


def _seed(result: Result, name: str, row: Row, colour: str) -> TableRow:
    first, likeness = result.first, result.task.figure("agreement")
    weights = {"best": "best epoch", "last": "last epoch"}
    cells = (
        Cell(str(row.seed)),
        Cell(row.figures.get(first.name), "figure", first.unit),
        Cell(row.validation.get(first.name), "figure", first.unit),
        Cell(row.figures.get("agreement"), "figure", likeness.unit),
        Cell(row.seconds, "seconds"),
        Cell(weights[row.kept] if row.kept else None),
        Cell(f"{TRAININGS}/{row.training}"),
    )
    kept = row.training == result.kept
    marks = ["the student of this run"] if kept else []
    marks += [f"broken: {'; '.join(row.broken)}"] if row.broken else []
    return TableRow(name, cells, colour, mark=" · ".join(marks), kept=kept, broken=bool(row.broken))


def _split(value: "float | Latency | None") -> tuple[float | None, str]:
    """A quantity, and of a latency the 95th percentile as text."""
    if isinstance(value, Latency):
        return value.p50, write.milliseconds(value.p95)
    return value, ""


_QUANTITIES: tuple[tuple[str, str, Kind, str, str, Callable[[NetworkRecord], float | Latency | None]], ...] = (
    ("parameters", "", "count", "smaller", "larger", lambda network: network.parameters),
    ("size", "of the weights", "bytes", "smaller", "larger", lambda network: network.bytes),
    ("activations", "of one sample", "bytes", "smaller", "larger", lambda network: network.activation_bytes),
    ("multiplications", "of one sample", "short", "fewer", "more", lambda network: network.multiplications),
    ("latency", "median, 95th percentile", "ms", "faster", "slower", lambda network: network.latency_ms),
    ("latency", "median, 95th percentile", "ms", "faster", "slower", lambda network: network.throughput_ms),
    ("ONNX Runtime", "median, 95th percentile", "ms", "faster", "slower", lambda network: network.onnx_latency_ms),
    ("ONNX Runtime", "median, 95th percentile", "ms", "faster", "slower", lambda network: network.onnx_throughput_ms),
)
