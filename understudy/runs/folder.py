"""The run folder: the execution of a plan that can be stopped at any time and resumed."""

import contextlib
import hashlib
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from understudy import files
from understudy.config.settings import Settings
from understudy.errors import UserError
from understudy.files import write_atomically
from understudy.models import student as product
from understudy.plans.entry import METRICS, RESULT
from understudy.plans.folders import TrainingFolders
from understudy.recipe.read import check_format
from understudy.runs.records import FailedTrainings, Result
from understudy.training.records import DamagedFileError

RECIPE = "recipe.toml"
LOCK = ".lock"
FAILED = "failed.json"
GIVEN = "given"  # original weights of networks passed as objects
SAMPLES = "samples"  # pictures that the result refers to
SHARED = ("ranks", "parallel", "teacher_shard")  # settings of how processes share a training
SEAL = "# sha256 of the lines above: "  # the beginning of the last line of a run folder's recipe


@dataclass(frozen=True)
class RunFolder(TrainingFolders):
    """The paths of a run."""

    def claim(self, recipe: str) -> None:
        """Create the folder for this recipe, or check that it belongs to it."""
        self.look(recipe)
        path, text = self.path / RECIPE, with_seal(recipe)
        if not path.exists() or path.read_text(encoding="utf-8") != text:  # keys that may differ are updated
            write_atomically(path, text.encode())

    def settings(self) -> Settings | None:
        """The settings with which the run in this folder began; None where there is no readable run."""
        from pydantic import TypeAdapter

        try:
            written = tomllib.loads((self.path / RECIPE).read_text(encoding="utf-8"))["settings"]
            return TypeAdapter(Settings).validate_python(written)
        except (OSError, ValueError, KeyError):
            return None

    def look(self, recipe: str) -> None:
        """Check that the folder is free or belongs to this recipe. The run of another recipe is never changed."""
        if str(self.path) != str(self.path).encode(errors="replace").decode():
            raise UserError(f"{self.path}: files of weights need a name in UTF-8: choose another --out")
        path = self.path / RECIPE
        if path.exists():
            before = read_recipe(path)
            way_out = "finish the run with the version that began it, or choose another --out"
            check_format(before.get("format"), path, way_out)
            settings = before.get("settings")
            if isinstance(settings, dict):  # keys that its version did not have take their defaults
                before["settings"] = asdict(Settings()) | settings
            wanted = tomllib.loads(recipe)
            differing = _differing(_identity(before), _identity(wanted))
            if differing:
                raise UserError(
                    f"{self.path} holds a run of another recipe (it differs in {', '.join(differing[:5])}): "
                    "choose another --out, or give that recipe to go on with it"
                )
        elif self.path.is_file():
            raise UserError(f"{self.path} is a file, not a run folder: choose another --out")
        elif self.path.is_dir() and not self.lost_recipe and not all(map(_is_ours, self.path.iterdir())):
            raise UserError(f"{self.path} is not empty and holds no run (no {RECIPE}): choose another --out")

    @property
    def lost_recipe(self) -> bool:
        """Whether the folder holds a run without a recipe. Its trainings and checkpoints hold their identity."""
        there = (self.path / "trainings", self.path / "checkpoints")
        return not (self.path / RECIPE).exists() and any(folder.is_dir() for folder in there)

    @property
    def trainings(self) -> list[str]:
        """The names of all finished and unfinished trainings in the folder."""
        there = (self.path / "trainings", self.path / "checkpoints")
        return sorted({path.name for folder in there if folder.is_dir() for path in folder.iterdir() if path.is_dir()})

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """A lock on the run folder for one process at a time."""
        lock = self.path / LOCK
        with contextlib.ExitStack() as held:
            try:
                files.make_folder(self.path)
                held.enter_context(files.locked(lock, wait=False))
            except BlockingIOError as error:
                raise UserError(f"another process is working in {self.path}: wait for it, or stop it") from error
            except OSError as error:
                reason = f"{LOCK} is a symbolic link: remove it" if lock.is_symlink() else error.strerror
                raise UserError(f"cannot use {self.path} as a run folder: {reason}") from error
            yield

    def keep(self, training: str) -> bool:
        """Copy a training's student as that of the run; False where it is equal already."""
        changed = False
        for name in (product.WEIGHTS, product.DESCRIPTION):
            content, path = (self.training(training) / name).read_bytes(), self.path / name
            if not path.exists() or path.read_bytes() != content:
                write_atomically(path, content)
                changed = True
        return changed

    def failed(self) -> list[str]:
        """The failed trainings without which a choice was made. They are not repeated."""
        path = self.path / FAILED
        return FailedTrainings.read(path, way_out="remove it, and run again").trainings if path.exists() else []

    def write_failed(self, trainings: Collection[str]) -> None:
        if trainings:
            write_atomically(self.path / FAILED, FailedTrainings(trainings=sorted(trainings)).text().encode())

    def result(self) -> Result | None:
        """The result of the run; None where there is none, or a damaged one, which is made again."""
        path = self.path / RESULT
        try:
            return Result.read(path, way_out=f"choose another --out, or remove {path}") if path.exists() else None
        except DamagedFileError:
            return None

    def write_result(self, result: Result) -> None:
        write_atomically(self.path / RESULT, result.text().encode())

    def gather_metrics(self, trainings: list[str]) -> None:
        """All trainings' lines in one file, in the order of the plan."""
        parts = [self.training(name) / METRICS for name in trainings]
        write_atomically(self.path / METRICS, b"".join(part.read_bytes() for part in parts if part.exists()))


