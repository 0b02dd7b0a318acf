"""The page of several runs: the student to choose, the frontier, and a table that can be put in any order."""

from collections.abc import Mapping

from understudy.measure import Budget, Choice
from understudy.report.drawing import Drawn
from understudy.report.pieces import badge, document, figure, section, tile
from understudy.report.students import Student, Students
from understudy.report.words import (
    NONE,
    TIMES,
    count,
    escape,
    memory,
    milliseconds,
    percent,
    plural,
    ratio,
    short,
    spread,
)

HEADINGS = {
    "accuracy": "accuracy",
    "latency": "latency, 1 image",
    "size": "size",
    "multiplications": "multiplied",
    "test": "test accuracy",
}


def comparison(
    students: Students, budget: Budget, choice: Choice, figures: Mapping[str, Drawn], *, sort: str = "accuracy"
) -> str:
    """One HTML page with everything inside it; the table is put in order by style alone, without a script."""
    runs = len(students.records)
    heading = f"{plural(len(students.all), 'student')} of {plural(runs, 'run')}"
    sections = [
        _outcome(students, budget, choice, figures),
        _table(students, choice, sort),
        _runs(students),
    ]
    versions = {record.result.versions.get("understudy", "") for record in students.records.values()}
    version = versions.pop() if len(versions) == 1 else None
    return document(heading, _lead(students, budget), sections, version)


def _lead(students: Students, budget: Budget) -> str:
    names = sorted({record.result.data.name or "unnamed" for record in students.records.values()})
    return f"Data: {', '.join(names)} · budget: {budget} · chosen by {students.chosen_by} accuracy"


def _outcome(students: Students, budget: Budget, choice: Choice, figures: Mapping[str, Drawn]) -> str:
    kind = "beats" if choice.chosen else "loses"
    told = escape(choice.reason)
    if choice.chosen:
        told = f"<strong>{escape(choice.chosen.name)}</strong>{escape(choice.reason[len(choice.chosen.name) :])}"
    tiles = "\n".join(tile(*row) for row in _tiles(students, choice))
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in caveats(students))
    drawn = figures.get("frontier")
    chart = ""
    if drawn:
        caption = "The line: nothing cheaper is as good. Grey: trained alone."
        caption += " The ring: the student to choose." if choice.chosen else ""
        chart = figure(drawn, caption + (" Dashed: the bounds." if budget != Budget() else ""))
    word = badge("choose" if choice.chosen else "nothing")
    return (
        f'<div class="outcome{"" if chart else " plain"}">\n<div class="brought">\n'
        f'<ul class="verdicts" aria-label="The student to choose">\n<li class="verdict {kind}">{word}'
        f"<span>{told}</span></li>\n</ul>\n"
        f'<dl class="tiles">\n{tiles}\n</dl>\n{notes}</div>\n{chart}\n</div>'
    )


def _tiles(students: Students, choice: Choice) -> list[tuple[str, str, str]]:
    if choice.chosen is None:
        return []
    student = students.named(choice.chosen.name)
    result = students.records[student.run].result
    taught, teacher = result.teacher_spread, result.networks.get("teacher")
    against = [f"{students.chosen_by} {percent(students.worth(student))}"] if students.by_validation else []
    against += [f"teacher {percent(taught.mean)}"] if taught else []
    tiles = [(percent(student.accuracy.mean), f"{result.data.measured_on} accuracy", " · ".join(against))]
    costs = [
        (
            milliseconds,
            "for one image",
            student.latency_ms,
            teacher.latency_ms.p50 if teacher and teacher.latency_ms else None,
            ("faster", "slower"),
        ),
        (memory, "of weights", student.network.bytes, teacher.bytes if teacher else None, ("smaller", "larger")),
        (
            short,
            "multiplications",
            student.network.multiplications,
            teacher.multiplications if teacher else None,
            ("fewer", "more"),
        ),
    ]
    for words, label, ours, theirs, (less, more) in costs:
        if ours is not None:
            told = ratio(theirs, ours, less, more)
            tiles.append((words(ours), label, f"{' '.join(told)} than the teacher's {words(theirs)}" if told else ""))
    return tiles


