"""The result of a run: figures on the test part, read once, sizes, latencies, verdicts, and the kept student."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field

from torch import nn

from understudy import methods as registry
from understudy import nested
from understudy.config.settings import Settings
from understudy.data.parts import Part
from understudy.data.unlabelled import repeated
from understudy.errors import UserError
from understudy.measure import Latency, Verdict, beside_teacher, judge, latencies, onnx_runtime, size
from understudy.measure.machine import command, machine, peak_memory, versions
from understudy.nested import Nested
from understudy.plans.entry import METRICS
from understudy.recipe.objects import OBJECT, is_object
from understudy.recipe.schema import NetworkTable
from understudy.runs import broken, budget, keep, measures, samples
from understudy.runs.compile import student_of, teachers_of
from understudy.runs.networks import RunNetworks
from understudy.runs.records import (
    BASELINE,
    DataRecord,
    Errors,
    Method,
    NetworkRecord,
    Result,
    Row,
    Sample,
    Similarity,
    TaskRecord,
    Teacher,
)
from understudy.tasks import Figure, Task
from understudy.training import metrics, preflight
from understudy.training.evaluate import Measured
from understudy.training.evaluate import figures as figures_of

THROUGHPUT_BATCH = 100  # as in CAN's table 5
NOTHING = 0.01  # of the gradient
UNEQUAL = "this is no comparison at equal budget"


def summarize(run: RunNetworks) -> Result:
    """Measure everything and make the result. The test part is read here, once."""
    builder, recipe, began = run.builder, run.recipe, time.monotonic()
    measured_on, part = builder.data.measured
    given = is_object(recipe.data.name)
    task = TaskRecord.of(builder.data.task)
    teachers = _teachers(run)
    comparable = {name: networks for name, networks in teachers.items() if not _misfit(run, networks)}
    taught = {name: _taught(run, name, networks) for name, networks in comparable.items()}
    guides = _guides(run, comparable, taught)
    methods = {name: _method(run, name, task, part, guides) for name in recipe.methods}
    first = {name: networks[recipe.seeds[0]] for name, networks in teachers.items()}
    teacher = _teacher_of(run, guides) if guides else None
    hint = teacher.softness.hint if teacher and teacher.softness else None
    kept, because = keep.kept(methods, task.first, recipe.keep)
    beside = _beside_the_teacher(run, kept, first, part, guides)
    with recipe.settings.in_force():  # its threads
        here = machine()
    return Result(
        title=recipe.title,
        command=command(),
        versions=versions(),
        machine=here,
        settings=recipe.model_dump(mode="json")["settings"],
        seeds=list(recipe.seeds),
        task=task,
        data=DataRecord(
            name=builder.data.name if given else recipe.data.name,
            digest=recipe.data.name.removeprefix(OBJECT) if given else "",
            train=len(run.student_data.train),
            unlabelled=builder.seen(recipe.data).unlabelled,
            validation=len(builder.data.validation) if builder.data.validation else 0,
            measured_on=measured_on,
            measured=len(part),
        ),
        networks=_networks(run, {**first, "student": run.student(recipe.seeds[0]), **_grafted(run)}),
        teacher=teacher,
        teachers={name: _teacher_of(run, by_seed) for name, by_seed in taught.items()} if len(taught) > 1 else {},
        methods=methods,
        verdicts=_verdicts(methods, task.first, labelled=builder.data.task.labelled),
        kept=kept,
        kept_because=because,
        notes=[
            *_seen_already(run, part),
            *(f"{one.method}: {one.text}: {UNEQUAL}" for one in budget.shorter(recipe, builder)),
            *(note for name in methods for note in _notes(run, name, task.first)),
            *([hint] if hint else []),
        ],
        errors=beside.errors,
        samples=beside.samples,
        similarity=beside.similarity,
        measuring_seconds=round(time.monotonic() - began, 3),
        memory=peak_memory(recipe.settings.torch_device),
    )


def _verdicts(methods: Mapping[str, Method], figure: Figure, *, labelled: bool) -> dict[str, Verdict]:
    """Compare each method with the student alone; without labels, with its teacher."""
    values = {name: method.figures[figure.name].values for name, method in methods.items()}
    if not labelled:
        return {name: beside_teacher(name, of_seeds, figure) for name, of_seeds in values.items()}
    if BASELINE not in methods:
        return {}
    return {
        name: judge(name, of_seeds, values[BASELINE], figure) for name, of_seeds in values.items() if name != BASELINE
    }


def _teachers(run: RunNetworks) -> dict[str, dict[int, nn.Module]]:
    """The network of every teacher for each seed; the same one where all seeds share it."""
    seeds = run.recipe.seeds
    of_seeds = {seed: run.teachers(seed) for seed in seeds}
    return {
        name: {seed: of_seeds[seeds[0] if table.train is None or table.one_for_all else seed][name] for seed in seeds}
        for name, table in run.recipe.taught_by.items()
    }


def _misfit(run: RunNetworks, networks: Mapping[int, nn.Module]) -> str | None:
    """Why a teacher's answers are none to the task: it has no figures then."""
    return preflight.misfit(next(iter(networks.values())), run.builder.data, run.recipe.settings)