def with_seal(recipe: str) -> str:
    """A recipe's text with a last line that holds its digest."""
    return f"{recipe}{SEAL}{hashlib.sha256(recipe.encode()).hexdigest()}\n"


def without_seal(text: str) -> tuple[str, bool]:
    """A recipe's text without that line, and whether it matches its digest; True without the line."""
    recipe, line, digest = text.rpartition(SEAL)
    if not line:
        return text, True
    return recipe, digest.strip() == hashlib.sha256(recipe.encode()).hexdigest()


def read_recipe(path: Path) -> dict[str, object]:
    """The recipe of a run folder; a damaged one is an error that says how to continue with the trainings."""
    try:
        recipe, whole = without_seal(path.read_text(encoding="utf-8"))
        reason = "" if whole else "its checksum does not fit"
        content = tomllib.loads(recipe)
        reason = reason or ("" if content else "it is empty")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        reason = str(error)
    if reason:
        raise UserError(
            f"{path} is damaged ({reason}). What was trained in this folder is not lost: remove that file and give "
            "the same recipe again, and each training and checkpoint is compared with it and gone on with"
        )
    return content


def _is_ours(entry: Path) -> bool:
    """Remove the leftovers of a run that was killed before it wrote its recipe."""
    return entry.name in (LOCK, GIVEN) or (entry.name.startswith(f".{RECIPE}.") and entry.suffix == ".part")


def _identity(recipe: dict[str, object]) -> dict[str, object]:
    """The identity of a run. Not part of it is what can be set when it has begun: ``accept_weak``, ``trackers``, the
    memory of data, and how several processes share a training, as their number is not.
    """
    recipe.pop("trackers", None)
    data = recipe.get("data")
    if isinstance(data, dict):
        data.pop("memory", None)
    settings = recipe.get("settings")
    if isinstance(settings, dict):
        recipe["settings"] = {key: value for key, value in settings.items() if key not in SHARED}
    several = recipe.get("teachers")
    for teacher in (recipe.get("teacher"), *(several if isinstance(several, list) else [])):
        if isinstance(teacher, dict):
            teacher.pop("accept_weak", None)
    return recipe


def _differing(old: Mapping[str, object], new: Mapping[str, object], prefix: str = "") -> list[str]:
    keys = []
    for key in sorted({*old, *new}):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            keys += _differing(before, after, f"{prefix}{key}.")
        elif before != after:
            keys.append(f"{prefix}{key}")
    return keys
