"""The pre-flight check: one batch through all networks and terms, and one line per finding.

It finds mistakes that raise no error: a teacher without its weights, a loss without a gradient.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from understudy import nested
from understudy.answers import StoredAnswers
from understudy.answers.forecast import Forecast, forecast
from understudy.answers.source import needs_live_teacher, passed_over
from understudy.config import hardware as clock
from understudy.config.momenta import momenta_of
from understudy.config.optimizers import MaxNorm, optimizer_of
from understudy.config.settings import Settings
from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.data.parts import Batch, Data, Part
from understudy.data.sources import InMemory
from understudy.errors import UserError
from understudy.models import Output
from understudy.models.weights import restore
from understudy.nested import Nested
from understudy.objective import Objective, evaluating
from understudy.objective.term import Sum
from understudy.precision import exact
from understudy.randomness import derived_seed
from understudy.taps import Answer, call, inner, layers
from understudy.tasks import Figure, Values
from understudy.teacher.batching import company_matters
from understudy.teacher.stand_in import StandIns
from understudy.training.evaluate import walk
from understudy.training.padding import refuse_readers_of_padding
from understudy.training.stage_state import facts_of
from understudy.training.state import copy_of

GLANCE, SAMPLE = 128, 1000  # samples on which a teacher is measured; the larger number only in doubt
SHORTFALL = 0.02  # by which a share may be below the declared one
LOOSE = 0.1  # by which any other figure may be worse than the declared one, as a share of it
POORER = 0.1  # share of the training labels that a teacher names wrong, from which on it is called poorer than they are
DRY_BATCH = 32
PIXELS = 100.0, 255.0  # the largest value of images that were not scaled to [0, 1] is between these
BROKEN = "its answers hold NaN or infinity: its weights are broken"
ABOUT_IMAGES = "images"  # the subject of findings about their values
ABOUT_INPUTS = "'s inputs"  # the end of the subject of findings about a teacher's normalisation
ABOUT_STORED = "stored answers"  # the end of the subject of findings about them
DEAD = 1e-4  # of the largest gradient of a term, below which a term's gradient on the student is lost
WORTH = 1.2  # times the speed of a training, from which on stored answers are proposed


@dataclass(frozen=True)
class Finding:
    """One line of the pre-flight."""

    level: Literal["ok", "warning", "error"]
    subject: str
    text: str
    seconds: float = 0.0  # the estimated time of a training
    worth: bool = False  # shown although nothing is wrong


def passes(findings: Sequence[Finding]) -> None:
    """Raise a UserError with all errors, if there are any."""
    errors = [f"{f.subject}: {f.text}" for f in findings if f.level == "error"]
    if errors:
        raise UserError("\n".join(errors))


def check_data(data: Data, batch: int) -> Iterator[Finding]:
    validation = len(data.validation) if data.validation else 0
    text = f"{len(data.train)} train, {validation} validation, {data.task.about}, samples {data.shape}"
    yield Finding("ok", "data", text, worth=True)
    yield from (Finding("warning", "data", remark) for remark in data.task.remarks(data.train.targets))
    example = data.example(DRY_BATCH, torch.device("cpu"))
    if isinstance(example, Tensor) and example.ndim == 4:
        height, width = example.shape[2:]
        if count := data.task.outside(data.train.targets, (height, width)):
            text = f"{count:,} training samples have targets outside their images, which are {width} x {height} pixels"
            yield Finding("warning", "data", f"{text}: resize the targets with the images")
    if isinstance(example, Tensor) and example.is_floating_point() and example.ndim == 4 and example.min() >= 0:
        largest, (least, most) = example.max().item(), PIXELS
        if least < largest <= most:
            text = f"networks expect values between 0 and 1, and these reach {largest:g}: divide by 255, or give uint8"
            yield Finding("warning", ABOUT_IMAGES, text)
    yield from (Finding("error", "data", problem) for problem in data.problems())
    if batch > len(data.train):
        yield Finding(
            "warning", "data", f"batch {batch} is larger than the training part: batches of {len(data.train)}"
        )
    if not validation:
        yield Finding("warning", "data", "no validation part: nothing selects, the last epoch is kept")
    if data.open_test is None:
        measured = "validation" if validation else "training"
        yield Finding("warning", "data", f"no test part: the final figures will be those of the {measured} part")


def check_teacher(
    teacher: nn.Module,
    data: Data,
    settings: Settings,
    *,
    declared: float | None = None,
    accept_weak: bool = False,
    name: str = "teacher",
) -> Iterator[Finding]:
    """Compare the teacher's figures on some samples with chance, and the first one with its declared value."""
    if not data.task.labelled:
        yield from _check_reference(teacher, data, settings, accept_weak=accept_weak, name=name)
        return
    look = _look(teacher, data, GLANCE, settings)
    if isinstance(look, _Look) and not look.is_beyond_doubt(declared) and len(data.validation or data.train) > GLANCE:
        look = _look(teacher, data, SAMPLE, settings)
    if isinstance(look, str):
        yield Finding("error", name, look)
        return
    figure, text = look.figure, f"{look.figure.text(look.value, 1)} on {look.samples} samples"
    if figure != data.task.figures[0] or figure.unit != "share":
        text = f"{figure.title} {text}"
    if look.is_at_chance():
        way = "load its weights, and check its normalisation and the order of its outputs"
        level: Literal["warning", "error"] = "warning" if accept_weak else "error"
        yield Finding(level, name, f"{text}, which is chance level: {way} (accept_weak = true goes on all the same)")
    elif declared is not None and look.is_short_of(declared):
        way = "another normalisation, other weights or another data set?"
        stated = figure.text(declared, 1)
        yield Finding("error", name, f"{text}, far below the {stated} that the recipe declares: {way}")
    else:
        stated = f" (declared: {figure.text(declared, 1)})" if declared is not None else ""
        yield Finding("ok", name, text + stated, worth=True)
        if not accept_weak and (warning := _poorer_than_labels(teacher, data, settings, look)):
            yield Finding("warning", name, warning)


