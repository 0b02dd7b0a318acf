"""The page, put together: what matters most comes first."""

from collections.abc import Mapping

from understudy.report import background, insight, outcome, paths, pieces, spending, tables
from understudy.report.drawing import Drawn
from understudy.report.figures import method_colours
from understudy.report.reading import Record
from understudy.report.record import Result
from understudy.report.words import count, escape, first_word, plural


def page(record: Record, figures: Mapping[str, Drawn]) -> str:
    """One HTML page with everything inside it: no script, nothing from the net."""
    result = record.result
    colours = method_colours(result)
    sections = [
        outcome.outcome(result, figures),
        paths.paths(result, figures.get("paths")),
        outcome.notes(result),
        tables.methods(result, colours),
        tables.networks(result, figures.get("cost")),
        insight.answers(result, colours, figures),
        insight.disagreements(record),
        insight.inside(result, figures),
        _curves(record, figures),
        _landscapes(record, figures),
        background.teaching(record),
        tables.seeds(result, colours),
        spending.spending(record, colours),
        background.surroundings(result),
        background.again(record),
    ]
    return pieces.document(heading(result), _lead(result), sections, result.versions.get("understudy"))


def heading(result: Result) -> str:
    """The run's title, or who learnt from whom."""
    if result.title:
        return result.title
    student, teachers = result.networks.get("student"), list(result.taught_by.values())
    name = first_word(student.network) if student and student.network else "A student"
    if not result.distilled or not teachers:
        return f"{name}, trained {'by ' if result.distilled else ''}{', '.join(result.methods)}"
    return f"{name} learns from {' and '.join(first_word(t.network) or 'its teacher' for t in teachers)}"


def _lead(result: Result) -> str:
    data, parts = result.data, []
    if data.measured:
        parts.append(f"measured once on {count(data.measured)} {data.measured_on} samples")
    else:
        parts.append(f"measured on the {data.measured_on} part")
    if data.name:
        parts.append(f"data: {data.name}")
    if result.seeds:
        parts.append(plural(len(result.seeds), "seed"))
    line = " · ".join(parts)
    return line[0].upper() + line[1:]


def _curves(record: Record, figures: Mapping[str, Drawn]) -> str:
    """How the trainings went."""
    shown = []
    if drawn := figures.get("validation"):
        late = any(epoch.accuracy is None for epochs in record.epochs.values() for epoch in epochs)
        told = "A stage that trains hidden layers alone has no accuracy." if late else ""
        shown.append(pieces.figure(drawn, told))
    shown += [pieces.figure(drawn, "") for place, drawn in figures.items() if place.startswith("losses of ")]
    if not shown:
        return ""
    note = "A line for each seed. Losses are those of each term, before its weight"
    if any(epoch.gradient_shares for epochs in record.epochs.values() for epoch in epochs):
        note += "; shares are those of each weighted term in the gradient"
    note += "."
    if record.unreadable:
        told = plural(record.unreadable, "line")
        note += f" {told} of metrics.jsonl could not be read and are missing here."
    return pieces.section("Training", '<div class="figures">\n' + "\n".join(shown) + "\n</div>", note)


def _landscapes(record: Record, figures: Mapping[str, Drawn]) -> str:
    """How flat the loss is around each student."""
    title, found = "The loss around each student", record.landscapes
    if record.left_out:
        return pieces.section(title, f'<ul class="notes"><li>{escape(record.left_out)}</li></ul>')
    if found is None or "landscapes" not in figures:
        return ""
    note = (
        f"The loss on {count(found.samples)} samples of the {found.part} part around each student, in two random "
        "directions, each filter as long as the student's own (Li et al., 2018); biases and norms do not move. All "
        "maps share one scale: maps with scales of their own, as in Figure 7 of the teacher assistants' paper, cannot "
        "be compared. Two directions of many are a picture, no proof."
    )
    chart = pieces.figure(figures["landscapes"], "A dot marks the student; the deeper the colour, the higher the loss.")
    told = f'<div class="figures">\n{tables.sharpness(found)}\n{chart}\n</div>'
    return pieces.section(title, told, note)