def _table(students: Students, choice: Choice, sort: str) -> str:
    """Rows with their place in every order; the chosen order is applied by the style sheet."""
    headings = {key: told for key, told in HEADINGS.items() if key != "test" or students.by_validation}
    headings["accuracy"] = f"{students.chosen_by} accuracy"
    places = {key: {s.name: n for n, s in enumerate(students.sorted(key), 1)} for key in headings}
    sort = sort if sort in headings else "accuracy"
    radios = "".join(_radio(key, told, checked=key == sort) for key, told in headings.items())
    columns = ["student", *headings.values(), "agreement", "against alone"]
    head = "".join(f'<th scope="col" role="columnheader">{escape(told)}</th>' for told in columns)
    rows = "\n".join(
        _row(students, student, {key: found[student.name] for key, found in places.items()}, choice)
        for student in students.sorted(sort)
    )
    grid = f'style="--columns: {len(columns)}"'
    body = (
        f'<fieldset class="orders"><legend>in the order of</legend>{radios}</fieldset>\n'
        f'<div class="scroll card" role="region" tabindex="0" aria-label="Students">\n'
        f'<table class="sortable" role="table" {grid}>\n<thead role="rowgroup"><tr role="row">{head}</tr></thead>\n'
        f'<tbody role="rowgroup">\n{rows}\n</tbody>\n</table>\n</div>'
    )
    note = (
        "Means over the seeds, the best first. Latencies are those that each run measured, by itself; below them the "
        "speed-up over the teacher of the run, which was measured in turn."
    )
    return section("Students", body, note)


def _radio(key: str, told: str, *, checked: bool) -> str:
    mark = " checked" if checked else ""
    return f'<label><input type="radio" name="order" value="{key}"{mark}> {escape(told)}</label>'


def _row(students: Students, student: Student, places: Mapping[str, int], choice: Choice) -> str:
    faster = students.speed_up(student)
    cells = {
        "accuracy": percent(students.worth(student)),
        "latency": milliseconds(student.latency_ms) + (f"<small>{faster:.1f}{TIMES}</small>" if faster else ""),
        "size": memory(student.network.bytes),
        "multiplications": short(student.network.multiplications),
        "test": spread(student.accuracy),
    }
    told = [cells[key] for key in places]
    told.append(percent(student.agreement))
    told.append(f'<span class="{student.verdict} bare">{badge(student.verdict)}</span>' if student.verdict else NONE)
    kept = choice.chosen is not None and choice.chosen.name == student.name
    mark = '<small class="mark">the student to choose</small>' if kept else ""
    order = "; ".join(f"--{key}: {place}" for key, place in places.items())
    rest = "".join(f'<td role="cell">{cell}</td>' for cell in told)
    return (
        f'<tr role="row"{" class=kept" if kept else ""} style="{order}">'
        f'<th scope="row" role="rowheader">{escape(student.name)}{mark}</th>{rest}</tr>'
    )


def _runs(students: Students) -> str:
    items = []
    for run, record in students.records.items():
        result = record.result
        student, teacher = (result.networks.get(role) for role in ("student", "teacher"))
        lines = [f"<p><code>{escape(student.network)}</code></p>"] if student and student.network else []
        if teacher and teacher.network:
            lines.append(f"<p>teacher: <code>{escape(teacher.network)}</code></p>")
        lines += [f"<p>{escape(verdict.sentence)}</p>" for verdict in result.verdicts.values()]
        if result.command:
            lines.append(f"<p><code>{escape(result.command)}</code></p>")
        items.append(f'<li class="card"><h3>{escape(str(run))}</h3>{"".join(lines)}</li>')
    return section("Runs", '<ul class="taught">\n' + "\n".join(items) + "\n</ul>")


def caveats(students: Students) -> list[str]:
    """What makes figures of several runs less than comparable."""
    results = [record.result for record in students.records.values()]
    told = []
    measured = {(r.data.name, r.data.measured_on, r.data.measured, tuple(r.data.classes)) for r in results}
    if len(measured) > 1:
        named = sorted({f"{name or 'unnamed'}, {count(number)} {part} samples" for name, part, number, _ in measured})
        told.append(f"These runs were not measured on the same samples ({'; '.join(named)}): compare with care.")
    machines = {(r.machine.get("processor"), r.machine.get("threads"), r.machine.get("accelerator")) for r in results}
    if len(machines) > 1:
        told.append("The latencies come from different machines or numbers of threads: compare with care.")
    return told