def _poorer_than_labels(teacher: nn.Module, data: Data, settings: Settings, look: "_Look") -> str | None:
    """A warning if a teacher names many of the training labels wrong, which the student is given; None if it does not.

    A few samples decide if the teacher is right on them. Without a validation part, ``look`` is on training samples.
    """
    if not data.task.targets_are_classes or look.figure.unit != "share":
        return None
    for samples in (GLANCE, SAMPLE) if data.validation else ():
        found = _look(teacher, data, samples, settings, part=data.train)
        if isinstance(found, str):
            return None
        look = found
        if look.value > 1 - POORER / 2:
            return None
    if look.value > 1 - POORER:
        return None
    return (
        f"it is right on {look.figure.text(look.value, 1)} of {look.samples} training samples, whose labels the "
        "student is given: soft targets of such a teacher can teach less than the labels. Compare with 'alone', give "
        "the labels more weight, or train the teacher longer"
    )


def _check_reference(
    teacher: nn.Module, data: Data, settings: Settings, *, accept_weak: bool, name: str
) -> Iterator[Finding]:
    """A teacher whose answers are the targets: nothing says whether they are right, only how far they differ."""
    task, sample, answers = data.task, _spread(data, SAMPLE), list[Values]()
    walk(settings.place(teacher), sample, task, settings.of_teacher, lambda answer, _: answers.append(answer))
    reason = task.misfit(answers[0])
    if reason or any(nested.not_finite(nested.each(_without_masked, answer)) for answer in answers):
        yield Finding("error", name, reason or BROKEN)
        return
    kept = {key: torch.cat([answer[key] for answer in answers]).float().cpu() for key in task.values}
    constant = task.commonest(kept) or 0.0
    text = f"the data have no labels: its own answers to {len(sample)} samples are the measure, right or wrong"
    if constant == 1 and len(sample) > 1:
        way = "load its weights, and check its normalisation (accept_weak = true goes on all the same)"
        level: Literal["warning", "error"] = "warning" if accept_weak else "error"
        yield Finding(level, name, f"it gives one answer for all of {len(sample)} samples: {way}")
    elif constant:
        text += f"; its most frequent answer has {100 * constant:.0f} % of them"
        yield Finding("ok", name, text, worth=True)
    else:
        yield Finding("ok", name, text, worth=True)


def _spread(data: Data, samples: int, part: Part | None = None) -> Part:
    """So many samples, spread over a whole part, which may be sorted; by default the one that is measured on."""
    part = part or data.validation or data.train
    places = torch.linspace(0, len(part) - 1, min(samples, len(part)), dtype=torch.float64)
    return Part(part.source, part.ids[places.round().long()])


