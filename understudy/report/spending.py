"""Where the time and the memory of a run went."""

from collections.abc import Mapping, Sequence

from understudy.report.drawing import variable
from understudy.report.pieces import named, section, table
from understudy.report.reading import Record
from understudy.report.record import Epoch
from understudy.report.words import NONE, memory, seconds


def spending(record: Record, colours: Mapping[str, str]) -> str:
    """Each method's time, stage by stage."""
    keys = {name: variable(colours[name]) for name in record.result.methods}
    rows = []
    for name, members in _groups(record).items():
        times = [stage_seconds(record.epochs[member]) for member in members if member in record.epochs]
        stages = list(dict.fromkeys(stage for time in times for stage in time))
        if not stages:
            continue
        means = {stage: sum(time.get(stage, 0.0) for time in times) / len(times) for stage in stages}
        split = ", ".join(f"{stage} {seconds(mean)}" for stage, mean in means.items()) if len(means) > 1 else NONE
        total = sum(sum(time.values()) for time in times)
        key = named(name, keys.get(name, "ink"))
        rows.append([key, seconds(total / len(times)), str(len(times)), seconds(total), split])
    if not rows:
        return ""
    columns = ["", "one training", "times", "all of them", "one training's stages"]
    return section("Time and memory", table("Time", columns, rows), _note(record))


def _groups(record: Record) -> dict[str, list[str]]:
    """The trainings of each teacher, of each method, and those beside them: assistants, and quick ones that choose."""
    groups = dict(record.teacher_trainings)
    for name, found in record.result.methods.items():
        groups[name] = [row.training for row in found.trainings]
    known = {training for members in groups.values() for training in members}
    others = [name for name in record.epochs if name not in known]
    return groups | ({"assistants, and others": others} if others else {})


def stage_seconds(epochs: Sequence[Epoch]) -> dict[str, float]:
    """How long each stage of a training took, by its log, which counts from the training's beginning."""
    found: dict[str, float] = {}
    before = 0.0
    for epoch in epochs:
        if epoch.seconds is not None:
            found[epoch.stage] = found.get(epoch.stage, 0.0) + max(epoch.seconds - before, 0.0)
            before = epoch.seconds
    return found


def _note(record: Record) -> str:
    result, told = record.result, []
    if result.measuring_seconds is not None:
        told.append(f"Measuring all of it at the end took {seconds(result.measuring_seconds)}.")
    if peak := result.memory.get("process"):
        told.append(f"The process held {memory(peak)} at most")
        accelerator = result.memory.get("accelerator")
        told[-1] += f", its accelerator {memory(accelerator)}." if accelerator else "."
    return " ".join(told)