def _taught(run: RunNetworks, name: str, networks: Mapping[int, nn.Module]) -> dict[int, Measured]:
    """Figures of a teacher for every seed. A shared network is measured once."""
    place, settings = list(run.recipe.taught_by).index(name), run.recipe.settings.of_teacher
    answered: dict[int, Measured] = {}
    for seed, network in networks.items():
        if id(network) not in answered:
            answered[id(network)] = run.measured(network, teachers_of(run.recipe, seed)[place : place + 1], settings)
    return {seed: answered[id(network)] for seed, network in networks.items()}


def _guides(
    run: RunNetworks,
    teachers: Mapping[str, Mapping[int, nn.Module]],
    taught: Mapping[str, dict[int, Measured]],
) -> dict[int, Measured]:
    """Figures of the ensemble of teachers for every seed. Shared networks are measured once."""
    if len(taught) < 2:
        return next(iter(taught.values()), {})
    found: dict[tuple[int, ...], Measured] = {}
    guides: dict[int, Measured] = {}
    for seed in run.recipe.seeds:
        networks = [of_seeds[seed] for of_seeds in teachers.values()]
        key = tuple(map(id, networks))
        if key not in found:
            each = dict(zip(run.recipe.taught_by, teachers_of(run.recipe, seed), strict=True))
            found[key] = run.measured(networks, [each[name] for name in teachers], run.recipe.settings.of_teacher)
        guides[seed] = found[key]
    return guides


def _method(run: RunNetworks, name: str, task: TaskRecord, part: Part, guides: Mapping[int, Measured]) -> Method:
    """One method over its seeds."""
    rows: list[Row] = []
    answered: list[Measured] = []
    taught: list[Measured] = []
    whole_task = run.builder.data.task
    luck = whole_task.luck(task.first, len(part))
    records = [run.record(student_of(name, seed)) for seed in run.recipe.seeds_of(name)]
    for seed, record in zip(run.recipe.seeds_of(name), records, strict=True):
        student = run.measured(run.trained(record.training), [record.training], run.recipe.settings)
        teacher = guides.get(seed)
        answered.append(student)
        taught += [] if teacher is None else [teacher]
        figures = measures.of_training(student, teacher, whole_task)
        constant, largest = whole_task.commonest(student.kept), student.largest
        value = figures[task.first.name]
        rows.append(
            Row(
                seed=seed,
                training=record.training,
                figures=figures,
                validation=record.validation,
                seconds=record.seconds,
                kept=record.stages[-1].kept if record.stages else None,
                broken=broken.reasons(
                    task.first,
                    value,
                    luck,
                    constant=constant,
                    usual=broken.commonest(whole_task, student.targets),
                    largest=largest / whole_task.magnitude(student.targets),
                ),
            )
        )
    return Method.of(
        registry.find(run.recipe.methods[name].method).name,
        rows,
        taught=any(stage.taught for record in records for stage in record.stages),
        objectives=records[0].objectives,
        measures=measures.of_seeds(answered, taught, whole_task),
    )


def _teacher_of(run: RunNetworks, guides: Mapping[int, Measured]) -> Teacher:
    return measures.of_teacher(list(guides.values()), run.recipe.methods, run.builder.data.task)


@dataclass(frozen=True)
class _Beside:
    """The differences between the kept student and its teacher, in answers and in inner values."""

    errors: Errors | None = None
    samples: list[Sample] = field(default_factory=list)
    similarity: Similarity | None = None


def _beside_the_teacher(
    run: RunNetworks,
    kept: str,
    teachers: Mapping[str, nn.Module],
    part: Part,
    guides: Mapping[int, Measured],
) -> _Beside:
    if not teachers:
        return _Beside()
    recipe, teacher = run.recipe, next(iter(teachers.values()))  # inner values are those of the first teacher
    guide, task = guides.get(run.plan[kept].seed), run.builder.data.task
    errors, disagreements = None, list[Sample]()
    student = run.measured(run.trained(kept), [kept], recipe.settings) if guide else None
    if student and guide and task.fits(student.kept, guide.kept) is None:
        errors = measures.of_errors(student, guide, part.ids, task)
        disagreements = samples.disagreements(run.folder.path, part, student, guide, task)
    students = {method: run.trained(f"{method}-{recipe.seeds_of(method)[0]}") for method in recipe.methods}
    taught_by, first = list(teachers.values()), recipe.seeds[0]
    stages = {method: run.stages(method, run.student(first), taught_by) for method in recipe.methods}
    with recipe.settings.in_force():
        similarity = measures.of_inner_values(teacher, students, stages, part, recipe.settings)
    return _Beside(errors, disagreements, similarity)


