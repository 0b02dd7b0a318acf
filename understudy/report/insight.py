"""What a student's answers are like beside its teacher's: figures, pictures, inner values."""

from collections.abc import Mapping, Sequence

from understudy.report.drawing import Drawn, variable
from understudy.report.figures import mapped
from understudy.report.pieces import figure, named, section, table
from understudy.report.reading import Record
from understudy.report.record import Result, Sample, Values
from understudy.report.words import NONE, count, escape, percent


def answers(result: Result, colours: Mapping[str, str], figures: Mapping[str, Drawn]) -> str:
    """Class by class, by confidence, and in figures."""
    shown = []
    if drawn := figures.get("classes"):
        caption = "All seeds together, on the right the change in points."
        if len(result.data.classes) > drawn.words.count(" points"):
            caption += " The classes that gained and lost most."
        shown.append(figure(drawn, caption))
    if drawn := figures.get("calibration"):
        caption = "On the diagonal, a network is right as often as it is sure. Larger dots stand for more samples."
        shown.append(figure(drawn, caption))
    if drawn := figures.get("agreement"):
        shown.append(figure(drawn, "Larger dots stand for more samples."))
    if rows := _rows(result, colours):
        columns = ["", "in the first 5", "loss", "calibration error", "divergence"]
        kept = [0] + [n for n in range(1, len(columns)) if any(row[n] != NONE for row in rows)]
        told = [[row[n] for n in kept] for row in rows]
        shown.append(table("Loss, calibration error, divergence from the teacher", [columns[n] for n in kept], told))
    if not shown:
        return ""
    return section("How they answer", '<div class="figures">\n' + "\n".join(shown) + "\n</div>", _softness(result))


def disagreements(record: Record) -> str:
    """The pictures on which the student that leaves and its teacher do not agree."""
    result = record.result
    wrong = result.errors
    if wrong is None:
        return ""
    total = result.data.measured or 0
    kinds = [
        (
            "The student errs, the teacher is right",
            wrong.student.count,
            [s for s in result.samples if s.teacher == s.label],
        ),
        (
            "The teacher errs, the student is right",
            wrong.teacher.count,
            [s for s in result.samples if s.student == s.label],
        ),
        (
            "Both err, each in its own way",
            None,
            [s for s in result.samples if s.label not in (s.student, s.teacher)],
        ),
    ]
    parts = []
    for told, number, samples in kinds:
        strip = _strip(record, samples)
        if number is None and not strip:
            continue
        share = f": {count(number)} of {count(total)}" if number is not None and total else ""
        parts.append(f"<h3>{told}{share}</h3>\n{strip}")
    parts.append(f'<p class="note">Both err on {count(wrong.both)} samples, alike or not.</p>')
    note = f"The student of this run, {escape(result.kept)}" if result.kept else "The student of this run"
    note += ". Of each kind those on which both networks are surest; under each picture its label, then who says what."
    return section("Where student and teacher differ", "\n".join(parts), note)


def inside(result: Result, figures: Mapping[str, Drawn]) -> str:
    """The maps of inner likeness."""
    if result.similarity is None:
        return ""
    tapped = result.similarity.tapped
    shown = [
        figure(figures[key], "In a frame: the pairs that its terms compare." if tapped.get(name) else "")
        for name in mapped(result)
        if (key := f"similarity of {name}") in figures
    ]
    if not shown:
        return ""
    note = (
        f"Linear CKA in hundredths, of {count(result.similarity.samples)} samples: 100 where two layers say the same "
        "but for a rotation, 0 where they have nothing in common. From first to last layer, downwards the teacher's, "
        "to the right the student's."
    )
    return section("How alike they are inside", '<div class="figures">\n' + "\n".join(shown) + "\n</div>", note)


def _rows(result: Result, colours: Mapping[str, str]) -> list[list[str]]:
    """Means over the seeds; the divergence is KL from the teacher, in nats like the loss."""
    rows = []
    if (taught := result.teacher) is not None:
        figures = [_share(taught.top5), _nats(taught.loss), _share(taught.calibration_error), NONE]
        rows.append([named("teacher", "ink"), *figures])
    for name, found in result.methods.items():
        figures = [_share(found.top5), _nats(found.loss), _share(found.calibration_error), _nats(found.divergence)]
        rows.append([named(name, variable(colours[name])), *figures])
    return rows if any(cell != NONE for row in rows for cell in row[3:]) else []


def _share(values: Values | None) -> str:
    return NONE if values is None or values.spread is None else percent(values.spread.mean)


def _nats(values: Values | None) -> str:
    return NONE if values is None or values.spread is None else f"{values.spread.mean:.3f}"


def _softness(result: Result) -> str:
    soft = result.teacher.softness if result.teacher else None
    if soft is None or not result.distilled:
        return ""
    told = (
        f"The teacher's answers have an entropy of {soft.entropy:.2f} nats of at most {soft.most:.2f}, "
        f"and of {soft.softened:.2f} at temperature {soft.temperature:g}: "
        if soft.temperature != 1
        else f"The teacher's answers have an entropy of {soft.entropy:.2f} nats of at most {soft.most:.2f}: "
    )
    return escape(told + (soft.hint or "there is something to learn beside their first choice."))


def _strip(record: Record, samples: Sequence[Sample]) -> str:
    items = []
    for sample in samples:
        if (content := record.pictures.get(sample.file)) is None:
            continue
        label = _name(record.result, sample.label)
        ours = _said(record.result, "student", sample.student, sample.student_confidence)
        theirs = _said(record.result, "teacher", sample.teacher, sample.teacher_confidence)
        image = f'<img alt="sample {sample.id}" src="data:image/png;base64,{content}">'
        items.append(f"<li>{image}<b>{escape(label)}</b><small>{ours}</small><small>{theirs}</small></li>")
    return f'<ul class="strip" tabindex="0">{"".join(items)}</ul>' if items else ""


def _said(result: Result, who: str, choice: int, sure: float | None) -> str:
    return f"{who}: {escape(_name(result, choice))}" + ("" if sure is None else f" {100 * sure:.0f}\N{NO-BREAK SPACE}%")


def _name(result: Result, label: int) -> str:
    names = result.data.classes
    return names[label] if label < len(names) else f"class {label}"
