"""The result of a run: the one look at the test part, sizes, latencies, verdicts, and which student is kept."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from understudy import methods as registry
from understudy.data.parts import Part
from understudy.errors import UserError
from understudy.files import read_json
from understudy.measure import Latency, judge, latencies, onnx_runtime, size
from understudy.measure.surroundings import command, machine, peak_memory, versions
from understudy.plans.entry import METRICS, RESULT
from understudy.recipe.schema import NetworkTable
from understudy.runs import measures, samples
from understudy.runs.compile import student_of
from understudy.settings import Settings
from understudy.training import metrics
from understudy.training.evaluate import answers, together

if TYPE_CHECKING:
    from understudy.runs.run import Run

BASELINE = "alone"
THROUGHPUT_BATCH = 128
NOTHING = 0.01  # of the gradient
FIGURES = ("accuracy", "top5", "loss", "calibration_error", "agreement", "divergence", "seconds")


def summarize(run: "Run") -> dict[str, Any]:
    """Everything that a reader of the run wants to know. The test part is opened here, once."""
    cast, recipe, began = run.cast, run.recipe, time.monotonic()
    measured_on, part = cast.data.measured
    teachers = _teachers(run)
    taught = {name: _taught(networks, part, recipe.settings.of_teacher) for name, networks in teachers.items()}
    teacher_logits = {seed: _together([found[seed] for found in taught.values()]) for seed in recipe.seeds if taught}
    methods: dict[str, Any] = {}
    for name in recipe.methods:
        methods[name] = _method(run, name, part, teacher_logits)
    accuracies = {name: found["accuracy"]["values"] for name, found in methods.items()}
    first = {name: networks[recipe.seeds[0]] for name, networks in teachers.items()}
    networks = {**first, "student": run.student(recipe.seeds[0]), **_grafted(run)}
    result: dict[str, Any] = {
        "title": recipe.title,
        "command": command(),
        "versions": versions(),
        "machine": machine(),
        "settings": recipe.model_dump(mode="json")["settings"],
        "seeds": list(recipe.seeds),
        "data": {
            "name": recipe.data.name,
            "train": len(run.student_data.train),
            "validation": len(cast.data.validation) if cast.data.validation else 0,
            "measured_on": measured_on,
            "measured": len(part),
            "classes": list(cast.data.classes),
        },
        "networks": _networks(run, networks),
        "teacher": _teacher(run, teacher_logits),
        "teachers": {name: _teacher(run, found) for name, found in taught.items()} if len(taught) > 1 else {},
        "methods": methods,
        "verdicts": {
            name: asdict(judge(name, values, accuracies[BASELINE]))
            for name, values in accuracies.items()
            if name != BASELINE and BASELINE in accuracies
        },
    }
    hint = result["teacher"] and result["teacher"]["softness"]["hint"]
    result["notes"] = [note for name in methods for note in _notes(run, name)] + ([hint] if hint else [])
    result["kept"] = _keep(run, methods)
    result |= _beside_the_teacher(run, result["kept"], first, part, teacher_logits)
    result["measuring_seconds"] = round(time.monotonic() - began, 3)
    result["memory"] = peak_memory(recipe.settings.torch_device)
    return result


def _teachers(run: "Run") -> dict[str, dict[int, nn.Module]]:
    """Of every teacher each seed's network; one and the same where all share it."""
    seeds = run.recipe.seeds
    of_seeds = {seed: run.teachers(seed) for seed in seeds}
    return {
        name: {seed: of_seeds[seeds[0] if table.train is None or table.one_for_all else seed][name] for seed in seeds}
        for name, table in run.recipe.taught_by.items()
    }


def _taught(networks: Mapping[int, nn.Module], part: Part, settings: Settings) -> dict[int, tuple[Tensor, Tensor]]:
    """A teacher's answers for every seed; one network is asked once."""
    known = {id(network): network for network in networks.values()}
    answered = {key: _answers(network, part, settings) for key, network in known.items()}
    return {seed: answered[id(network)] for seed, network in networks.items()}


