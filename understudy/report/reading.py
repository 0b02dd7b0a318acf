"""A finished run folder as typed values. Missing files are left out; damaged ones are errors."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from understudy.errors import UserError
from understudy.files import contents, sha256
from understudy.models import student as product
from understudy.plans.entry import METRICS, RESULT, whole
from understudy.plans.folders import TRAININGS
from understudy.report.format import plural
from understudy.runs.advice import ADVICE
from understudy.runs.folder import RECIPE, SAMPLES, without_seal
from understudy.runs.landscape import LANDSCAPES
from understudy.runs.records import Landscapes, Result, Sample
from understudy.runs.samples import damaged as damaged_samples
from understudy.training.records import Epoch, TrainingRecord
from understudy.tuning.outcome import OUTCOME, TUNED

LARGEST = 300_000  # bytes of a picture; a larger file is not one of a run
PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class RunFiles:
    """All files of a run that its page needs."""

    result: Result
    recipe: str
    epochs: dict[str, list[Epoch]]  # of each training, in their order
    trained: dict[str, TrainingRecord]  # how each training ended
    unreadable: int  # lines of metrics that are damaged and left out
    pictures: dict[str, str]  # of the samples, by file, in base64
    landscapes: Landscapes | None = None  # where they were measured
    left_out: str = ""  # damaged files that are left out of the page, with the remedy

    @property
    def teacher_trainings(self) -> dict[str, list[str]]:
        """The trainings of teachers."""
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
    damaged = list[str]()
    epochs, unreadable = _epochs(run, result, damaged)
    pictures = _pictures(run, result.samples, damaged)
    recipe, whole = without_seal(_text(run / RECIPE) or "")
    whole = whole and _fits(run / RECIPE, result)
    if not whole:
        damaged.append(f"{RECIPE} is damaged (its digest does not fit)")
    for name in (product.WEIGHTS, product.DESCRIPTION):
        if not _fits(run / name, result):
            damaged.append(f"{name} is damaged (its digest does not fit)")
    trained, (landscapes, surfaces) = _trained(run, result, damaged), _landscapes(run)
    healing = "run the same distill command again" if damaged else ""
    left_out = "; ".join(filter(None, (*damaged, healing, surfaces)))
    return RunFiles(result, recipe if whole else "", epochs, trained, unreadable, pictures, landscapes, left_out)


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
    """The folders with a result, and why each of the others has none. A path that does not exist is kept."""
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
    if (run / ADVICE).exists():
        raise UserError(f"{run} holds the short trainings of understudy advise and no run: train the chosen shape out")
    if recipe:
        raise UserError(
            f"the run in {run} is not finished (it has no {RESULT}): run the same command again, it goes on"
        )
    raise UserError(f"{run} is no run folder: it holds neither {RECIPE} nor {RESULT}")


def _fits(path: Path, result: Result) -> bool:
    """Whether a file has the digest in the result; a result without digests accepts every file."""
    digest = result.digests.get(path.name)
    try:
        return digest is None or sha256(path) == digest
    except OSError:
        return False


def _epochs(run: Path, result: Result, damaged: list[str]) -> tuple[dict[str, list[Epoch]], int]:
    """The log by training. A damaged log is reported and left out."""
    paths = [run / METRICS] if (run / METRICS).exists() else sorted((run / "trainings").glob(f"*/{METRICS}"))
    if not _fits(run / METRICS, result):
        damaged.append(f"{METRICS} is damaged (its digest does not fit)")
        paths = []
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


def _trained(run: Path, result: Result, damaged: list[str]) -> dict[str, TrainingRecord]:
    """The records of trainings. A damaged record is reported and left out, since the run's result holds its figures."""
    records = {}
    for path in sorted((run / "trainings").glob(f"*/{RESULT}")):
        try:
            records[path.parent.name] = TrainingRecord.of_text(_text(path) or "", path, way_out="")
            record = records[path.parent.name]
            sound = not record.digests or (whole(path.parent) is not None and _fits_log(path.parent, record.digests))
        except UserError:
            sound = False
        if not sound:
            records.pop(path.parent.name, None)
            damaged.append(f"{path.relative_to(run)} is damaged")
    for row in (row for method in result.methods.values() for row in method.trainings):
        folder = run / "trainings" / Path(row.training).name
        if folder.is_dir() and not (folder / RESULT).exists():
            damaged.append(f"{folder.relative_to(run) / RESULT} is missing")
    return records


def _fits_log(training: Path, digests: Mapping[str, str]) -> bool:
    """Whether a training's record belongs to the log beside it."""
    log = training / METRICS
    return METRICS not in digests or not log.exists() or sha256(log) == digests[METRICS]


def _pictures(run: Path, samples: Sequence[Sample], damaged: list[str]) -> dict[str, str]:
    """Files that are missing, damaged or no pictures are left out."""
    wrong = [sample.file for sample in damaged_samples(run, samples)]
    if wrong:
        damaged.append(f"{plural(len(wrong), 'picture')} in {SAMPLES} missing or damaged")
    samples = [sample for sample in samples if sample.file not in wrong]
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
    """The page is written without damaged ones, and those of students that a search has replaced; a line reports it."""
    if (text := _text(run / LANDSCAPES)) is None:
        return None, ""
    try:
        found = Landscapes.of_text(text, Path(LANDSCAPES), way_out="run understudy landscape again, or remove it")
    except UserError as error:
        return None, str(error)
    present = [one for one in found.students if not one.student or one.student == _weights(run, one.training)]
    if present == found.students:
        return found, ""
    gone = f"{LANDSCAPES} is of students that were replaced: run understudy landscape again"
    return found.model_copy(update={"students": present}) if present else None, gone


def _weights(run: Path, training: str) -> str:
    """The SHA-256 of a student's weights; empty where there are none."""
    try:
        return sha256(run / TRAININGS / Path(training).name / product.WEIGHTS)
    except OSError:
        return ""


def _text(path: Path) -> str | None:
    """The text of a file; None where there is none."""
    try:
        return contents(path).decode("utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
