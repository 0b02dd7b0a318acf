"""The training loop: one network, its teachers, and its stages. A stopped training is resumed with equal bits.

Everything that decides what happens next is in ``_state``; everything random is a function of the seed and the
place (stage, epoch, step). Exact resuming follows from this.
"""

import math
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import TypedDict, cast

import torch
from torch import Tensor, nn

from understudy import bounds, nested, randomness
from understudy.answers import StoredAnswers
from understudy.config.settings import Settings
from understudy.config.stage import Stage
from understudy.data.parts import Batch, Data
from understudy.errors import FailedTrainingError, UserError
from understudy.models.weights import restore
from understudy.objective.term import Reading
from understudy.precision import exact_dtype
from understudy.ranks import one_process, own_shard, ranks, sharded_like, whole_tensor
from understudy.sharding import of_rows, sharded
from understudy.tasks import LOSS
from understudy.teacher.shared import SharedPasses
from understudy.teacher.stand_in import StandIns
from understudy.training import checkpoints
from understudy.training.averaged import Agreement, check_batches, check_begins
from understudy.training.callbacks import Callback
from understudy.training.evaluate import figures
from understudy.training.interrupt import Stopped, StopRequest
from understudy.training.memory import told_in_steps
from understudy.training.metrics import Log
from understudy.training.parts import Share
from understudy.training.progress import Best, Progress
from understudy.training.records import Epoch, Figures, StageEnd, TrainingRecord
from understudy.training.saving import Saver
from understudy.training.shards import check_shards
from understudy.training.stage_state import StageState, StageStateDict
from understudy.training.state import copy_of
from understudy.whole_norm import of_own_rank, over_ranks

SHARES_EVERY = 100  # steps; measuring the terms' gradients costs about half a step for each of them
OVERFLOWING = 10  # one of so many steps may overflow in float16 without a note
FIGURES = 50  # steps of an epoch whose figure is measured, at least, as far as it has so many


class TrainingState(TypedDict):
    """The state of a training in a checkpoint."""

    origin: object
    place: dict[str, object]
    student: dict[str, Tensor]
    stage_state: StageStateDict
    best_weights: dict[str, Tensor] | None
    handed: dict[str, Tensor] | None
    sums: Tensor


