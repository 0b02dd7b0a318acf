"""Real tables: methods, networks, seeds."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from understudy.report.drawing import Drawn, variable
from understudy.report.pieces import badge, figure, named, section, table
from understudy.report.record import Landscapes, Latency, Method, Network, Result, Row, Verdict
from understudy.report.words import NONE, count, escape, memory, milliseconds, percent, plural, ratio, short, spread
from understudy.report.words import seconds as duration


def methods(result: Result, colours: Mapping[str, str]) -> str:
    """Teacher and student by each method."""
    rows = []
    for name, teacher in result.each_teacher.items():
        if teacher.spread:
            rows.append([named(name, "ink"), spread(teacher.spread), NONE, NONE, NONE])
    for name, found in result.methods.items():
        rows.append(
            [
                named(name, variable(colours[name])),
                spread(result.spread_of(name)),
                _against(result.verdicts.get(name)),
                spread(found.agreement.spread if found.agreement else None),
                _time(found),
            ]
        )
    columns = ["", "accuracy", "points against alone", "agreement with teacher", "training, each seed"]
    if not result.verdicts:
        columns, rows = _without(columns, rows, (2,))
    if result.teacher is None:
        columns, rows = _without(columns, rows, (columns.index("agreement with teacher"),))
    seeds = len(result.seeds)
    note = "Mean ± standard deviation over " + plural(seeds, "seed") + ". " if seeds > 1 else ""
    note += f"Accuracy is measured on the {result.data.measured_on} part, which is looked at once, after all training."
    if result.data.measured_on != "test":
        note = note.replace(", which is looked at once, after all training", "; there was no test part")
    return section("Methods", table("Methods", columns, rows), note)


def networks(result: Result, cost: Drawn | None) -> str:
    """Size and speed, the teacher beside the student."""
    student, teacher = result.networks.get("student"), result.networks.get("teacher")
    if student is None or student.parameters is None:
        return ""
    rows = [list(row) for row in _sizes(student, teacher) if row[2] != NONE]
    columns = ["", "teacher", "student", "student is"]
    if teacher is None:
        columns, rows = _without(columns, rows, (1, 3))
        for number, (name, network) in enumerate(result.taught_by.items(), start=1):
            columns.insert(number, name)
            for row, sizes in zip(rows, _sizes(student, network), strict=True):
                row.insert(number, sizes[1])
    threads = student.latency_ms.threads if student.latency_ms else None
    note = "Latencies are measured on the run's machine" + (", teacher and student in turn" if teacher else "")
    note += f", with {plural(threads, 'thread')}." if threads else "."
    told = table("Size and speed", columns, rows)
    if cost:
        chart = figure(cost, "Means; a thin line is one standard deviation. Equal students stand side by side.")
        told = f'<div class="figures">\n{told}\n{chart}\n</div>'
    return section("Size and speed", told, note if student.latency_ms else "")


def seeds(result: Result, colours: Mapping[str, str]) -> str:
    """Every training by itself, so that nothing hides in a mean."""
    rows, marks = [], []
    for name, found in result.methods.items():
        for row in found.trainings:
            kept = row.training == result.kept
            marks.append("kept" if kept else "")
            rows.append(_seed(name, row, kept, variable(colours[name])))
    for name, teacher in result.each_teacher.items():
        for number, value in enumerate(teacher.values):
            seed = str(result.seeds[number]) if len(teacher.values) == len(result.seeds) else NONE
            rows.append([named(name, "ink"), seed, percent(value), NONE, NONE, NONE, NONE])
    columns = ["", "seed", result.data.measured_on, "validation", "agreement", "training", "weights"]
    note = (
        f"The student of this run, student.safetensors, is {escape(result.kept)}: among the seeds of its method the "
        "best on validation."
        if result.kept and len(result.seeds) > 1
        else ""
    )
    return section("Every seed", table("Every seed", columns, rows, marks), note)


def sharpness(found: Landscapes) -> str:
    """The mean rise around each student, seed by seed."""
    rows = [
        [escape(student.training), _figure(student.centre), _figure(student.sharpness)] for student in found.students
    ]
    columns = ["", "loss", f"mean rise<small>at radius {found.sharpness_radius:g}</small>"]
    return table("Sharpness", columns, rows)


def _figure(value: float | None) -> str:
    return NONE if value is None else f"{value:.3g}"


def _against(verdict: Verdict | None) -> str:
    if verdict is None:
        return NONE
    gain = "" if verdict.gain is None else f"{verdict.gain:+.2f} "
    return f'{gain}<span class="{verdict.verdict} bare">{badge(verdict.verdict)}</span>'


def _time(found: Method) -> str:
    took = found.seconds.spread if found.seconds else None
    return duration(took.mean) if took else NONE


def _seed(name: str, row: Row, kept: bool, colour: str) -> list[str]:
    weights = {"best": "best epoch", "last": "last epoch"}.get(row.kept or "", NONE)
    mark = '<small class="mark">the student of this run</small>' if kept else ""
    return [
        named(name, colour) + mark,
        NONE if row.seed is None else str(row.seed),
        percent(row.accuracy),
        percent(row.validation),
        percent(row.agreement),
        duration(row.seconds),
        weights,
    ]


def _sizes(student: Network, teacher: Network | None) -> Iterator[tuple[str, str, str, str]]:
    theirs = teacher or Network()
    yield (
        "parameters",
        count(theirs.parameters),
        count(student.parameters),
        _times(theirs.parameters, student.parameters, "smaller", "larger"),
    )
    yield "bytes", memory(theirs.bytes), memory(student.bytes), _times(theirs.bytes, student.bytes, "smaller", "larger")
    yield (
        "activations<small>of one image</small>",
        memory(theirs.activation_bytes),
        memory(student.activation_bytes),
        _times(theirs.activation_bytes, student.activation_bytes, "smaller", "larger"),
    )
    yield (
        "multiplications",
        short(theirs.multiplications),
        short(student.multiplications),
        _times(theirs.multiplications, student.multiplications, "fewer", "more"),
    )
    timed = (
        ("latency", student.latency_ms, theirs.latency_ms),
        ("latency", student.throughput_ms, theirs.throughput_ms),
        ("ONNX Runtime", student.onnx_latency_ms, theirs.onnx_latency_ms),
        ("ONNX Runtime", student.onnx_throughput_ms, theirs.onnx_throughput_ms),
    )
    for what, ours, other in timed:
        if ours is not None:
            label = f"{what}, {plural(ours.batch, 'image')}<small>median, 95th percentile</small>"
            yield (
                label,
                _latency(other),
                _latency(ours),
                _times(other.p50 if other else None, ours.p50, "faster", "slower"),
            )


def _latency(found: Latency | None) -> str:
    if found is None:
        return NONE
    return f"{milliseconds(found.p50)}<small>{milliseconds(found.p95)}</small>"


def _times(teacher: float | None, student: float | None, less: str, more: str) -> str:
    told = ratio(teacher, student, less, more)
    return f"{told[0]}<small>{told[1]}</small>" if told else NONE


def _without(
    columns: Sequence[str], rows: Iterable[Sequence[str]], dropped: Sequence[int]
) -> tuple[list[str], list[list[str]]]:
    kept = [number for number in range(len(columns)) if number not in dropped]
    return [columns[number] for number in kept], [[row[number] for number in kept] for row in rows]