def _together(answered: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    return together([logits for logits, _ in answered]), answered[0][1]


def _answers(network: nn.Module, part: Part, settings: Settings) -> tuple[Tensor, Tensor]:
    with settings.in_force():
        return answers(network, part, settings)


def _method(run: "Run", name: str, part: Part, teacher_logits: Mapping[int, tuple[Tensor, Tensor]]) -> dict[str, Any]:
    """One method over its seeds."""
    rows: list[dict[str, Any]] = []
    answered: list[Tensor] = []
    taught: list[Tensor] = []
    for seed in run.recipe.seeds_of(name):
        training = student_of(name, seed)
        record = read_json(run.folder.training(training) / RESULT) or {}
        logits, labels = _answers(run.trained(training), part, run.recipe.settings)
        teacher = teacher_logits[seed][0] if seed in teacher_logits else None
        answered.append(logits)
        taught += [] if teacher is None else [teacher]
        stages = record.get("stages") or [{}]
        rows.append(
            {
                "seed": seed,
                "training": training,
                **measures.of_training(logits, labels, teacher),
                "seconds": record.get("seconds"),
                "validation": stages[-1].get("validation", {}).get("accuracy"),
                "kept": stages[-1].get("kept"),
            }
        )
    return {
        "method": registry.find(run.recipe.methods[name].method).name,
        "trainings": rows,
        "taught": any(told) if (told := [stage["taught"] for stage in stages if "taught" in stage]) else None,
        "objectives": (read_json(run.folder.training(rows[0]["training"]) / RESULT) or {}).get("objectives"),
        **measures.spreads(rows, FIGURES),
        "measures": measures.of_seeds(answered, labels, taught),
    }


def _teacher(run: "Run", teacher_logits: Mapping[int, tuple[Tensor, Tensor]]) -> dict[str, Any] | None:
    if not teacher_logits:
        return None
    logits, labels = zip(*teacher_logits.values(), strict=True)
    return measures.of_teacher(logits, labels[0], run.recipe.methods)


def _beside_the_teacher(
    run: "Run",
    kept: str,
    teachers: Mapping[str, nn.Module],
    part: Part,
    teacher_logits: Mapping[int, tuple[Tensor, Tensor]],
) -> dict[str, Any]:
    """Where the student that leaves and its teacher differ, in answers and in inner values."""
    if not teachers:
        return {}
    recipe, teacher = run.recipe, next(iter(teachers.values()))  # inner values are the first one's
    logits, labels = _answers(run.trained(kept), part, recipe.settings)
    taught = teacher_logits[run.plan[kept].seed][0]
    found: dict[str, Any] = {}
    if taught.shape == logits.shape:
        found["errors"] = measures.of_errors(logits, taught, labels, part.ids)
        found["samples"] = samples.disagreements(run.folder.path, part, labels, logits, taught)
    students = {method: run.trained(f"{method}-{recipe.seeds_of(method)[0]}") for method in recipe.methods}
    taught_by, first = list(teachers.values()), recipe.seeds[0]
    stages = {method: run.stages(method, run.student(first), taught_by) for method in recipe.methods}
    with recipe.settings.in_force():
        found["similarity"] = measures.of_inner_values(teacher, students, stages, part, recipe.settings)
    return found


def accuracy_of(network: nn.Module, part: Part, settings: Settings) -> float:
    """The share of a part that a network has right."""
    logits, labels = _answers(network, part, settings)
    return (logits.argmax(1) == labels).double().mean().item()


def _grafted(run: "Run") -> dict[str, nn.Module]:
    """The students that leave with a part of their teacher, under the names of their own that tables look for."""
    grafting = [name for name, table in run.recipe.methods.items() if registry.find(table.method).grafts]
    return {f"student, {name}": run.trained(student_of(name, run.recipe.seeds_of(name)[0])) for name in grafting}


def _networks(run: "Run", networks: Mapping[str, nn.Module]) -> dict[str, Any]:
    """Sizes and latencies of teacher and student, measured side by side."""
    recipe, settings = run.recipe, run.recipe.settings
    placed = {name: settings.place(network) for name, network in networks.items()}
    example = settings.prepare(run.cast.data.example(THROUGHPUT_BATCH, settings.torch_device))
    with settings.in_force():
        single = _latencies(run, placed, settings.prepare(example[:1]), seconds=run.measuring)
        many = _latencies(run, placed, example, seconds=2 * run.measuring)
    described: Mapping[str, NetworkTable] = recipe.taught_by
    return {
        name: {
            "network": run.cast.called(described.get(name, recipe.student)),
            **asdict(size(network, example)),
            **{f"{by}latency_ms": asdict(found[name]) for by, found in single.items()},
            **{f"{by}throughput_ms": asdict(found[name]) for by, found in many.items()},
        }
        for name, network in placed.items()
    }


def _latencies(
    run: "Run", networks: Mapping[str, nn.Module], example: Tensor, *, seconds: float
) -> dict[str, dict[str, Latency]]:
    """By PyTorch, and by ONNX Runtime where the run is asked for it, all in turn."""
    runners: dict[str, Callable[[Tensor], Any]] = dict(networks)
    if run.onnx:
        try:
            runners |= {f"onnx {name}": onnx_runtime(network, example) for name, network in networks.items()}
        except UserError as error:
            run.watcher.note(str(error))
    found = latencies(runners, example, seconds=seconds * len(runners) / len(networks))
    by_torch = {name: found[name] for name in networks}
    if len(found) == len(networks):
        return {"": by_torch}
    return {"": by_torch, "onnx_": {name: found[f"onnx {name}"] for name in networks}}


def _notes(run: "Run", name: str) -> list[str]:
    """A budget that was not the others', and terms whose share of the gradient says that their weight is off."""
    shares: dict[tuple[str, str], list[float]] = {}
    for seed in run.recipe.seeds_of(name):
        for line in metrics.read(run.folder.training(student_of(name, seed)) / METRICS):
            for term, share in line.get("gradient_shares", {}).items():
                shares.setdefault((line["stage"], term), []).append(share)
    notes = _budget(run, name)
    for (stage, term), values in shares.items():
        mean = sum(values) / len(values)
        if mean < NOTHING:
            notes.append(f"{name}, stage {stage!r}: term {term!r} makes {mean:.1%} of the gradient: it adds nothing")
        elif mean > 1 - NOTHING:
            notes.append(f"{name}, stage {stage!r}: term {term!r} makes {mean:.1%} of the gradient: it drowns the rest")
    return notes


def _budget(run: "Run", name: str) -> list[str]:
    """Whether the method took more epochs than its course has."""
    record = read_json(run.folder.training(student_of(name, run.recipe.seeds_of(name)[0])) / RESULT) or {}
    epochs, course = sum(stage["epochs"] for stage in record.get("stages", [])), run.recipe.methods[name].train
    if epochs <= course.epochs:
        return []
    return [f"{name}: took {epochs} epochs, its course has {course.epochs}: this is no comparison at equal budget"]


def _keep(run: "Run", methods: Mapping[str, Any]) -> str:
    """The student of the run: of the last method in the recipe, the seed that is best on validation, never on test."""
    rows = methods[list(methods)[-1]]["trainings"]
    kept = max(rows, key=lambda row: (row["validation"] or 0.0, -row["seed"]))["training"]
    run.folder.keep(kept)
    return str(kept)
