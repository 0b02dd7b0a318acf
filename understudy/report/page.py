"""The page of a run: the values of its sections for ``templates/run.html``."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from understudy.report import format as write
from understudy.report import tables
from understudy.report.figures import mapped, method_colours
from understudy.report.figures.answers import MOST_OPTIONS
from understudy.report.figures.drawing import Drawn
from understudy.report.format import count, milliseconds, plural, ratio, short
from understudy.report.reading import RunFiles
from understudy.report.templates import rendered
from understudy.runs.records import BASELINE, Result, Sample
from understudy.training.records import StageEnd


@dataclass(frozen=True)
class Tile:
    """A headline figure, its label, and its comparison."""

    big: str
    label: str
    small: str = ""


@dataclass(frozen=True)
class Judgement:
    """A verdict with its badge; ``name`` is printed in bold before the rest of the sentence."""

    kind: str  # its colour
    word: str  # its badge
    name: str
    sentence: str

    @classmethod
    def of(cls, kind: str, word: str, sentence: str, name: str = "") -> "Judgement":
        named = name if name and sentence.startswith(name) else ""
        return cls(kind, word, named, sentence[len(named) :])


def page(record: RunFiles, figures: Mapping[str, Drawn]) -> str:
    """One HTML page without scripts and external files."""
    result = record.result
    colours = method_colours(result)
    return rendered(
        "run.html",
        heading=heading(result),
        lead=_lead(result),
        version=result.versions.get("understudy"),
        record=record,
        recipe=record.recipe.strip(),
        result=result,
        figures={name: figures.get(name) for name in _PLACES} | dict(figures),
        verdicts=list(_verdicts(result)),
        tiles=list(_tiles(result)),
        several_seeds=any(len(method.trainings) > 1 for method in result.methods.values()),
        trained_in_all=plural(result.path.trainings, "training") if result.path and result.path.trainings else "",
        paths=tables.paths(result.path, result.first) if result.path else None,
        path_caption=_path_caption(result),
        students=tables.students(result, colours).without("seeds", "bytes", "multiplications", "parameters"),
        sizes=tables.sizes(result),
        further=tables.further_figures(result, colours),
        every_option=len(result.task.options) <= MOST_OPTIONS,
        softness=_softness(result),
        disagreements=list(_disagreements(record)),
        sure=_sure,
        maps=list(_maps(result, figures)),
        curves=list(_curves(record, figures)),
        curves_note=_curves_note(record),
        sharpness=tables.sharpness(record.landscapes) if record.landscapes else None,
        trainings=list(_trainings(record)),
        seeds=tables.seeds(result, colours),
        times=tables.times(record.epochs, _groups(record), colours, _memory_note(result)),
        data=_data(result),
        machine=write.facts(result.machine),
        versions=result.versions,
    )


_PLACES = ("first", "paths", "cost", "options", "calibration", "agreement", "logit", "landscapes")


def heading(result: Result) -> str:
    """The run's title, or the names of student and teacher."""
    if result.title:
        return result.title
    student, teachers = result.networks.get("student"), list(result.teacher_networks.values())
    name = write.first_word(student.network) if student and student.network else "A student"
    if not result.distilled or not teachers:
        return f"{name}, trained {'by ' if result.distilled else ''}{', '.join(result.methods)}"
    return f"{name} learns from {' and '.join(write.first_word(t.network) or 'its teacher' for t in teachers)}"


def _lead(result: Result) -> str:
    parts = [f"measured once on {count(result.data.measured)} {result.data.measured_on} samples"]
    parts += [f"data: {result.data.name}"] if result.data.name else []
    parts += [f"task: {result.task.name}", plural(len(result.seeds), "seed")]
    line = " · ".join(parts)
    return line[0].upper() + line[1:]


def _verdicts(result: Result) -> Iterator[Judgement]:
    """Broken students first, then the verdicts."""
    for training, reasons in result.broken.items():
        yield Judgement.of("loses", "broken", f"{training}: {'; '.join(reasons)}.", training)
    if result.verdicts:
        for name, verdict in result.verdicts.items():
            yield Judgement.of(verdict.verdict, verdict.verdict, verdict.sentence, name)
    elif result.distilled:
        sentence = "What distillation brought is unknown: no student was trained alone on the same schedule."
        yield Judgement.of("unknown", "unknown", sentence)
    else:
        sentence = "Nothing was distilled in this run: the student learned from the targets alone."
        yield Judgement.of("unknown", "unknown", sentence)


