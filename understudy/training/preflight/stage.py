"""The check of a stage: one batch through all networks and terms, and the time that its training takes."""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal

import torch
from torch import nn

from understudy import nested
from understudy.answers import StoredAnswers
from understudy.answers.forecast import Forecast, forecast
from understudy.answers.source import as_read, needs_live_teacher, passed_over, refuse_unfilled
from understudy.answers.top import flattened
from understudy.config import hardware as clock
from understudy.config.momenta import momenta_of
from understudy.config.optimizers import MaxNorm, optimizer_of
from understudy.config.settings import Settings
from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.data.lengths import of_mean_length
from understudy.data.parts import Batch, Data, Part
from understudy.data.sources import InMemory
from understudy.errors import UserError
from understudy.models.weights import restore
from understudy.nested import Nested
from understudy.objective import Objective, Outcome, evaluating
from understudy.objective.term import Sum
from understudy.precision import exact
from understudy.randomness import derived_seed
from understudy.taps import Answer, call
from understudy.teacher.batching import company_matters
from understudy.teacher.stand_in import StandIns
from understudy.training.padding import refuse_readers_of_padding
from understudy.training.preflight.data import DRY_BATCH
from understudy.training.preflight.findings import ABOUT_STORED, Finding, duration
from understudy.training.preflight.tokens import misaligned
from understudy.training.stage_state import check_combination, facts_of
from understudy.training.state import copy_of

DEAD = 1e-4  # of the largest gradient of a term, below which a term's gradient on the student is lost
ROUNDED = 1e-9  # below this a gradient between a batch of one sample and itself is rounding
WORTH = 1.2  # times the speed of a training, from which on stored answers are proposed


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
    if stage.config.augmentation.flip and (reason := data.task.unmirrored()):
        yield Finding("warning", subject, f"flip mirrors images: {reason}")
    facts, example = facts_of(data), nested.chosen(inputs, slice(2))
    objective = Objective(
        stage.objective,
        student=student,
        teacher=teachers,
        example=example,
        facts=facts,
        teaching=settings.of_teacher.autocast,
        task=data.task,
        watch=False,
        unlabelled=data.unlabelled > 0,
    )
    noise, reads = stage.config.augmentation.tokens, objective.terms.reads
    clean = stored is not None and stored.clean and reads.teacher
    if noise is not None:
        reason = noise.doubt(data.task, labels=reads.labels, taught=reads.teacher, clean=clean)
        yield from [Finding("warning", subject, reason)] if reason else []
    check_combination(stage, objective, data, settings, stored)
    notes: list[str] = []
    forms = stand_ins.use(objective, teachers, data, settings, notes.append)
    yield from (Finding("warning", subject, note) for note in notes)
    learned = all(map(stand_ins.has_learned, teachers))  # otherwise their answers cannot be stored yet
    if stored:
        refuse_unfilled(stored, objective, stage, data, settings, forms, seed, learned=learned)
    student.train()
    if len(data.train) == 1 or stage.config.batch == 1:
        _refuse_lonely(student, nested.chosen(inputs, slice(1)), settings)
    answered = batch
    if data.unlabelled:  # terms that read no teacher's answer are tried on a batch whose samples all have a target
        with torch.no_grad(), settings.autocast():
            answered = replace(batch, targets=objective.read(inputs, batch.targets, ids=batch.ids).targets)
    norms: dict[str, float] = {}
    for number, (name, part) in enumerate(objective.parts.items()):
        settings.reseed(derived_seed(seed, "check", stage.name, number))
        full = replace(part, schedule=None)  # a term with initial weight 0 trains later
        alone = Objective(
            Sum((full,)),
            student=student,
            teacher=teachers,
            example=example,
            facts=facts,
            task=data.task,
            watch=False,
            unlabelled=data.unlabelled > 0 and part.term.reads.teacher_output,
        )
        seen = batch if alone.unlabelled else answered
        about = f"{subject}, term {name!r}"
        norm, finding = _check_term(about, alone, part.weight(0.0), inputs, seen, settings)
        yield finding
        yield from (Finding("warning", about, remark) for remark in objective.remarks.get(name, ()))
        if part.term.trains_student and not part.balanced:
            norms[name] = norm
    yield from misaligned(subject, objective, inputs)
    yield from _dead_terms(subject, norms)
    if not any(p.requires_grad for p in (*student.parameters(), *objective.owned.parameters())):
        return  # its terms have reported it
    if not timed:
        _step(objective, stage, inputs, batch, settings)
        return
    if stage.config.group_by_length is not None:
        inputs = of_mean_length(inputs, data.train.lengths, data.train.ids)
    step = _step(objective, stage, inputs, batch, settings)
    seconds = min(clock.timed(step, settings.torch_device) for _ in range(2))
    trained = [*student.parameters(), *objective.owned.parameters()]
    moved = sum(p.numel() for p in trained if p.grad is not None)
    if not moved:
        return  # all its terms begin with weight 0
    gain, about_answers = 1.0, list[Finding]()
    if objective.terms.reads.teacher:
        about = f"{subject}, {ABOUT_STORED}"

        def foreseen(stored: StoredAnswers) -> Forecast:
            return _forecast(stored, stage, objective, inputs, data.train, seconds)

        if stored and (reason := needs_live_teacher(stored, objective, data, settings)):
            about_answers = [Finding("ok", subject, f"no stored answers: {reason}")]
        elif stored:
            expected = foreseen(stored)
            fits: Literal["ok", "warning"] = "ok" if expected.fits else "warning"
            gain, about_answers = (
                expected.whole_gain,
                [Finding(fits, about, str(expected), worth=True)],
            )
            if learned and stored.top is not None and objective.terms.reads.teacher_output:
                texts = flattened(stored, objective, as_read(stored, objective.ask(inputs)))
                about_answers += [Finding("warning", about, text) for text in texts]
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
    stored: StoredAnswers, stage: Stage, objective: Objective, inputs: Nested, part: Part, step: float
) -> Forecast:
    device, answers = nested.device(inputs) or torch.device("cpu"), list[tuple[Answer, ...]]()
    seconds = min(clock.timed(lambda: answers.append(objective.ask(inputs)), device) for _ in range(2))
    return forecast(stored, stage, answers[0], part, seconds, step)