def figure_of(network: nn.Module, part: Part, task: Task, settings: Settings) -> float:
    """A network's first figure on a part."""
    with settings.in_force():
        return figures_of(network, part, task, settings)[task.selecting.name]


def _grafted(run: RunNetworks) -> dict[str, nn.Module]:
    """The networks of students that keep a part of their teacher, by name."""
    grafting = [name for name, table in run.recipe.methods.items() if registry.find(table.method).grafts]
    return {f"student, {name}": run.trained(student_of(name, run.recipe.seeds_of(name)[0])) for name in grafting}


def _networks(run: RunNetworks, networks: Mapping[str, nn.Module]) -> dict[str, NetworkRecord]:
    """Sizes and latencies of teacher and student, measured side by side."""
    recipe, settings = run.recipe, run.recipe.settings
    placed = {name: settings.place(network) for name, network in networks.items()}
    example = settings.prepare(run.builder.data.example(THROUGHPUT_BATCH, settings.torch_device))
    with settings.in_force():
        single = _latencies(run, placed, settings.prepare(nested.chosen(example, slice(1))), seconds=run.measuring)
        many = _latencies(run, placed, example, seconds=2 * run.measuring)
    described: Mapping[str, NetworkTable] = recipe.taught_by
    return {
        name: NetworkRecord(
            network=run.builder.called(described.get(name, recipe.student)),
            **asdict(size(network, example)),
            latency_ms=single[""][name],
            throughput_ms=many[""][name],
            onnx_latency_ms=single.get("onnx_", {}).get(name),
            onnx_throughput_ms=many.get("onnx_", {}).get(name),
        )
        for name, network in placed.items()
    }


def _latencies(
    run: RunNetworks, networks: Mapping[str, nn.Module], example: Nested, *, seconds: float
) -> dict[str, dict[str, Latency]]:
    """By PyTorch, and by ONNX Runtime where the run is asked for it, all in turn."""
    runners: dict[str, Callable[..., object]] = dict(networks)
    if run.onnx:
        try:
            runners |= {f"onnx {name}": onnx_runtime(network, example) for name, network in networks.items()}
        except UserError as error:
            run.callback.note(str(error))
    measured_times = latencies(runners, example, seconds=seconds * len(runners) / len(networks))
    by_torch = {name: measured_times[name] for name in networks}
    if len(measured_times) == len(networks):
        return {"": by_torch}
    return {"": by_torch, "onnx_": {name: measured_times[f"onnx {name}"] for name in networks}}


def _seen_already(run: RunNetworks, part: Part) -> Iterator[str]:
    """Whether samples that are measured on were trained on, among those without labels."""
    seen = run.builder.seen(run.recipe.data)
    if seen.unlabelled and (count := repeated(seen, part)):
        yield (
            f"{count:,} of the {len(part):,} samples that are measured on are among the training samples without "
            "labels: the figures of students with a teacher are too good"
        )


def _notes(run: RunNetworks, name: str, figure: Figure) -> list[str]:
    """The notes about a method: another budget than that of the others, a training that collapsed, and terms
    whose share of the gradient says that their weight is off."""
    notes = _budget(run, name)
    shares: dict[tuple[str, str], list[float]] = {}
    validation = run.builder.data.validation
    for seed in run.recipe.seeds_of(name):
        training = student_of(name, seed)
        epochs = metrics.read(run.folder.training(training) / METRICS)
        for epoch in epochs:
            for term, share in epoch.gradient_shares.items():
                shares.setdefault((epoch.stage, term), []).append(share)
        values = [epoch.validation[figure.name] for epoch in epochs if figure.name in epoch.validation]
        if validation is not None and (
            collapse := broken.collapse(figure, values, run.builder.data.task.luck(figure, len(validation)))
        ):
            notes.append(f"{training}: {collapse}")
    for (stage, term), values in shares.items():
        mean = sum(values) / len(values)
        if mean < NOTHING:
            notes.append(f"{name}, stage {stage!r}: term {term!r} makes {mean:.1%} of the gradient: it adds nothing")
        elif mean > 1 - NOTHING:
            notes.append(f"{name}, stage {stage!r}: term {term!r} makes {mean:.1%} of the gradient: it drowns the rest")
    return notes


def _budget(run: RunNetworks, name: str) -> list[str]:
    """Whether the method took more epochs than its training configuration has."""
    epochs = run.record(student_of(name, run.recipe.seeds_of(name)[0])).epochs
    config = run.recipe.methods[name].train
    if epochs <= config.epochs:
        return []
    return [f"{name}: took {epochs} epochs, the recipe gives it {config.epochs}: {UNEQUAL}"]
