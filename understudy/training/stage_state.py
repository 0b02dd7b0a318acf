"""The state of a stage: the objective with modules of its terms, optimizers, max-norm, the average of weights."""

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import TypedDict

import torch
from torch import Tensor, nn

from understudy.answers import StoredAnswers
from understudy.answers.source import AnswerSource, check_stored
from understudy.config.momenta import TermwiseSGD, momenta_of
from understudy.config.optimizers import SGD, Groups, MaxNorm, adversary_groups, optimizer_of, parameter_groups
from understudy.config.settings import Settings
from understudy.config.stage import STAGE_STRIDE, Stage
from understudy.data.augmentation import Draw
from understudy.data.lengths import shortened
from understudy.data.parts import Batch, Data, Repeats
from understudy.errors import UserError
from understudy.nested import Nested
from understudy.objective import Objective, Outcome
from understudy.objective.balance import gradient_size
from understudy.objective.side_stream import Beside
from understudy.objective.term import Facts, Reading
from understudy.objective.whole import WholeBatch
from understudy.ranks import Ranks, ranks
from understudy.sharding import in_pass
from understudy.teacher.batching import TeacherBatches
from understudy.teacher.shared import Answers, SharedPasses, question
from understudy.teacher.stand_in import StandIns
from understudy.training.averaged import (
    average_gradients,
    check_microbatch,
    check_reached,
    differing,
    microbatches,
)
from understudy.training.averaging import Average, AverageState
from understudy.training.evaluate import objective_loss
from understudy.training.scaling import Scaling, check_float16
from understudy.training.shards import Shards
from understudy.training.state import copy_of, restore_optimizer
from understudy.whole_norm import over_ranks

ADVERSARIES = "adversaries"  # the name of their loss in the log, beside the terms


class StageStateDict(TypedDict):
    """The state of a stage in a checkpoint: the state dicts of modules and optimizers."""

    objective: dict[str, object]
    optimizer: dict[str, object]
    adversaries: dict[str, object] | None
    average: AverageState | None
    scale: dict[str, float] | None
    shares: dict[str, float]


def check_combination(
    stage: Stage, objective: Objective, data: Data, settings: Settings, stored: StoredAnswers | None
) -> None:
    """A ``UserError`` if settings of a stage exclude each other or its terms; the check says so before any training."""
    check_float16(objective, settings, termwise=momenta_of(stage) is not None)
    if settings.microbatch is not None:
        check_microbatch(objective, settings)
    if stored:
        check_stored(stored, stage, objective, data, settings)