class Training:
    """One network's training through its stages.

    Args:
        student: trained in place.
        teachers: any number, never changed.
        stages: run in order; ``data``, ``seed`` and ``settings`` are those of all of them.
        checkpoint_folder, metrics: where checkpoints and the log go; None keeps everything in memory.
        every: seconds between two checkpoints.
        stored: whether and where the teachers' answers are stored.
        shared: forward passes of the teachers that other trainings of this process share.
        stand_ins: the teachers' copies in low precision that other trainings of this process share.
        origin: the identity of the training; a checkpoint of another training is refused.
        ends: the epochs after which the stages end, while their schedules are those of all epochs.
    """

    def __init__(
        self,
        student: nn.Module,
        teachers: Sequence[nn.Module],
        stages: Sequence[Stage],
        data: Data,
        *,
        seed: int = 0,
        settings: Settings | None = None,
        checkpoint_folder: Path | None = None,
        metrics: Path | None = None,
        name: str = "student",
        callback: Callback | None = None,
        stop: StopRequest | None = None,
        every: float = 20.0,
        stored: StoredAnswers | None = None,
        shared: SharedPasses | None = None,
        stand_ins: StandIns | None = None,
        origin: checkpoints.Origin | None = None,
        ends: Sequence[int] = (),
    ):
        self.settings = settings or Settings()
        bounds.check(self.settings, "settings")
        for stage in stages:
            bounds.check(stage.config, f"stage {stage.name!r}: config")
        for stage in stages:
            check_shards(stage, self.settings, stored=stored is not None)
        self.whole = self.student = self.settings.place(student)
        self.teachers = [self.settings.place(teacher) for teacher in teachers]
        self.stages, self.data, self.seed, self.name = list(stages), data, seed, name
        self.epochs = list(ends) or [stage.config.epochs for stage in self.stages]
        self.ranks = ranks()
        if self.ranks is None:
            one_process("a training")
        else:
            check_begins(self.whole, self.ranks)
        if self.ranks is not None and self.settings.parallel == "fsdp":
            self.student = self._sharded()
            self.whole.to("cpu")  # until the training ends
        self.first = self.ranks is None or self.ranks.rank == 0  # rank 0 writes
        self.agreement = Agreement(self.ranks)
        self.callback = callback if callback is not None and self.first else Callback()
        self.stop = StopRequest() if stop is None else stop  # a new request is false
        self.checkpoint_folder = checkpoint_folder
        self.log = Log(metrics if self.first else None)
        self.every = every
        self.stored, self.shared, self.origin = stored, shared, origin
        self.stand_ins = stand_ins or StandIns()
        self.place = Progress()
        self.handed: dict[str, Tensor] | None = None  # the modules that the previous stage passes on
        self.last: dict[str, Tensor] | None = None  # the last epoch's weights, where the best ones are kept

    def run(self) -> TrainingRecord:
        """Train, or continue a training, and return the outcome of each stage."""
        with self.surroundings():
            for _ in self.steps():
                pass
        return self.ended()

    @contextmanager
    def surroundings(self) -> Iterator[None]:
        """The context of this training's steps, which is left while other trainings take theirs."""
        devices = [self.settings.torch_device] if self.settings.torch_device.type == "cuda" else []
        with self.settings.in_force(), torch.random.fork_rng(devices):
            try:
                yield
            finally:
                of_own_rank(self.student)

    def steps(self) -> Iterator[None]:
        """Train, or continue a training, and yield after each step; to be resumed within ``surroundings``."""
        if self.ranks is not None:
            for stage in self.stages:
                check_batches(stage, self.data, self.ranks)
        newest = self._newest()
        for warning in newest.warnings if newest else []:
            self.callback.note(warning)
        resumed = cast(TrainingState | None, newest.state if newest else None)  # written by ``_state``
        epochs = {stage.name: epochs for stage, epochs in zip(self.stages, self.epochs, strict=True)}
        self.callback.training_begins(self.name, epochs, self.total_steps)
        if resumed:
            if self.origin:
                self.origin.resume(resumed.get("origin"), self.callback.note)
            self.place = Progress.of(resumed["place"])
            restore(self.student, resumed["student"])
            self.handed = resumed["handed"]
        self.log.shorten(self.place.logged)
        try:
            while self.place.stage < len(self.stages):
                yield from self._stage(resumed)
                resumed = None
        except BaseException:
            if self.saver is not None:
                self.saver.abandon()  # the error at hand says more
            raise
        self.finish_saving()
        self._unshard()

    def _sharded(self) -> nn.Module:
        """A copy of the whole student, which is sharded."""
        inputs = self.settings.prepare(self.data.example(2, self.settings.torch_device))
        over = over_ranks if self.settings.batch_norm == "batch" else lambda network: None
        taps = [tap for stage in self.stages for tap in stage.objective.reads.student_taps]
        return sharded(self.whole, inputs, self.settings.torch_device, taps=taps, called="the student", prepare=over)

    def _twin(self) -> nn.Module:
        """Another copy, with the weights that the student has now."""
        twin = self._sharded()
        restore(twin, self.student.state_dict())
        return twin

    def _unshard(self) -> None:
        """The whole student gets the weights of one that was sharded."""
        if self.student is self.whole:
            return
        own = self.whole.state_dict()
        with torch.no_grad():
            for name, value in self.student.state_dict().items():
                own[name].copy_(whole_tensor(value))
        if self.last is not None:
            self.last = {name: whole_tensor(value).cpu() for name, value in self.last.items()}
        self.settings.place(self.whole)

    def _newest(self) -> checkpoints.Newest | None:
        """The checkpoint to continue from; on several processes the one that rank 0 chooses."""
        folder, share = self.checkpoint_folder, self._share()
        found = checkpoints.newest(folder, share) if folder is not None and self.first else None
        if self.ranks is None:
            return found
        path = self.ranks.from_first(found.path if found is not None and found.state is not None else None)
        return found if self.first or path is None else checkpoints.Newest(checkpoints.read(path, share), path, [])

    def _share(self) -> Share | None:
        """What this rank reads of a checkpoint in parts, where the student is sharded."""
        if self.ranks is None or self.student is self.whole:
            return None
        placed = partial(of_rows, device=self.settings.torch_device)
        return Share(self.ranks.rank, self.ranks.world, placed)

    @property
    def total_steps(self) -> int:
        """The steps of all stages, if patience ends none of them."""
        steps = [self.data.train.steps(stage.config.batch) for stage in self.stages]
        return sum(epochs * of_epoch for epochs, of_epoch in zip(self.epochs, steps, strict=True))

    def ended(self) -> TrainingRecord:
        """The outcome of each stage, after the last one."""
        place = self.place
        return TrainingRecord(training=self.name, stages=place.ends, seconds=place.seconds, steps=place.steps)

    def _stage(self, resumed: TrainingState | None) -> Iterator[None]:
        """One stage from its beginning, or from the place in a checkpoint."""
        number, stage = self.place.stage, self.stages[self.place.stage]
        self.open(stage, resumed)
        epochs = self.epochs[number]
        self.callback.stage_begins(stage.name, str(stage.objective), epochs, self.place.epoch)
        if resumed is None:
            self.save()
        while self.place.epoch < epochs and not self._out_of_patience(stage):
            yield from self._epoch(stage)
        self._close(stage)
        self.place.stage, self.place.epoch, self.place.step, self.place.best = number + 1, 0, 0, None

    def open(self, stage: Stage, resumed: TrainingState | None = None) -> None:
        """The state of a stage, restored where the training is resumed."""
        device = self.settings.torch_device
        torch.manual_seed(randomness.derived_seed(self.seed, "owned", self.place.stage))
        self.stage_state = StageState(
            stage,
            self.student,
            self.teachers,
            self.data,
            self.settings,
            self.handed,
            twin=self._twin if self.student is not self.whole else None,
            number=self.place.stage,
            seed=self.seed if stage.config.order_seed is None else stage.config.order_seed,
            stored=self.stored,
            shared=self.shared,
            stand_ins=self.stand_ins,
            note=self.callback.note,
        )
        self.best_weights: dict[str, Tensor] | None = None
        self.sums = torch.zeros(2 + len(self.stage_state.logged), dtype=exact_dtype(device), device=device)
        if resumed:
            self.stage_state.restore(resumed["stage_state"])
            best, own = resumed["best_weights"], self.student.state_dict()
            self.best_weights = best and {name: sharded_like(value, own[name]) for name, value in best.items()}
            self.sums.copy_(resumed["sums"])
        self.saved_at = time.monotonic()

    def _epoch(self, stage: Stage) -> Iterator[None]:
        place, began = self.place, time.monotonic()
        for batch in self.batches(stage):
            self.advance(stage, batch, began)
            yield
            began = time.monotonic()
        self._check_finite()
        steps = self.data.train.steps(stage.config.batch)
        self._check_scale(stage, steps)
        self.stage_state.share_statistics()
        record = self._record(stage, steps)
        place.seconds += time.monotonic() - began
        place.epoch, place.step = place.epoch + 1, 0
        self.sums.zero_()
        place.logged = self.log.write(record)
        self.callback.epoch_ends(record)

    def batches(self, stage: Stage) -> Iterator[Batch]:
        """The remaining steps of the current epoch."""
        self.student.train()
        self.stage_state.objective.train()
        return self.stage_state.batches(self.place.epoch, self.place.step)

    def advance(self, stage: Stage, batch: Batch, began: float) -> None:
        """One step of the current epoch, and what is due between two steps; ``began`` is the end of the last one."""
        place, steps = self.place, self.data.train.steps(stage.config.batch)
        shares = place.step == steps - 1 and len(stage.objective.parts) > 1 and self._shares_due(stage, steps)
        with told_in_steps(f"{self.name}, stage {stage.name!r}", len(batch), self.settings):
            self._step(stage, batch, place.epoch + place.step / steps, shares=shares)
        place.step += 1
        place.steps += 1
        self._between_steps(began)

    def _shares_due(self, stage: Stage, steps: int) -> bool:
        """In the first epoch and the last, and in each between that completes another ``SHARES_EVERY`` steps."""
        epoch = self.place.epoch
        completes = (epoch + 1) * steps // SHARES_EVERY > epoch * steps // SHARES_EVERY
        return completes or epoch in (0, self.epochs[self.place.stage] - 1)

    def _step(self, stage: Stage, batch: Batch, epoch: float, *, shares: bool) -> None:
        place = self.place
        seed = randomness.derived_seed(self.seed, "step", place.stage, place.steps)
        if self.ranks is not None:
            assert self.stage_state.objective.whole is not None
            self.stage_state.objective.whole.begin(seed)
            seed = randomness.derived_seed(seed, "rank", self.ranks.rank)
        self.settings.reseed(seed)  # dropout's
        self.stage_state.set_rate(stage.config.schedule.factor(epoch, stage.config.epochs))
        steps = self.data.train.steps(stage.config.batch)
        figure = place.step % _between_figures(steps) == 0
        loss, values = self.stage_state.losses(batch, epoch, shares=shares, figure=figure)
        due = self.ranks is not None and time.monotonic() - self.saved_at >= self.until_next_save
        reached = self.stage_state.reached & 0xFFFF
        has_part = self.saver is not None and self.saver.has_part
        stop = bool(self.stop)
        self.sums += self.agreement.mean(values, stop=stop, save=due, reached=reached, has_part=has_part)
        if self.settings.torch_device.type == "cpu":
            self._check_finite(batch)
        self.stage_state.step(loss)

    def _between_steps(self, began: float) -> None:
        """Save when it is time, and end when a stop is requested."""
        place = self.place
        place.seconds += time.monotonic() - began + self.stage_state.spared
        self.stage_state.spared = 0.0
        here = self.settings.torch_device.type == "cpu"  # elsewhere, reading the loss would synchronise with the device
        self.callback.step(place.steps, self.sums[0].item() / place.step if here else None)
        if self.agreement.stop if self.ranks else self.stop:
            self.save(wait=True)
            raise Stopped(self.stop.signal_number or signal.SIGTERM)
        due = time.monotonic() - self.saved_at >= self.until_next_save
        if self.agreement.save if self.ranks else due:
            self.save()
        elif self.agreement.written:
            self.finish_saving()

    def save(self, *, wait: bool = False) -> None:
        """Save all that determines how the training continues, between two steps; ``wait`` until it is written."""
        if self.checkpoint_folder is not None:
            self._check_finite()
            if self.saver is not None:
                self.saver.write(self.place.steps * 100 + self.place.stage, self._state(), wait=wait)
        self.saved_at = time.monotonic()

    @cached_property
    def saver(self) -> Saver | None:
        """What writes the checkpoints: on the first rank, and on all where the student is sharded."""
        in_parts = self.ranks if self.student is not self.whole else None
        if self.checkpoint_folder is None or not (self.first or in_parts):
            return None
        shares_cores = self.settings.torch_device.type == "cpu"
        return Saver(self.checkpoint_folder, self.every, shares_cores=shares_cores, ranks=in_parts)

    def finish_saving(self) -> None:
        """Wait for the checkpoint that is being written."""
        if self.saver is not None:
            self.saver.finish()

    @property
    def until_next_save(self) -> float:
        """Seconds between two checkpoints."""
        return self.saver.until_next if self.saver else self.every

    def _state(self) -> TrainingState:
        """All that determines how the training continues."""
        return {
            "origin": self.origin.state() if self.origin else None,
            "place": self.place.state(),
            "student": self.student.state_dict(),
            "stage_state": self.stage_state.state(),
            "best_weights": self.best_weights,
            "handed": self.handed,
            "sums": self.sums,
        }

    def _check_finite(self, batch: Batch | None = None) -> None:
        """NaN or infinity ends the training before anything of it is saved."""
        if math.isfinite(self.sums.sum().item()):
            return
        names = [
            name
            for name, value in zip(self.stage_state.logged, self.sums[1:-1].tolist(), strict=True)
            if not math.isfinite(value)
        ] or ["the sum of all terms"]
        place, stage = self.place, self.stages[self.place.stage].name
        where = f"stage {stage!r}, epoch {place.epoch + 1}, step {place.step + 1}"
        if batch is not None and (places := nested.not_finite(batch.inputs)):
            broken = batch.ids[places[:5]].tolist()
            raise UserError(f"{self.name}: the data hold NaN or infinity ({where}, samples {broken}): mend the data")
        reading = self.stage_state.reading
        if batch is not None and reading is not None and (broken_answer := _broken_answer(reading)):
            raise UserError(
                f"{self.name}: the teacher answers with NaN or infinity ({where}, {broken_answer}): run it in float32 "
                '(settings.teacher_precision = "float32"), or mend it'
            )
        newest = checkpoints.newest(self.checkpoint_folder) if self.checkpoint_folder else None
        kept = f"; the last good checkpoint is {newest.path}" if newest and newest.state else ""
        raise self._diverged(
            f"the loss is no longer a number ({where}, term {', '.join(names)}): "
            f"lower the learning rate or the term's weight{kept}"
        )

    def _check_scale(self, stage: Stage, steps: int) -> None:
        """In float16, steps that overflow are left out: many are a note, and all of them at any scale an error."""
        left_out = self.stage_state.scaling.left_out()
        if left_out * OVERFLOWING <= steps:
            return
        text = (
            f"stage {stage.name!r}, epoch {self.place.epoch + 1}: {left_out} of {steps} steps were left out, since "
            'their gradients overflowed: set precision = "bfloat16" or "float32" in the settings'
        )
        if left_out >= steps and self.stage_state.scaling.scale < 1:
            raise self._diverged(text, reason="its gradients overflow in float16")
        self.callback.note(f"{self.name}, {text}, unless this ends after the first steps")

    def _diverged(self, text: str, reason: str = "its loss is no longer a number") -> FailedTrainingError:
        return FailedTrainingError(f"{self.name}: {text}", training=self.name, reason=reason)

    def _record(self, stage: Stage, steps: int) -> Epoch:
        """Write the epoch's line in the log, and keep the best weights so far."""
        loss, *terms, figure = (self.sums / steps).tolist()
        measured = figure * steps / -(-steps // _between_figures(steps))
        epoch = Epoch(
            training=self.name,
            stage=stage.name,
            epoch=self.place.epoch + 1,
            lr=self.stage_state.optimizer.param_groups[0]["lr"],
            loss=loss,
            terms=dict(zip(self.stage_state.logged, terms, strict=True)),
            weights=self.stage_state.objective.weights(self.place.epoch),
            gradient_shares=self.stage_state.shares,
            train={self.data.task.selecting.name: measured} if self.stage_state.of_batch else {},
            seconds=round(self.place.seconds, 3),
        )
        if self.data.validation is None:
            return epoch
        validation = self._validate(stage, epoch.epoch)
        self._keep_best(stage, epoch.epoch, validation)
        return epoch.model_copy(update={"validation": validation})

    def _keep_best(self, stage: Stage, epoch: int, validation: Figures) -> None:
        """Keep a copy of the weights where they are the best so far on validation."""
        selecting = self.data.task.selecting
        value = selecting.quality(validation[selecting.name]) if selecting.name in validation else -validation[LOSS]
        if not math.isfinite(value):
            name = selecting.title if selecting.name in validation else "loss"
            raise self._diverged(f"the validation {name} is no longer a number (epoch {epoch})")
        if self.place.best is None or value > self.place.best.value:
            self.place.best = Best(epoch, value, validation)
            if stage.config.keep == "best":
                self.best_weights = self.stage_state.weights()

    def _validate(self, stage: Stage, epoch: float) -> Figures:
        assert self.data.validation is not None
        self.settings.reseed(randomness.derived_seed(self.seed, "validation", self.place.stage, self.place.epoch))
        if stage.answers or stage.objective.reads.student_output:
            return figures(self.stage_state.network, self.data.validation, self.data.task, self.settings)
        with self._averaged():
            return self.stage_state.validation_loss(epoch)

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """A context in which the student has the weights that would be kept, for evaluation."""
        if self.stage_state.average is None:
            yield
            return
        trained = copy_of(self.student)
        self.student.load_state_dict(self.stage_state.network.state_dict())
        try:
            yield
        finally:
            restore(self.student, trained)

    def _out_of_patience(self, stage: Stage) -> bool:
        patience, best = stage.config.patience, self.place.best
        return patience is not None and best is not None and self.place.epoch - best.epoch >= patience

    def _close(self, stage: Stage) -> None:
        """Load the stage's best or last weights, and keep the last ones as ``last``."""
        self.last = self.stage_state.weights()
        self.handed = self.stage_state.handed() if stage.hands_over else None
        best = self.place.best
        kept = self.best_weights if stage.config.keep == "best" and self.best_weights is not None else self.last
        broken = [name for name, _ in self.student.named_parameters() if not own_shard(kept[name]).isfinite().all()]
        if self.ranks is not None and self.student is not self.whole:  # each rank sees its parts
            broken = list(chain(*self.ranks.objects(broken)))
        if broken:
            raise self._diverged(
                f"weight {broken[0]!r} is no longer a number after the last step of stage {stage.name!r}: "
                "lower the learning rate or the term's weight"
            )
        restore(self.student, kept)
        taught = stage.objective.reads.teacher
        end = StageEnd(stage=stage.name, taught=taught, epochs=self.place.epoch, kept="last")
        if kept is not self.last and best is not None:
            end = end.model_copy(update={"kept": "best", "best_epoch": best.epoch, "validation": best.scores})
        elif self.data.validation is not None:
            end = end.model_copy(update={"validation": self._validate(stage, self.place.epoch)})
        self.place.ends.append(end)


def _broken_answer(reading: Reading) -> str | None:
    """Where a teacher answers with NaN or infinity, and to which samples; minus infinity may be meant (a mask)."""
    for teacher in reading.teachers:
        for place, value in teacher.tensors().items():
            broken = (value.isnan() | (value == torch.inf)).flatten(1).any(1).nonzero().flatten()
            if len(broken):
                return f"{str(place)!r}" + (
                    "" if reading.ids is None else f", samples {reading.ids[broken[:5]].tolist()}"
                )
    return None


def _between_figures(steps: int) -> int:
    """Of an epoch of so many steps, the figure is measured in every n-th one."""
    return max(1, steps // FIGURES)
