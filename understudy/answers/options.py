"""The options of stored answers: which values are stored, and where."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

from understudy.bounds import STRICT, Count, Epochs, Seed
from understudy.config.stage import STAGE_STRIDE
from understudy.config.train import TrainConfig
from understudy.data.augmentation import PLAIN, Augmentation, Draw
from understudy.errors import UserError
from understudy.objective.term import Reads
from understudy.taps import Tap


@dataclass(frozen=True)
class StoredAnswers:
    """The teacher runs once for each view of a sample; later epochs read its answer from a file.

    Args:
        views: so many views of each sample are drawn, then seen again: epoch e sees view e modulo ``views``.
        seed: of the views. None: each training draws its own, and with as many views as epochs it ends equal to one
            without stored answers. A number: all seeds, methods and stages see the same views and share their answers.
        taps: whether stages that read the teacher's hidden values are served from a file too, and in which numbers.
            ``"live"``: the teacher runs each time, because hidden values can take much space.
        logits: the numbers in which outputs are kept: as they are, or rounded to 16 bits.
        top: the number of largest logits that are kept; all other classes share the remaining probability.
        packed: keep these in few bits each: ten of 1,000 classes in 24 bytes, their probabilities to about a hundredth.
        folder: where the files are; by default ``stored`` in the run folder. Trainings, runs and sweeps may share one.
        fill: False only reads: a folder without the answers of this teacher is refused.
        clean: the teacher answers for each sample as it is, once; the student sees its changed forms beside that
            answer, as CAN's authors store logits. ``views`` then limits nothing.

    >>> StoredAnswers(views=8).views
    8
    """

    views: Epochs = 8
    seed: Seed | None = None
    taps: Literal["live", "exact", "bfloat16", "float16"] = "live"
    logits: Literal["exact", "bfloat16", "float16"] = "exact"
    top: Count | None = None
    packed: bool = False
    folder: str | None = None
    fill: bool = True
    clean: bool = False
    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    def within(self, run: Path | None) -> "StoredAnswers":
        """The same options with a folder, by default in the run folder."""
        if self.folder is not None:
            return replace(self, folder=str(Path(self.folder).expanduser()))
        if run is None:
            raise UserError(
                "stored answers need a folder: name one, as in StoredAnswers(folder=...), or a run folder (out=)"
            )
        return replace(self, folder=str(run / "stored"))

    def aside(self, folder: Path) -> "StoredAnswers":
        """The same in another folder, which it fills: for measurements, which leave the user's own alone."""
        return replace(self, folder=str(folder), fill=True)

    def epochs_asked(self, config: TrainConfig) -> int:
        """The epochs of a training in which the teacher runs; in all others its answers are read."""
        if config.augmentation == PLAIN or self.clean:
            return 1
        several = config.repeats or 1  # so many epochs see the same views of other samples
        return min(self.views, -(-config.epochs // several) * several)

    def mostly_read(self, config: TrainConfig, reads: Reads) -> bool:
        """Whether most steps of a stage can read answers: of an earlier epoch, or of another training."""
        if not reads.teacher or self.needs_live_teacher(reads):
            return False
        return self.clean or self.seed is not None or 2 * self.epochs_asked(config) <= config.epochs

    def kept(self, place: Tap | str) -> str:
        """How a value is kept: a tap's, or the output of this name."""
        if isinstance(place, Tap):
            return self.taps
        if self.top is None:
            if self.packed:
                raise UserError(
                    "answers.packed keeps the largest logits in few bits: set answers.top, such as top = 10"
                )
            return self.logits
        if self.logits != "exact":
            raise UserError(
                f'answers.top keeps the largest logits, and answers.logits = "{self.logits}" all: leave one out'
            )
        return f"top-{self.top}{'-packed' if self.packed else ''}"

    def seen_by_teacher(self, augmentation: Augmentation) -> Augmentation:
        """The augmentation of the samples to which the teacher's answers belong."""
        if self.clean and augmentation.mixes:
            raise UserError(
                "answers.clean keeps the answer to each sample as it is, and a mixture of two samples has none: "
                "leave out mixup and cutmix, or clean"
            )
        return PLAIN if self.clean else augmentation

    def draw(self, augmentation: Augmentation, seed: int, stage: int, epoch: int) -> Draw:
        """Which views an epoch sees. Those of a stage without augmentation are always the same."""
        if augmentation == PLAIN:
            return Draw(0, 0)
        if self.clean:
            return Draw(seed if self.seed is None else self.seed, stage * STAGE_STRIDE + epoch)
        if self.seed is not None:
            return Draw(self.seed, epoch % self.views)
        return Draw(seed, stage * STAGE_STRIDE + epoch % self.views)

    def needs_live_teacher(self, reads: Reads) -> str | None:
        """Why a stage cannot be served from a file, where it cannot."""
        if reads.gradients:
            return "a term of it asks for gradients through the teacher"
        if reads.teacher_samples:
            return "a term of it asks the teacher under dropout"
        if reads.teacher_taps and self.taps == "live":
            return 'it reads hidden values of the teacher (answers.taps = "exact" would store them, too)'
        return None