class StageState:
    """Takes the steps of a stage. Its ``state`` is all that a step depends on, besides the student.

    ``twin`` makes a copy of a student that is sharded. ``number`` and ``seed`` are the stage's and the training's: what
    is random is drawn from them. ``shared`` are passes of the teachers that other trainings share, and ``stand_ins``
    their copies. ``note`` is called with notes of one line.
    """

    def __init__(
        self,
        stage: Stage,
        student: nn.Module,
        teachers: Sequence[nn.Module],
        data: Data,
        settings: Settings,
        handed: Mapping[str, Tensor] | None = None,
        *,
        twin: Callable[[], nn.Module] | None = None,
        number: int = 0,
        seed: int = 0,
        stored: StoredAnswers | None = None,
        shared: SharedPasses | None = None,
        stand_ins: StandIns | None = None,
        note: Callable[[str], None] = lambda text: None,
    ):
        config = stage.config
        self.ranks = ranks()
        shards_teacher = self.ranks is not None and settings.teacher_shard
        if shards_teacher:
            teachers = [settings.place(teacher) for teacher in teachers]
        if self.ranks is not None and settings.batch_norm == "batch":
            over_ranks(student)  # before terms copy it
        example = settings.prepare(data.example(2, settings.torch_device))
        facts = facts_of(data)
        self.stage, self.student, self.settings, self.data = stage, student, settings, data
        self.number, self.seed, self.note = number, seed, note
        self.objective = Objective(
            stage.objective,
            student=settings.compiled(student),
            teacher=[settings.compiled(teacher) for teacher in teachers],
            example=example,
            facts=facts,
            teaching=settings.of_teacher.autocast,
            queue=Beside(settings.torch_device),
            task=data.task,
            watch=False,
            in_step=True,
            unlabelled=data.unlabelled > 0,
        )
        self._prepare_ranks()
        if handed:
            self._take_over(handed)
        check_combination(stage, self.objective, data, settings, stored)
        self.momenta = momenta_of(stage)
        self.scaling = Scaling(settings)
        self.shards = Shards(student) if twin else None
        self.optimizer: torch.optim.Optimizer
        if self.shards is not None:
            groups = parameter_groups(student, self.objective.owned, config.optimizer.lr, config.lr_scale)
            self.optimizer = config.optimizer.build(self.shards.groups(groups))
        elif self.momenta is None:
            self.optimizer = optimizer_of(config.optimizer, student, self.objective.owned, config.lr_scale)
        else:
            rate = config.optimizer.lr
            self.optimizer = self._termwise(parameter_groups(student, self.objective.owned, rate, config.lr_scale))
        self.weighted: dict[str, Tensor] = {}  # the terms' parts of the loss, where each has its own momentum
        self.adversaries: torch.optim.Optimizer | None = None
        if self.objective.has_adversaries:
            self.adversaries = config.optimizer.build(adversary_groups(self.objective, config.optimizer.lr))
        self.bounds = MaxNorm(student, config.max_norm, self.objective.owned)
        self.average = Average(student, config.ema, twin() if twin else None) if config.ema else None
        forms = (stand_ins or StandIns()).use(self.objective, teachers, data, settings, note)
        if shards_teacher:  # whole ones are read no more
            for teacher in teachers:
                teacher.to("cpu")
        self.stored = AnswerSource.of(stored, self.objective, stage, data, settings, forms, seed=seed, note=note)
        alone = self.stored is not None or config.group_by_length is not None  # batches that are not put together
        self.teacher_batches = None if alone else TeacherBatches.of(self.objective, data, settings, note)
        self.shared = shared if self.stored is None else None
        self.question = question(self.objective, data, config.augmentation, settings, forms) if self.shared else None
        self.reading: Reading | None = None  # of the step that is being taken
        self.spared = 0.0  # seconds that shared answers saved in a step
        self.shares: dict[str, float] = {}  # of the gradient, as last measured
        self._noted = set[str]()  # buffers that differ between processes
        self.reached, self._stepped = 0, False  # a digest of which parameters had gradients, in all steps so far
        measurable = stage.objective.reads.student_output and not data.unlabelled
        self.of_batch = data.task.of_batch if measurable else None
        self._unmeasured = torch.zeros((), device=settings.torch_device)  # in place of a figure that is not measured

    @property
    def network(self) -> nn.Module:
        """The network that is measured and kept."""
        return self.average.network if self.average else self.student

    @property
    def logged(self) -> list[str]:
        """The names of the values that ``losses`` returns between the loss and the figure."""
        return [*self.objective.parts, *([ADVERSARIES] if self.adversaries else [])]

    @property
    def together(self) -> int:
        """The batches of one forward pass of the teachers."""
        return (
            min(self.settings.teacher_batches, self.data.train.steps(self.stage.config.batch))
            if self.teacher_batches
            else 1
        )

    def weights(self) -> dict[str, Tensor]:
        return copy_of(self.network)

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """An epoch's batches from step ``start`` on."""
        config, data, device = self.stage.config, self.data, self.settings.torch_device
        several = config.repeats or 1
        turn, part = divmod(epoch, several)
        numbered = self.number * STAGE_STRIDE + turn
        draws = [self._draw(turn * several + view) for view in range(several)]
        draw = draws[0]
        from_step = partial(
            data.train.epoch,
            numbered,
            seed=self.seed,
            batch=config.batch,
            augmentation=config.augmentation,
            task=data.task,
            device=device,
            draw=draw,
            share=self._share,
            group_by_length=config.group_by_length,
            repeats=Repeats(part, tuple(one.number for one in draws)) if several > 1 else None,
        )
        batches = self.teacher_batches.batches(from_step, start) if self.teacher_batches else from_step(start=start)
        if config.group_by_length is not None and ranks() is None:  # slices of one batch would differ in length
            batches = (shortened(batch, data.train.lengths) for batch in batches)
        yield from batches
        if not self.stored:
            return
        last = data.train.last_of_epoch(numbered, seed=self.seed, batch=config.batch)
        if last is None or part < several - 1:
            return
        for one in draws:  # later epochs need the samples that these left out
            for batch in data.train.viewed([self._share(last)], one, config.augmentation, data.task, device):
                self.stored.answers(batch, self.settings.prepare(batch.inputs))

    def _draw(self, number: int) -> Draw:
        """The view of this number in the stage."""
        if self.stored:
            return self.stored.draw(self.number, number)
        return Draw(self.seed, self.number * STAGE_STRIDE + number)

    def losses(
        self, batch: Batch, epoch: float, *, shares: bool = False, figure: bool = False
    ) -> tuple[Tensor, Tensor]:
        """The student's loss, and everything that is logged; the adversaries, where there are any, step first.

        With ``shares``, each term's share of the gradient on the student is measured too, and with ``figure`` the
        task's first figure, which is the last of the logged values (else 0). Of a batch in microbatches, all but the
        last are gone through backwards already.
        """
        parts = microbatches(batch, self.settings.microbatch)
        if len(parts) == 1:
            return self._losses(batch, epoch, shares, figure)
        self._zero_grad()
        total: Tensor | None = None
        for part in parts[:-1]:
            loss, values = self._losses(part, epoch, False, figure)
            self.scaling.scaled(loss * (len(part) / len(batch))).backward()
            values = values * (len(part) / len(batch))
            total = values if total is None else total + values
        loss, values = self._losses(parts[-1], epoch, shares, figure)
        share = len(parts[-1]) / len(batch)
        assert total is not None
        return loss * share, total + values * share

    def _losses(self, batch: Batch, epoch: float, shares: bool, figure: bool) -> tuple[Tensor, Tensor]:
        """The losses of a batch or a microbatch."""
        if self.shards is None:
            return self._read_and_judged(batch, epoch, shares, figure)
        # Shares of the gradient need gradients of whole weights.
        return in_pass(self.student, lambda: self._read_and_judged(batch, epoch, False, figure))

    def _read_and_judged(self, batch: Batch, epoch: float, shares: bool, figure: bool) -> tuple[Tensor, Tensor]:
        with self.settings.autocast():
            inputs = self.settings.prepare(batch.inputs)
            reading = self.objective.read(
                inputs, batch.targets, epoch=epoch, ids=batch.ids, answers=lambda: self._ask(batch, inputs)
            )
        opposed = [self._step_adversaries(reading)] if self.adversaries else []
        with self.settings.autocast():
            outcome = self.objective.judge(reading)
        self.reading = reading
        if self.momenta is not None:
            self.weighted = outcome.weighted
        if shares:
            self.shares = gradient_shares(self.student, outcome, self.ranks)
        measured = self.of_batch(outcome.answer, batch.targets) if figure and self.of_batch else self._unmeasured
        logged = [outcome.loss.detach(), *outcome.terms.values(), *opposed, measured.to(outcome.loss.dtype)]
        return outcome.loss, torch.stack(logged)

    def _ask(self, batch: Batch, inputs: Nested) -> Answers:
        """The teachers' answers, computed or stored."""
        if self.stored:
            return self.stored.answers(batch, inputs)
        ask = (
            partial(self.teacher_batches.ask, batch, inputs)
            if self.teacher_batches
            else partial(self.objective.ask, inputs)
        )
        if not self.shared or not self.question:
            return ask()
        answers, self.spared = self.shared.answers(self.question, batch, ask)
        return answers

    def validation_loss(self, epoch: float) -> dict[str, float]:
        """The objective's mean over the validation part, of a stage without answers."""
        part, batch = self.data.validation, self.stage.config.batch
        assert part is not None
        answers = self.unviewed.answers if self.unviewed else None
        return objective_loss(self.objective, part, self.settings, epoch=epoch, batch=batch, answers=answers)

    @cached_property
    def unviewed(self) -> AnswerSource | None:
        """Stored answers about the samples of the validation part."""
        validation, stored = self.data.validation, self.stored
        one_source = validation is not None and validation.source is self.data.train.source
        if stored is None or not one_source or (stored.options.fill and not stored.filling):
            return None
        try:
            return stored.unviewed()
        except UserError:
            if stored.filling:
                raise
            return None  # there are none, and nothing is to be added

    def step(self, loss: Tensor) -> None:
        """Compute the gradients and update the student and the modules of terms."""
        if self.momenta is not None:
            self._step_by_term(loss, self.momenta)
        else:
            self._step_by_sum(loss)
        self._stepped = True
        self.bounds.apply()
        assert self.reading is not None
        self.objective.learn(self.reading)
        self.reading = None  # freed before the next values are computed
        if self.average:
            self.average.update()

    def _step_by_sum(self, loss: Tensor) -> None:
        if self.settings.microbatch is None:
            self._zero_grad()
        self.scaling.scaled(loss).backward()
        if self.ranks is not None:
            sharded = self.shards is not None  # FSDP2 has averaged these
            students = () if sharded else self.student.parameters()
            self._average((*students, *self.objective.owned.parameters()), self.ranks)
        if self.shards is not None:
            self.shards.take_gradients()
        self.scaling.step(self.optimizer)
        self.scaling.end_step()
        if self.settings.microbatch is not None:
            self._zero_grad()

    def _average(self, parameters: Iterable[nn.Parameter], ranks: Ranks) -> None:
        """Average gradients over all processes, which must have those of the same parameters."""
        if not self._stepped:
            check_reached((self.student, self.objective.owned), ranks)
        self.reached = zlib.crc32(average_gradients(parameters, ranks), self.reached)

    def _zero_grad(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        if self.shards is not None:
            self.shards.zero_grad()

    def _step_by_term(self, loss: Tensor, momenta: Mapping[str, float]) -> None:
        """A step in which the terms' gradients on the student have momenta of their own."""
        assert isinstance(self.optimizer, TermwiseSGD)
        self.optimizer.zero_grad(set_to_none=True)
        gradients = [self._gradients(loss, list(self.objective.owned.parameters()))]
        for momentum in self.optimizer.momenta:
            parts = [self.weighted[name] for name in momenta if momenta[name] == momentum]
            of_terms = self._gradients(torch.stack(parts).sum(), list(self.student.parameters()))
            gradients.append(of_terms)
        of_owned, *of_student = gradients
        of_student[0] = of_student[0] | of_owned
        self.weighted = {}
        self.optimizer.step_by(of_student)
        for of_terms in of_student:  # ``grad`` is that of the sum, as after any step
            for parameter, gradient in of_terms.items():
                parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient

    def _gradients(self, loss: Tensor, parameters: list[nn.Parameter]) -> dict[Tensor, Tensor]:
        """The gradients of the parameters that a part of the loss reaches; the graph is kept."""
        parameters = [parameter for parameter in parameters if parameter.requires_grad]
        if not parameters or not loss.requires_grad:
            return {}
        torch.autograd.backward(loss, inputs=parameters, retain_graph=True)
        if self.ranks is not None:
            self._average(parameters, self.ranks)
        gradients: dict[Tensor, Tensor] = {p: p.grad for p in parameters if p.grad is not None}
        for parameter in parameters:
            parameter.grad = None
        return gradients

    def _termwise(self, groups: Groups) -> TermwiseSGD:
        assert self.momenta is not None
        assert isinstance(self.stage.config.optimizer, SGD)
        if self.settings.microbatch is not None:
            raise UserError("settings.microbatch adds up one gradient, and each term has its own here: leave it out")
        return TermwiseSGD(groups, self.stage.config.optimizer, tuple(dict.fromkeys(self.momenta.values())))

    def _share(self, ids: Tensor) -> Tensor:
        """This rank's part of a batch."""
        if self.ranks is None:
            return ids
        return ids.tensor_split(self.ranks.world)[self.ranks.rank]

    def _prepare_ranks(self) -> None:
        """On several processes, terms on the whole batch read it, and batch norms of other terms see it."""
        if self.ranks is None:
            return
        self.objective.whole = WholeBatch(self.ranks, self.settings.torch_device)
        for name, owned in self.objective.owned.items():
            if self.settings.batch_norm == "batch" and not self.objective.parts[name].term.reads.batch:
                over_ranks(owned)

    def share_statistics(self) -> None:
        """Where each process has statistics of its own, all take the first one's: those are measured and kept."""
        if self.ranks is None:
            return
        if self.settings.batch_norm == "batch":
            name = differing(self.student.named_buffers(), self.ranks)
            if name is None:
                return
            if name not in self._noted:
                self._noted.add(name)
                self.note(
                    f"the student's buffer {name!r} differs between the processes, since each one changes it by its "
                    "own samples: all go on with the first one's"
                )
        networks = (self.student, self.network, self.objective.owned)
        self.ranks.spread_from_first(buffer for network in networks for buffer in network.buffers())

    def set_rate(self, factor: float) -> None:
        for optimizer in filter(None, (self.optimizer, self.adversaries)):
            for group in optimizer.param_groups:
                group["lr"] = group["base_lr"] * factor

    def handed(self) -> dict[str, Tensor]:
        """The modules of terms that the next stage takes over, by name."""
        return {name.split(".", 1)[1]: value.clone() for name, value in self.objective.owned.state_dict().items()}

    def _take_over(self, handed: Mapping[str, Tensor]) -> None:
        current = self.objective.owned.state_dict()
        fitting = {name: handed.get(name.split(".", 1)[1]) for name in current}
        taken = {
            name: value for name, value in fitting.items() if value is not None and value.shape == current[name].shape
        }
        if not taken:
            raise UserError(f"stage {self.stage.name!r} owns nothing of what the stage before it hands over")
        self.objective.owned.load_state_dict(current | taken)

    def state(self) -> StageStateDict:
        return {
            "objective": self.objective.state_dict(),
            "optimizer": self.shards.state_of(self.optimizer) if self.shards else self.optimizer.state_dict(),
            "adversaries": self.adversaries.state_dict() if self.adversaries else None,
            "average": self.average.state_dict() if self.average else None,
            "scale": self.scaling.state(),
            "shares": self.shares,
        }

    def restore(self, state: StageStateDict) -> None:
        self.objective.load_state_dict(state["objective"])
        if self.shards is not None:
            self.shards.restore(self.optimizer, state["optimizer"])
        else:
            restore_optimizer(self.optimizer, state["optimizer"])
        if self.adversaries and state["adversaries"]:
            restore_optimizer(self.adversaries, state["adversaries"])
        self.scaling.restore(state.get("scale"))  # which checkpoints of before do not have
        self.shares = state["shares"]
        if self.average and state["average"]:
            self.average.load_state_dict(state["average"])

    def _step_adversaries(self, reading: Reading) -> Tensor:
        assert self.adversaries is not None
        with self.settings.autocast():
            loss = self.objective.adversary_loss(reading)
        self.adversaries.zero_grad(set_to_none=True)
        self.scaling.scaled(loss).backward()
        self.scaling.step(self.adversaries)
        return loss.detach()


def gradient_shares(student: nn.Module, outcome: Outcome, ranks: Ranks | None = None) -> dict[str, float]:
    """The share of each term in the gradient on the student: its norm over the sum of all norms."""
    parameters = [p for p in student.parameters() if p.requires_grad]
    norms = {name: gradient_size(value, parameters, ranks).item() for name, value in outcome.weighted.items()}
    total = sum(norms.values())
    return {name: round(norm / total, 6) if total else 0.0 for name, norm in norms.items()}


def facts_of(data: Data) -> Facts:
    """The facts about the data for terms; of the targets only class numbers, where every sample has one."""
    targets = data.train.source.targets
    known = data.task.targets_are_classes and not data.unlabelled
    labels = targets if known and isinstance(targets, Tensor) else torch.empty(0)
    return Facts(len(data.train.source), labels, data.train.ids)