@dataclass(frozen=True)
class _Look:
    """A teacher's figure on some samples, with its uncertainty."""

    figure: Figure
    value: float
    samples: int
    luck: float  # beyond chance

    def is_at_chance(self) -> bool:
        chance = self.figure.chance
        return chance is not None and self.figure.gain(self.value, chance) <= self.luck

    def is_beyond_doubt(self, declared: float | None) -> bool:
        """Whether no more samples are needed: the figure is beyond chance and not below the declared one."""
        chance = self.figure.chance
        beyond = chance is None or self.figure.gain(self.value, chance) > 2 * self.luck
        return beyond and (declared is None or self.figure.gain(self.value, declared) >= -self._shortfall(declared))

    def is_short_of(self, declared: float) -> bool:
        """Whether it is worse than declared by more than the allowance and three standard deviations."""
        spread = 3 * math.sqrt(declared * (1 - declared) / self.samples) if self.figure.unit == "share" else 0.0
        return self.figure.gain(self.value, declared) < -(self._shortfall(declared) + spread)

    def _shortfall(self, declared: float) -> float:
        return SHORTFALL if self.figure.unit == "share" else LOOSE * abs(declared)


def _look(teacher: nn.Module, data: Data, samples: int, settings: Settings, part: Part | None = None) -> _Look | str:
    """Measure a teacher on samples from a whole part; or find what is wrong with an answer."""
    task, sample = data.task, _spread(data, samples, part)
    meter, wrong = task.meter(), set[str]()

    def update(answer: Values, targets: Nested) -> None:
        if reason := task.misfit(answer):
            wrong.add(reason)
        elif nested.not_finite(nested.each(_without_masked, answer)):
            wrong.add(BROKEN)
        if not wrong:
            meter.update(answer, targets)

    walk(settings.place(teacher), sample, task, settings.of_teacher, update)
    if wrong:
        return sorted(wrong)[0]
    figure = next((figure for figure in task.figures if figure.chance is not None), task.selecting)
    return _Look(figure, meter.compute()[figure.name], len(sample), task.luck(figure, len(sample)))


def _without_masked(scores: Tensor) -> Tensor:
    """Without the -inf by which a network masks some of its classes."""
    masked = scores == -torch.inf
    return scores.masked_fill(masked & ~masked.all(-1, keepdim=True), 0.0) if scores.ndim else scores


def misfit(network: nn.Module, data: Data, settings: Settings) -> str | None:
    """Why a network's answers are none to the task: other classes than the data's, or a head that is not there."""
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    example = nested.moved(settings.prepare(data.example(2, settings.torch_device)), device)
    try:
        with torch.no_grad(), evaluating(network):
            return data.task.misfit(data.task.answer(call(network, example)))
    except UserError as error:
        return str(error)


def check_network(
    role: str, network: nn.Module, data: Data, settings: Settings, *, teaches: bool = False
) -> Iterator[Finding]:
    """Check that the network accepts the samples and that its answers have the form of the task.

    Args:
        teaches: whether it only teaches: methods may then read its hidden values alone.
    """
    example = settings.prepare(data.example(2, settings.torch_device))
    try:
        with torch.no_grad(), evaluating(settings.place(network)):
            answer = data.task.answer(call(network, example))
    except Exception as error:  # a user's network may raise anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        yield Finding("error", role, f"it does not take samples of shape {nested.shape_of(example)}: {reason}")
        return
    first = next(iter(answer.values()))
    asked, got = nested.count(example), len(first)
    wrong = data.task.misfit(answer) if got == asked else f"it answers {asked} samples with {got} values"
    if wrong and (got != asked or not teaches):
        yield Finding("error", role, wrong)
        return
    if wrong:
        yield Finding("warning", role, f"{wrong}: it can teach by its hidden values alone, and has no figures")
    around = [layer for layer in layers(network) if getattr(layer, "is_preprocessing_of", False)]
    before = "".join(
        f", its answer is {layer.extra_repr()}"
        if isinstance(layer, Output)
        else f", inputs pass {type(layer).__name__}({layer.extra_repr()}) first"
        for layer in around
    )
    parameters = sum(p.numel() for p in network.parameters())
    yield Finding("ok", role, f"{type(inner(network)).__name__}, {parameters:,} parameters{before}")


