"""Multi-level logit distillation (Jin, Wang, Lin, 2023)."""

from dataclasses import dataclass

from torch import Tensor, nn

from understudy import losses
from understudy.errors import UserError
from understudy.objective.term import Reading, Reads, Term

AUTHORS_SHARE = 64 / 100  # samples of each class in their batches, on CIFAR-100


@dataclass(frozen=True)
class MLKD(Term):
    """Single answers, likeness of samples and likeness of classes at several temperatures; see ``losses.mlkd``.

    Args:
        temperatures: those of the authors' code.
        instance, batch, classes: weights of the three levels. Left out, the second and the third are such that all
            three weigh as with the authors' 64 samples of 100 classes: what is summed grows with ``r = N / C``, the
            samples of a class in a batch, the second level as r and the third as its square.

    Differences: the authors' weights are 1 each, whatever N and C: with 10 classes the third level is a hundred times
    what it was on CIFAR-100, and drowns the rest. The paper adds the same on a second, strongly augmented view of each
    batch; here there is one view.
    """

    temperatures: tuple[float, ...] = (2.0, 3.0, 4.0, 5.0, 6.0)
    instance: float = 1.0
    batch: float | None = None
    classes: float | None = None

    def __post_init__(self) -> None:
        if not self.temperatures or not all(t > 0 for t in self.temperatures):
            raise UserError(f"{self}: it takes one temperature at least, all above 0")
        if not min(self.instance, self.batch or 0.0, self.classes or 0.0) >= 0:
            raise UserError(f"{self}: weights of levels must not be negative")

    @property
    def reads(self) -> Reads:
        return Reads(student_logits=True, teacher_logits=True)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        share = AUTHORS_SHARE * reading.student.logits.shape[1] / len(reading.labels)
        return losses.mlkd(
            reading.student.logits,
            reading.teacher.logits,
            temperatures=self.temperatures,
            instance=self.instance,
            batch=share if self.batch is None else self.batch,
            classes=share**2 if self.classes is None else self.classes,
        )