def _tiles(result: Result) -> Iterator[Tile]:
    name = result.foremost
    first, spread = result.first, result.spread_of(name)
    against = []
    if BASELINE in result.methods and name != BASELINE and (alone := result.spread_of(BASELINE)):
        against.append(f"alone {write.value(alone.mean, first.unit)}")
    against += [f"teacher {write.value(taught.mean, first.unit)}"] if (taught := result.teacher_spread) else []
    if len(result.trained) > 1:
        against.append(f"student: {result.kept}{f', {result.kept_because}' if result.kept_because else ''}")
    label = f"{first.title}, trained alone" if name == BASELINE else f"{first.title} with {name}"
    yield Tile(write.value(spread.mean if spread else None, first.unit), label, " · ".join(against))
    yield from _costs(result)


def _costs(result: Result) -> Iterator[Tile]:
    student, teacher = result.network_of(result.foremost), result.networks.get("teacher")
    ours, theirs = student.parameters, teacher.parameters if teacher else None
    if compared := ratio(theirs, ours, "smaller", "larger"):
        yield Tile(*compared, f"{count(theirs)} → {count(ours)} parameters")
    elif ours is not None:
        yield Tile(short(ours), "parameters")
    ours, theirs = student.multiplications, teacher.multiplications if teacher else None
    if compared := ratio(theirs, ours, "fewer multiplications", "more multiplications"):
        yield Tile(*compared, f"{short(theirs)} → {short(ours)}")
    elif ours is not None:
        yield Tile(short(ours), "multiplications")
    if student.latency_ms is None:
        return
    now, before = student.latency_ms.p50, teacher.latency_ms.p50 if teacher and teacher.latency_ms else None
    if compared := ratio(before, now, "faster", "slower"):
        yield Tile(*compared, f"{milliseconds(before)} → {milliseconds(now)} for one sample")
    else:
        yield Tile(milliseconds(now), "for one sample", "median of many calls")


def _path_caption(result: Result) -> str:
    part = "test" if result.path and any(hop.test for hop in result.path.edges) else "validation"
    unit = " in %" if result.first.unit == "share" else ""
    return f"{result.first.title} on {part}{unit}, the mean over the seeds; the path was chosen by validation"


def _softness(result: Result) -> str:
    soft = result.teacher.softness if result.teacher else None
    if soft is None or not result.distilled:
        return ""
    sentence = f"The teacher's answers have an entropy of {soft.entropy:.2f} nats of at most {soft.most:.2f}"
    sentence += f", and of {soft.softened:.2f} at temperature {soft.temperature:g}: " if soft.temperature != 1 else ": "
    return sentence + (soft.hint or "there is something to learn beside their first choice.")


@dataclass(frozen=True)
class Picture:
    sample: Sample
    content: str  # base64


@dataclass(frozen=True)
class Disagreements:
    """Samples of one kind of error."""

    title: str
    share: str
    pictures: list[Picture]


def _disagreements(record: RunFiles) -> Iterator[Disagreements]:
    """The samples on which the kept student and its teacher disagree."""
    errors, samples = record.result.errors, record.result.samples
    if errors is None and not samples:
        return
    measured = record.result.data.measured
    kinds: list[tuple[str, str, int | None]] = [("both", "They answer differently; what is right is unknown", None)]
    if errors is not None:
        kinds = [
            ("student", "The student errs, the teacher is right", errors.student.count),
            ("teacher", "The teacher errs, the student is right", errors.teacher.count),
            ("both", "Both err, each in its own way", None),
        ]
    for wrong, title, number in kinds:
        shown = [
            Picture(one, record.pictures[one.file])
            for one in samples
            if one.wrong == wrong and one.file in record.pictures
        ]
        share = f"{count(number)} of {count(measured)}" if number is not None and measured else ""
        if number is not None or shown:
            yield Disagreements(title, share, shown)


def _sure(share: float | None) -> str:
    return "" if share is None else f" {100 * share:.0f}\N{NO-BREAK SPACE}%"


@dataclass(frozen=True)
class Map:
    drawn: Drawn
    tapped: bool