def check_budget(stages: Sequence[Stage], config: TrainConfig) -> Iterator[Finding]:
    """Report a method that takes more epochs than its config, since methods are compared at equal budgets."""
    epochs = sum(stage.config.epochs for stage in stages)
    if epochs > config.epochs:
        text = f"they take {epochs} epochs and the recipe gives them {config.epochs}: no comparison at equal budget"
        yield Finding("warning", "stages", text)


def check_schedule(stage: Stage, data: Data) -> Iterator[Finding]:
    """Report a stage of a single step, at whose beginning a warm-up still has the rate 0."""
    config = stage.config
    if config.epochs * data.train.steps(config.batch) == 1 and config.schedule.factor(0.0, config.epochs) == 0:
        text = (
            "its only step is the first of the warm-up, at which the learning rate is 0: it trains nothing. Take more "
            "epochs, a smaller batch, or a schedule with warmup = 0"
        )
        yield Finding("warning", f"stage {stage.name!r}, schedule", text)


def check_stage(
    stage: Stage,
    student: nn.Module,
    teachers: Sequence[nn.Module],
    data: Data,
    settings: Settings,
    *,
    seed: int = 0,
    stored: StoredAnswers | None = None,
    timed: bool = True,
    stand_ins: StandIns | None = None,
) -> Iterator[Finding]:
    """One dry batch: taps, regressors, each term's value, its gradient into the student.

    With ``timed``, some steps are measured, for the time of the training and the gain of stored answers.
    """
    subject = f"stage {stage.name!r}"
    yield from check_schedule(stage, data)
    try:
        with _seeded(seed, stage.name, settings), _untouched(student):
            yield from _dry_run(
                subject, stage, student, teachers, data, settings, seed, stored, timed, stand_ins or StandIns()
            )
    except UserError as error:
        yield Finding("error", subject, str(error))


def _dry_run(
    subject: str,
    stage: Stage,
    student: nn.Module,
    teachers: Sequence[nn.Module],
    data: Data,
    settings: Settings,
    seed: int,
    stored: StoredAnswers | None,
    timed: bool,
    stand_ins: StandIns,
) -> Iterator[Finding]:
    batch = next(
        data.train.epoch(
            0,
            seed=0,
            batch=min(DRY_BATCH, stage.config.batch),
            augmentation=stage.config.augmentation,
            task=data.task,
            device=settings.torch_device,
            group_by_length=stage.config.group_by_length,
        )
    )
    inputs = settings.prepare(batch.inputs)
    if places := nested.not_finite(inputs):
        broken = batch.ids[places[:5]].tolist()
        raise UserError(f"the data hold NaN or infinity (samples {broken}): mend the data")
    if stage.config.group_by_length is not None:
        refuse_readers_of_padding([student, *teachers], data, settings)
    momenta_of(stage)  # a momentum that cannot be is said before anything trains
    facts, example = facts_of(data), nested.chosen(inputs, slice(2))
    objective = Objective(
        stage.objective,
        student=student,
        teacher=teachers,
        example=example,
        facts=facts,
        teaching=settings.of_teacher.autocast,
        task=data.task,
    )
    notes: list[str] = []
    forms = stand_ins.use(objective, teachers, data, settings, notes.append)
    yield from (Finding("warning", subject, note) for note in notes)
    student.train()
    if len(data.train) == 1 or stage.config.batch == 1:
        _refuse_lonely(student, nested.chosen(inputs, slice(1)), settings)
    norms: dict[str, float] = {}
    for number, (name, part) in enumerate(objective.parts.items()):
        settings.reseed(derived_seed(seed, "check", stage.name, number))
        full = replace(part, schedule=None)  # a term with initial weight 0 trains later
        alone = Objective(Sum((full,)), student=student, teacher=teachers, example=example, facts=facts, task=data.task)
        about = f"{subject}, term {name!r}"
        norm, finding = _check_term(about, alone, part.weight(0.0), inputs, batch, settings)
        yield finding
        yield from (Finding("warning", about, remark) for remark in objective.remarks.get(name, ()))
        if part.term.trains_student and not part.balanced:
            norms[name] = norm
    yield from _dead_terms(subject, norms)
    if not any(p.requires_grad for p in (*student.parameters(), *objective.owned.parameters())):
        return  # its terms have reported it
    step = _step(objective, stage.config, inputs, batch, settings)
    if not timed:
        return
    seconds = min(clock.timed(step, settings.torch_device) for _ in range(2))
    trained = [*student.parameters(), *objective.owned.parameters()]
    moved = sum(p.numel() for p in trained if p.grad is not None)
    if not moved:
        return  # all its terms begin with weight 0
    gain, about_answers = 1.0, list[Finding]()
    if objective.terms.reads.teacher:
        about = f"{subject}, {ABOUT_STORED}"

        def foreseen(stored: StoredAnswers) -> Forecast:
            return _forecast(stored, stage, objective, inputs, len(data.train), seconds)

        if stored and (reason := needs_live_teacher(stored, objective, data, settings)):
            about_answers = [Finding("ok", subject, f"no stored answers: {reason}")]
        elif stored:
            expected = foreseen(stored)
            fits: Literal["ok", "warning"] = "ok" if expected.fits else "warning"
            gain, about_answers = (
                expected.whole_gain,
                [Finding(fits, about, str(expected), worth=True)],
            )
            learned = all(map(stand_ins.has_learned, teachers))  # otherwise their answers cannot be stored
            if learned and (new := passed_over(stored, objective, stage, data, settings, forms, seed)):
                about_answers.append(Finding("ok", about, new))
        elif isinstance(data.train.source, InMemory) and not company_matters(objective, data, settings):
            about_answers = list(_propose_stored(about, objective, foreseen))
    steps = stage.config.epochs * data.train.steps(stage.config.batch)
    samples = min(stage.config.batch, len(data.train))
    estimate = seconds * samples / len(batch) * steps / gain
    text = f"trains {moved:,} parameters for {stage.config.epochs} epochs, roughly {duration(estimate)}"
    yield Finding("ok", subject, text, estimate)
    yield from about_answers


