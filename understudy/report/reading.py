"""A finished run folder as typed values; what is missing is None, what is damaged is a clear error."""

import base64
import json
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from pydantic import ValidationError

from understudy.errors import UserError
from understudy.plans.entry import METRICS, RESULT
from understudy.report.record import Call, CallRecipe, CallStage, Epoch, Landscapes, Result, Sample, Trained
from understudy.runs.folder import RECIPE, SAMPLES
from understudy.runs.landscape import LANDSCAPES
from understudy.tuning.outcome import OUTCOME, TUNED

LARGEST = 300_000  # bytes of a picture: what is larger is none of ours
PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Record:
    """All that the page tells."""

    result: Result
    recipe: str
    epochs: dict[str, list[Epoch]]  # of each training, in their order
    trained: dict[str, Trained]  # how each training ended
    unreadable: int  # lines of metrics that are damaged and left out
    pictures: dict[str, str]  # of the samples, by file, as text for the page
    landscapes: Landscapes | None = None  # where somebody had them measured
    left_out: str = ""  # what is damaged and stays out of the page, and the way out

    @property
    def teacher_trainings(self) -> dict[str, list[str]]:
        """The trainings that are no method's: each teacher's own."""
        methods = {row.training for found in self.result.methods.values() for row in found.trainings}
        found: dict[str, list[str]] = {}
        for name in self.epochs:
            teacher = name.rpartition("-")[0]
            if name not in methods and teacher.rstrip("0123456789") == "teacher":
                found.setdefault(teacher, []).append(name)
        return found


def read(run: Path) -> Record:
    """The record of a finished run."""
    result = _checked(run)[1]
    epochs, unreadable = _epochs(run)
    pictures = _pictures(run, result.samples)
    recipe, (found, left_out) = _text(run / RECIPE) or "", _landscapes(run)
    return Record(result, recipe, epochs, _trained(run), unreadable, pictures, found, left_out)


def read_result(run: Path) -> dict[str, Any]:
    """``result.json`` as it is, looked at by the same eyes."""
    return _checked(run)[0]


def finished_of(runs: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """Of several folders those with a result, and why each other one has none; a name that leads nowhere is kept."""
    found, others = list[Path](), list[str]()
    for run in runs:
        if (run / RESULT).exists() or not run.is_dir():
            found.append(run)
            continue
        try:
            _explain(run, _text(run / RECIPE) or "")
        except UserError as reason:
            others.append(str(reason))
    return found, others


def read_record(run: Path) -> Result:
    """The same as typed values."""
    return _checked(run)[1]


def _checked(run: Path) -> tuple[dict[str, Any], Result]:
    path, recipe = run / RESULT, _text(run / RECIPE) or ""
    text = _text(path)
    if text is None:
        _explain(run, recipe)
    try:
        content = json.loads(text, parse_constant=lambda _: None)
        if isinstance(content, dict) and "methods" not in content and "accuracy" in content:
            content = _of_a_call(content, recipe)
        return content, Result.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole file"
        reason = f"{where}: {first['msg'][0].lower()}{first['msg'][1:]}"
    except (ValueError, RecursionError) as error:
        reason = str(error)
    raise UserError(
        f"{path} is damaged ({reason}): remove it and run the same distill command again; "
        "trainings that are done are not repeated"
    )


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


def _of_a_call(content: dict[str, Any], recipe: str) -> dict[str, Any]:
    """A result of ``understudy.distill(..., out=...)``, in the shape of a recipe's."""
    call, told = Call.model_validate(content), _recipe_of_a_call(recipe)
    last = call.stages[-1] if call.stages else CallStage()
    row = {"seed": told.seed, "training": "student", "accuracy": call.accuracy, "agreement": call.agreement}
    row |= {"kept": last.kept, "validation": (last.validation or {}).get("accuracy")}
    taught = [stage.taught for stage in call.stages if stage.taught is not None]
    found: dict[str, Any] = {"method": told.method, "trainings": [row], "taught": any(taught) if taught else None}
    found["accuracy"] = {"values": [call.accuracy]}
    found["objectives"] = {stage.name: stage.objective for stage in told.stages}
    if call.agreement is not None:
        found["agreement"] = {"values": [call.agreement]}
    several = {f"teacher{number}": network for number, network in enumerate(told.teachers, start=1)}
    networks = {**(several or {"teacher": told.teacher}), "student": told.student}
    each = zip(several, call.teacher_accuracies, strict=False)
    accuracy = call.teacher_accuracy
    return {
        "seeds": [told.seed],
        "data": {"measured_on": call.measured_on or "test"},
        "networks": {role: {"network": name} for role, name in networks.items() if name != "none"},
        "teacher": {"accuracy": {"values": [accuracy]}} if accuracy is not None else None,
        "teachers": {name: {"accuracy": {"values": [reached]}} for name, reached in each},
        "methods": {told.method: found},
        "kept": "student",
    }


def _recipe_of_a_call(recipe: str) -> CallRecipe:
    try:
        return CallRecipe.model_validate(tomllib.loads(recipe))
    except ValueError:
        return CallRecipe()


def _epochs(run: Path) -> tuple[dict[str, list[Epoch]], int]:
    """The lines of the log, of each training by itself."""
    paths = [run / METRICS] if (run / METRICS).exists() else sorted((run / "trainings").glob(f"*/{METRICS}"))
    found: dict[str, list[Epoch]] = {}
    unreadable = 0
    for line in "\n".join(_text(path) or "" for path in paths).splitlines():
        if not line.strip():
            continue
        try:
            epoch = Epoch.model_validate(json.loads(line, parse_constant=lambda _: None))
        except ValueError:
            unreadable += 1
        else:
            found.setdefault(epoch.training, []).append(epoch)
    return found, unreadable


def _trained(run: Path) -> dict[str, Trained]:
    found = {}
    for path in sorted((run / "trainings").glob(f"*/{RESULT}")):
        try:
            found[path.parent.name] = Trained.model_validate_json(_text(path) or "")
        except ValueError:  # the result of the run knows what matters
            continue
    return found


def _pictures(run: Path, samples: Sequence[Sample]) -> dict[str, str]:
    """What is missing or is no picture is left out."""
    found = {}
    for sample in samples:
        path = run / SAMPLES / Path(sample.file).name
        try:
            content = path.read_bytes() if path.stat().st_size <= LARGEST else b""
        except OSError:
            continue
        if content.startswith(PNG):
            found[sample.file] = base64.b64encode(content).decode("ascii")
    return found


def _landscapes(run: Path) -> tuple[Landscapes | None, str]:
    """Without them a page is still worth reading: where they are damaged, a line says so."""
    if (text := _text(run / LANDSCAPES)) is None:
        return None, ""
    try:
        return Landscapes.model_validate(json.loads(text)), ""
    except (ValueError, RecursionError) as error:
        told = str(error).splitlines()[0]
        return None, f"{LANDSCAPES} is damaged ({told}): run understudy landscape on this folder again, or remove it"


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