def _step(objective: Objective, stage: Stage, inputs: Nested, batch: Batch, settings: Settings) -> Callable[[], None]:
    """Take one complete step on this batch. Patterns that match no names are found before it."""
    config, momenta = stage.config, momenta_of(stage)
    optimizer = optimizer_of(config.optimizer, objective.student, objective.owned, config.lr_scale)
    bounds = MaxNorm(objective.student, config.max_norm, objective.owned)

    def step() -> None:
        with settings.autocast():
            outcome = objective(inputs, batch.targets, ids=batch.ids)
        optimizer.zero_grad(set_to_none=True)
        if outcome.loss.requires_grad:
            _backward(objective, outcome, momenta)
            optimizer.step()
            bounds.apply()

    return step


def _backward(objective: Objective, outcome: Outcome, momenta: Mapping[str, float] | None) -> None:
    """The gradients of a step: in one pass, or where terms have momenta of their own in one for each momentum."""
    if momenta is None:
        outcome.loss.backward()
        return
    parts = {
        momentum: [outcome.weighted[name] for name in momenta if momenta[name] == momentum]
        for momentum in momenta.values()
    }
    of_owned = (outcome.loss, objective.owned)
    for loss, module in (of_owned, *((torch.stack(part).sum(), objective.student) for part in parts.values())):
        parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        if parameters and loss.requires_grad:
            torch.autograd.backward(loss, inputs=parameters, retain_graph=True)


def _masking(objective: Objective, inputs: Nested) -> str:
    """A finding where the teacher's scores contain -inf, which only a softmax accepts."""
    scores = [score for answer in objective.ask(inputs) for score in answer.named.values()]
    masked = any(bool((score == -torch.inf).any()) for score in scores)
    return ": the teacher masks classes with -inf, take a method on probabilities (kd, dkd, ...)" if masked else ""


def _rounding(
    objective: Objective, inputs: Nested, batch: Batch, parameters: Sequence[nn.Parameter], settings: Settings
) -> str:
    """A finding where only the arithmetic makes a gradient infinite; PyTorch's three-dimensional convolutions do so."""
    if settings.precision == "float32":
        return ""
    gradients = torch.autograd.grad(objective(inputs, batch.targets, ids=batch.ids).loss, parameters, allow_unused=True)
    if not all(g is None or bool(g.isfinite().all()) for g in gradients):
        return ""
    return f' in {settings.precision}, and is in float32: set precision = "float32" in the settings'


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
        once = re.search(r"derivative for '?(?:aten::)?(\w+?)(?:_backward)?'? is not implemented", str(error))
        if once is None:
            raise
        (name,) = outcome.terms  # no step can be taken: the check of the stage ends here
        raise UserError(
            f"term {name!r} differentiates a gradient, and PyTorch cannot differentiate that of the network's "
            f"{once[1]}: take another method, or a network without it"
        ) from error
    norm = math.sqrt(sum(exact(g).square().sum().item() for g in gradients if g is not None))
    if not math.isfinite(norm):
        reason = _masking(objective, inputs) or _rounding(objective, inputs, batch, parameters, settings)
        text = f"its gradient is not finite on the first batch{reason}"
        return 0.0, Finding("error", subject, text)
    alone = len(batch) == 1 and objective.terms.reads.batch
    if alone and norm < ROUNDED and value == 0:
        norm = 0.0
    if norm == 0 and factor != 0:
        if value != 0 or not outcome.loss.requires_grad:
            text = "no gradient of it reaches the student: it would train nothing"
            return 0.0, Finding("error", subject, text)
        if alone:
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