def _propose_stored(
    subject: str, objective: Objective, foreseen: Callable[[StoredAnswers], Forecast]
) -> Iterator[Finding]:
    """They were not requested: report them only where they would pay within this training."""
    reads = objective.terms.reads
    stored, table = StoredAnswers(), "a table [answers]"
    if reads.teacher_taps:
        stored, table = StoredAnswers(taps="exact"), 'a table [answers] with taps = "exact"'
    if stored.needs_live_teacher(reads):
        return
    expected = foreseen(stored)
    if expected.fits and expected.whole_gain > WORTH:
        yield Finding("ok", subject, f"{expected}, if {table} asks for them", worth=True)


def _forecast(
    stored: StoredAnswers, stage: Stage, objective: Objective, inputs: Nested, samples: int, step: float
) -> Forecast:
    device, answers = nested.device(inputs) or torch.device("cpu"), list[tuple[Answer, ...]]()
    seconds = min(clock.timed(lambda: answers.append(objective.ask(inputs)), device) for _ in range(2))
    return forecast(stored, stage, answers[0], samples, seconds, step)


def _step(
    objective: Objective, config: TrainConfig, inputs: Nested, batch: Batch, settings: Settings
) -> Callable[[], None]:
    """Take one complete step on this batch. Patterns that match no names are found before it."""
    optimizer = optimizer_of(config.optimizer, objective.student, objective.owned, config.lr_scale)
    bounds = MaxNorm(objective.student, config.max_norm)

    def step() -> None:
        with settings.autocast():
            outcome = objective(inputs, batch.targets, ids=batch.ids)
        optimizer.zero_grad(set_to_none=True)
        if outcome.loss.requires_grad:
            outcome.loss.backward()
            optimizer.step()
            bounds.apply()

    return step


def _masking(objective: Objective, inputs: Nested) -> str:
    """A finding where the teacher's scores contain -inf, which only a softmax accepts."""
    scores = [score for answer in objective.ask(inputs) for score in answer.named.values()]
    masked = any(bool((score == -torch.inf).any()) for score in scores)
    return ": the teacher masks classes with -inf, take a method on probabilities (kd, dkd, ...)" if masked else ""


