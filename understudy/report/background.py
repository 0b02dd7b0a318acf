"""What was trained from what, on what, where, and how to do it again."""

from collections.abc import Mapping

from understudy.report.pieces import facts, section
from understudy.report.reading import Record
from understudy.report.record import Ended, Result
from understudy.report.words import count, escape, plural


def teaching(record: Record) -> str:
    """Each training's stages: what it pursued and for how long."""
    result = record.result
    student, teachers = result.networks.get("student"), result.taught_by
    items = []
    for name, teacher in teachers.items():
        trainings = record.teacher_trainings.get(name, [])
        own = next((record.trained[training] for training in trainings if training in record.trained), None)
        told = "trained in this run" if trainings else "given, and not changed"
        stages = _stages(own.objectives, own.stages) if own else ""
        items.append(_item(name, f"<code>{escape(teacher.network)}</code>, {told}", stages))
    who = "teachers" if len(teachers) > 1 else "teacher"
    by = f"<code>{escape(student.network)}</code>" if student and student.network else "the student"
    for name, found in result.methods.items():
        source = f"with the {who}" if teachers and found.reads_teacher else "without a teacher"
        ended = record.trained.get(found.trainings[0].training) if found.trainings else None
        objectives = found.objectives or (ended.objectives if ended else {})
        items.append(_item(name, f"{by} learns {source}", _stages(objectives, ended.stages if ended else [])))
    return (
        '<section>\n<h2>What learned from what</h2>\n<ul class="taught">\n' + "\n".join(items) + "\n</ul>\n</section>"
    )


def surroundings(result: Result) -> str:
    data = result.data
    told = {"name": data.name}
    told |= {key: count(size) for key, size in (("train", data.train), ("validation", data.validation)) if size}
    if data.validation == 0:
        told["validation"] = "none"
    if data.measured:
        told["measured on"] = f"{count(data.measured)} of the {data.measured_on} part"
    told["classes"] = f"{len(data.classes)}: {', '.join(data.classes)}" if data.classes else ""
    machine = {key: str(value) for key, value in result.machine.items()}
    groups = [facts("Data", told), facts("Machine", machine), facts("Versions", result.versions)]
    shown = "\n".join(group for group in groups if group)
    return section("Data, machine, versions", f'<div class="facts">\n{shown}\n</div>') if shown else ""


def again(record: Record) -> str:
    """The command and the recipe that repeat the run."""
    told = ""
    if record.result.command:
        told += f'<h3>The command of this run</h3>\n<pre class="card line">{escape(record.result.command)}</pre>\n'
    if record.recipe.strip():
        if record.result.command:
            told += '<p class="note">The recipe below is complete: every value that was in force, defaults included. '
            told += "In the run folder it repeats the run by "
            told += "<code>understudy distill recipe.toml --out ANOTHER-FOLDER</code>.</p>\n"
        told += '<h3>The recipe</h3>\n<pre class="card recipe" tabindex="0" role="region" aria-label="The recipe">'
        told += f"{escape(record.recipe.strip())}</pre>\n"
    return section("Do it again", told) if told else ""


def _item(name: str, told: str, stages: str) -> str:
    return f'<li class="card"><h3>{escape(name)}</h3><p>{told}</p>{stages}</li>'


def _stages(objectives: Mapping[str, str], ended: list[Ended]) -> str:
    by_name = {stage.stage: stage for stage in ended}
    lines = []
    for name, objective in objectives.items():
        lines.append(f"<li>{escape(name)}{_course(by_name.get(name))}<br><code>{escape(objective)}</code></li>")
    return f"<ol>{''.join(lines)}</ol>" if lines else ""


def _course(ended: Ended | None) -> str:
    if ended is None or ended.epochs is None:
        return ""
    kept = f", the best is epoch {ended.best_epoch}" if ended.kept == "best" and ended.best_epoch else ""
    return f", {plural(ended.epochs, 'epoch')}{kept}"
