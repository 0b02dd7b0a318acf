"""A finished run folder as typed values; what is missing is left out, what is damaged is a clear error."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from understudy.errors import UserError
from understudy.plans.entry import METRICS, RESULT
from understudy.runs.folder import RECIPE, SAMPLES
from understudy.runs.landscape import LANDSCAPES
from understudy.runs.records import Landscapes, Result, Sample
from understudy.training.records import Epoch, TrainingRecord
from understudy.tuning.outcome import OUTCOME, TUNED

LARGEST = 300_000  # bytes of a picture: what is larger is none of ours
PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class RunFiles:
    """All files of a run that its page is made of."""

    result: Result
    recipe: str
    epochs: dict[str, list[Epoch]]  # of each training, in their order
    trained: dict[str, TrainingRecord]  # how each training ended
    unreadable: int  # lines of metrics that are damaged and left out
    pictures: dict[str, str]  # of the samples, by file, in base64
    landscapes: Landscapes | None = None  # where they were measured
    left_out: str = ""  # what is damaged and stays out of the page, and the way out

    @property
    def teacher_trainings(self) -> dict[str, list[str]]:
        """The trainings that are no method's: each teacher's own."""
        methods = {row.training for method in self.result.methods.values() for row in method.trainings}
        trainings: dict[str, list[str]] = {}
        for name in self.epochs:
            teacher = name.rpartition("-")[0]
            if name not in methods and teacher.rstrip("0123456789") == "teacher":
                trainings.setdefault(teacher, []).append(name)
        return trainings


def read(run: Path) -> RunFiles:
    """The files of a finished run."""
    result = read_result(run)
    epochs, unreadable = _epochs(run)
    pictures = _pictures(run, result.samples)
    recipe, (landscapes, left_out) = _text(run / RECIPE) or "", _landscapes(run)
    return RunFiles(result, recipe, epochs, _trained(run), unreadable, pictures, landscapes, left_out)


def read_result(run: Path) -> Result:
    """``result.json`` of a finished run."""
    path = run / RESULT
    text = _text(path)
    if text is None:
        _explain(run, _text(run / RECIPE) or "")
    return Result.of_text(
        text,
        path,
        way_out="remove it and run the same distill command again; trainings that are done are not repeated",
    )


def finished_of(runs: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """Of several folders those with a result, and why each other one has none; a name that leads nowhere is kept."""
    finished, others = list[Path](), list[str]()
    for run in runs:
        if (run / RESULT).exists() or not run.is_dir():
            finished.append(run)
            continue
        try:
            _explain(run, _text(run / RECIPE) or "")
        except UserError as reason:
            others.append(str(reason))
    return finished, others


def _explain(run: Path, recipe: str) -> NoReturn:
    """Why there is no result."""
    if not run.exists():
        raise UserError(f"there is no run folder {run}")
    if not run.is_dir():
        raise UserError(f"{run} is a file: a report is made of a run folder")
    if (run / OUTCOME).exists():
        raise UserError(
            f"{run} holds a search and no run: understudy distill {run / TUNED} --out ANOTHER-FOLDER makes one"
        )
    if recipe:
        raise UserError(
            f"the run in {run} is not finished (it has no {RESULT}): run the same command again, it goes on"
        )
    raise UserError(f"{run} is no run folder: it holds neither {RECIPE} nor {RESULT}")


def _epochs(run: Path) -> tuple[dict[str, list[Epoch]], int]:
    """The lines of the log, of each training by itself."""
    paths = [run / METRICS] if (run / METRICS).exists() else sorted((run / "trainings").glob(f"*/{METRICS}"))
    epochs: dict[str, list[Epoch]] = {}
    unreadable = 0
    for line in "\n".join(_text(path) or "" for path in paths).splitlines():
        if not line.strip():
            continue
        try:
            epoch = Epoch.model_validate(json.loads(line, parse_constant=lambda _: None))
        except ValueError:
            unreadable += 1
        else:
            epochs.setdefault(epoch.training, []).append(epoch)
    return epochs, unreadable


def _trained(run: Path) -> dict[str, TrainingRecord]:
    records = {}
    for path in sorted((run / "trainings").glob(f"*/{RESULT}")):
        try:
            records[path.parent.name] = TrainingRecord.of_text(_text(path) or "", path, way_out="")
        except UserError:  # the result of the run knows what matters
            continue
    return records


def _pictures(run: Path, samples: Sequence[Sample]) -> dict[str, str]:
    """What is missing or is no picture is left out."""
    pictures = {}
    for sample in samples:
        path = run / SAMPLES / Path(sample.file).name
        try:
            content = path.read_bytes() if path.stat().st_size <= LARGEST else b""
        except OSError:
            continue
        if content.startswith(PNG):
            pictures[sample.file] = base64.b64encode(content).decode("ascii")
    return pictures


def _landscapes(run: Path) -> tuple[Landscapes | None, str]:
    """Without them a page is still worth reading: where they are damaged, a line says so."""
    if (text := _text(run / LANDSCAPES)) is None:
        return None, ""
    try:
        return Landscapes.of_text(text, Path(LANDSCAPES), way_out="run understudy landscape again, or remove it"), ""
    except UserError as error:
        return None, str(error)


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