def _dead_terms(subject: str, norms: Mapping[str, float]) -> Iterator[Finding]:
    """Terms whose gradient is lost beside the largest one."""
    largest = max(norms, key=norms.__getitem__, default="")
    for name, norm in norms.items():
        if 0 < norm < DEAD * norms[largest]:
            text = (
                f"its gradient on the student, {norm:.2g}, is below {DEAD:g} of that of term {largest!r} "
                f"({norms[largest]:.2g}): it trains next to nothing. Its weight is too small (raise it, or set "
                "balance = true), or its taps hold values that hardly vary (a map of a few places, a value after the "
                "pooling or of dead channels)"
            )
            yield Finding("warning", f"{subject}, term {name!r}", text)


def _check_term(
    subject: str, objective: Objective, at_first: float, inputs: Nested, batch: Batch, settings: Settings
) -> tuple[float, Finding]:
    """The gradient norm of one term without its schedule, and its finding."""
    with settings.autocast():
        outcome = objective(inputs, batch.targets, ids=batch.ids)
    (value,) = outcome.terms.values()
    if not torch.isfinite(value):
        return 0.0, Finding(
            "error", subject, f"its value is {value.item()} on the first batch{_masking(objective, inputs)}"
        )
    (part,) = objective.parts.values()
    factor = part.weight(0.0)
    trained = objective.student if part.term.trains_student else objective.owned
    parameters = [p for p in trained.parameters() if p.requires_grad]
    try:
        differentiable = outcome.loss.requires_grad
        gradients = torch.autograd.grad(outcome.loss, parameters, allow_unused=True) if differentiable else ()
    except RuntimeError as error:
        once = re.search(r"derivative for aten::(\w+?)(?:_backward)? is not implemented", str(error))
        if once is None:
            raise
        (name,) = outcome.terms  # no step can be taken: the check of the stage ends here
        raise UserError(
            f"term {name!r} differentiates a gradient, and PyTorch cannot differentiate that of the network's "
            f"{once[1]}: take another method, or a network without it"
        ) from error
    norm = math.sqrt(sum(exact(g).square().sum().item() for g in gradients if g is not None))
    if not math.isfinite(norm):
        text = f"its gradient is not finite on the first batch{_masking(objective, inputs)}"
        return 0.0, Finding("error", subject, text)
    if norm == 0 and factor != 0:
        if value != 0 or not outcome.loss.requires_grad:
            text = "no gradient of it reaches the student: it would train nothing"
            return 0.0, Finding("error", subject, text)
        if len(batch) == 1 and objective.terms.reads.batch:
            text = "it compares the samples of a batch, and batches of one sample teach it nothing: set a larger batch"
            return 0.0, Finding("error", subject, text)
        return 0.0, Finding("warning", subject, "its value and its gradient are 0 on the first batch")
    owned = [
        f"{type(m).__name__} with {sum(p.numel() for p in m.parameters()):,} parameters"
        for m in (*objective.owned.values(), *objective.adversaries.values())
    ]
    through = f", through {owned[0]}" if owned else ""
    weight = f"{factor:g}" + (f" ({at_first:g} at first)" if at_first != factor else "")
    return norm, Finding("ok", subject, f"value {value.item():.4g}, weight {weight}, gradient {norm:.3g}{through}")


def _refuse_lonely(student: nn.Module, sample: Nested, settings: Settings) -> None:
    """Find a last batch of one sample, which some layers refuse and the larger batch of the check does not show."""
    try:
        with torch.no_grad(), settings.autocast():
            call(student, sample)
    except ValueError as error:
        raise UserError(f"the student cannot learn from batches of one sample ({error}): set a larger batch") from error


@contextmanager
def _seeded(seed: int, stage: str, settings: Settings) -> Iterator[None]:
    """A context with a fixed seed, which leaves the state of the generators outside unchanged."""
    device = settings.torch_device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        settings.reseed(derived_seed(seed, "check", stage))
        yield


@contextmanager
def _untouched(network: nn.Module) -> Iterator[None]:
    """A context after which weights, statistics, gradients and modes are restored."""
    state, gradients = copy_of(network), [(p, p.grad) for p in network.parameters()]
    network.zero_grad(set_to_none=True)  # otherwise the check would add to them in place
    try:
        with evaluating(network):
            yield
    finally:
        restore(network, state)
        for parameter, gradient in gradients:
            parameter.grad = gradient


def duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
