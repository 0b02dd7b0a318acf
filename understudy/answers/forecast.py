"""The cost and the gain of stored answers, estimated from one measured step."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from understudy.answers.column import forms
from understudy.answers.encoding import WORD
from understudy.answers.options import StoredAnswers
from understudy.config.stage import Stage
from understudy.data.parts import Part
from understudy.taps import Answer

BLOCK = 4096  # bytes


@dataclass(frozen=True)
class Forecast:
    """Of one stage: the teacher's share of a step, and the views' room on the disk."""

    teacher: float  # share of a step's time
    views: int
    size: int  # bytes
    epochs: int
    free: int  # free bytes for the files

    @property
    def fits(self) -> bool:
        return self.size <= self.free

    @property
    def gain(self) -> float:
        """Times the speed, once the answers are there."""
        return 1 / (1 - self.teacher)

    @property
    def whole_gain(self) -> float:
        """Times the speed of the whole training, with the epochs in which the teacher still answers."""
        computed = min(self.views, self.epochs)
        return self.epochs / (computed + (self.epochs - computed) * (1 - self.teacher))

    def __str__(self) -> str:
        several = self.views > 1
        views = f"{self.views} views need" if several else "1 view needs"
        gain = f"{'save' if several else 'saves'} {self.gain:.1f}x"
        text = f"the teacher is {self.teacher:.0%} of a step; {views} {size(self.size)}"
        if not self.fits:
            return f"{text}, and there is room for {size(self.free)}: take fewer views, or another folder"
        if self.epochs > self.views:
            return f"{text} and {gain} after epoch {self.views}"
        return f"{text} and {gain} only in further trainings: this one sees each view once"


def forecast(
    stored: StoredAnswers, stage: Stage, answers: Sequence[Answer], part: Part, teacher: float, step: float
) -> Forecast:
    """From the teachers' ``answers`` to a batch, and the seconds that the teachers and a whole step took.

    Args:
        part: the samples that are asked about, of those of a source.
    """
    views = stored.epochs_asked(stage.config)
    view = sum(room((form.words + 1) * WORD, len(part), len(part.source)) for form in forms(stored, answers))
    folder = Path(stored.folder or ".").absolute()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    share = min(teacher / step, 0.99)
    return Forecast(share, views, views * view, stage.config.epochs, shutil.disk_usage(there).free)


def room(record: int, samples: int, places: int) -> int:
    """Bytes on the disk of a file with a place for each sample of a source, some of which are written, at random.

    A block takes its room as soon as one of its records is written.

    >>> room(408, samples=50_000, places=50_000), room(408, samples=10_000, places=50_000)
    (20400000, 18228651)
    """
    written: float = 1 - (1 - samples / places) ** max(1.0, BLOCK / record)
    return round(places * record * written)


def size(count: float) -> str:
    """Bytes, in the unit that suits them."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}" if unit != "bytes" else f"{count:.0f} bytes"
        count /= 1000
    return f"{count:.3g} TB"