def _maps(result: Result, figures: Mapping[str, Drawn]) -> Iterator[Map]:
    tapped = result.similarity.tapped if result.similarity else {}
    for name in mapped(result):
        if (key := f"similarity of {name}") in figures:
            yield Map(figures[key], bool(tapped.get(name)))


@dataclass(frozen=True)
class Curve:
    drawn: Drawn
    caption: str = ""


def _curves(record: RunFiles, figures: Mapping[str, Drawn]) -> Iterator[Curve]:
    """How the trainings went."""
    first = record.result.first
    if drawn := figures.get("validation"):
        hidden = any(first.name not in epoch.validation for epochs in record.epochs.values() for epoch in epochs)
        yield Curve(drawn, f"A stage that trains hidden layers alone has no {first.title}." if hidden else "")
    for place, drawn in figures.items():
        if place.startswith("losses of "):
            yield Curve(drawn)


def _curves_note(record: RunFiles) -> str:
    note = "A line for each seed. Losses are those of each term, before its weight"
    if any(epoch.gradient_shares for epochs in record.epochs.values() for epoch in epochs):
        note += "; shares are those of each weighted term in the gradient"
    note += "."
    if record.unreadable:
        note += f" {plural(record.unreadable, 'line')} of metrics.jsonl could not be read and are missing here."
    return note


@dataclass(frozen=True)
class Stage:
    name: str
    length: str
    objective: str


@dataclass(frozen=True)
class Training:
    """The terms of a network's training, stage by stage."""

    name: str
    network: str
    source: str
    stages: list[Stage]


def _trainings(record: RunFiles) -> Iterator[Training]:
    result = record.result
    teachers = result.teacher_networks
    for name, network in teachers.items():
        trained = [record.trained[one] for one in record.teacher_trainings.get(name, []) if one in record.trained]
        source = ", trained in this run" if name in record.teacher_trainings else ", given, and not changed"
        stages = _stages(trained[0].objectives, trained[0].stages) if trained else []
        yield Training(name, network.network, source, stages)
    student = result.networks.get("student")
    who = "teachers" if len(teachers) > 1 else "teacher"
    for name, method in result.methods.items():
        source = f" learns with the {who}" if teachers and method.taught else " learns without a teacher"
        ended = record.trained.get(method.trainings[0].training)
        stages = _stages(method.objectives, ended.stages if ended else [])
        yield Training(name, student.network if student and student.network else "the student", source, stages)


def _stages(objectives: Mapping[str, str], ended: Sequence[StageEnd]) -> list[Stage]:
    by_name = {stage.stage: stage for stage in ended}
    return [Stage(name, _length(by_name.get(name)), objective) for name, objective in objectives.items()]


def _length(ended: StageEnd | None) -> str:
    if ended is None:
        return ""
    kept = f", the best is epoch {ended.best_epoch}" if ended.kept == "best" and ended.best_epoch else ""
    return f", {plural(ended.epochs, 'epoch')}{kept}"


def _groups(record: RunFiles) -> dict[str, list[str]]:
    """The trainings of each teacher and method, and others: assistants, and short ones for choices."""
    groups = dict(record.teacher_trainings)
    for name, method in record.result.methods.items():
        groups[name] = [row.training for row in method.trainings]
    known = {training for members in groups.values() for training in members}
    others = [name for name in record.epochs if name not in known]
    return groups | ({"assistants, and others": others} if others else {})


def _memory_note(result: Result) -> str:
    parts = []
    if result.measuring_seconds is not None:
        parts.append(f"Measuring all of it at the end took {write.seconds(result.measuring_seconds)}.")
    if peak := result.memory.get("process"):
        accelerator = result.memory.get("accelerator")
        held = f", its accelerator {write.memory(accelerator)}" if accelerator else ""
        parts.append(f"The process held {write.memory(peak)} at most{held}.")
    return " ".join(parts)


def _data(result: Result) -> dict[str, str]:
    data, task = result.data, result.task
    chance = task.first.chance
    return write.facts(
        {
            "name": data.name,
            "train": count(data.train),
            "train, without labels": count(data.unlabelled) if data.unlabelled else "",
            "validation": count(data.validation) if data.validation else "none",
            "measured on": f"{count(data.measured)} of the {data.measured_on} part",
            "task": task.name,
            f"{task.first.title} by chance": "" if chance is None else write.value(chance, task.first.unit),
            "answers": f"{len(task.options)}: {', '.join(task.options)}" if task.options else "",
        }
    )
