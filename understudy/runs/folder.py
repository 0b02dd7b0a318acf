"""The run folder: one execution of a plan, that can be stopped anywhere and goes on."""

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
GIVEN = "given"  # the weights with which networks came that were given as objects
SAMPLES = "samples"  # pictures that the result speaks of
SEAL = "# sha256 of the lines above: "  # how the last line of a run folder's recipe begins


@dataclass(frozen=True)
class RunFolder(TrainingFolders):
    """Where everything of a run lies."""

    def claim(self, recipe: str) -> None:
        """Make the folder this recipe's, where it is not already."""
        self.look(recipe)
        path, text = self.path / RECIPE, with_seal(recipe)
        if not path.exists() or path.read_text(encoding="utf-8") != text:  # what may differ stands as it is now
            write_atomically(path, text.encode())

    def settings(self) -> Settings | None:
        """Those that the run in this folder began with; None where there is no run, or none that can be read."""
        from pydantic import TypeAdapter

        try:
            written = tomllib.loads((self.path / RECIPE).read_text(encoding="utf-8"))["settings"]
            return TypeAdapter(Settings).validate_python(written)
        except (OSError, ValueError, KeyError):
            return None

    def look(self, recipe: str) -> None:
        """See that the folder is free or this recipe's; another recipe's run is never touched."""
        if str(self.path) != str(self.path).encode(errors="replace").decode():
            raise UserError(f"{self.path}: files of weights need a name in UTF-8: choose another --out")
        path = self.path / RECIPE
        if path.exists():
            before = read_recipe(path)
            way_out = "finish the run with the version that began it, or choose another --out"
            check_format(before.get("format"), path, way_out)
            settings = before.get("settings")
            if isinstance(settings, dict):  # those that its version did not know yet are as ever
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
        """Whether a run lies here whose recipe is gone; its trainings and checkpoints know what they are."""
        there = (self.path / "trainings", self.path / "checkpoints")
        return not (self.path / RECIPE).exists() and any(folder.is_dir() for folder in there)

    @property
    def trainings(self) -> list[str]:
        """The names of all trainings that lie here, finished or begun."""
        there = (self.path / "trainings", self.path / "checkpoints")
        return sorted({path.name for folder in there if folder.is_dir() for path in folder.iterdir() if path.is_dir()})

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Only one process at a time works in a run folder."""
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
        """Make a training's student the run's; False where it is that already, byte for byte."""
        changed = False
        for name in (product.WEIGHTS, product.DESCRIPTION):
            content, path = (self.training(training) / name).read_bytes(), self.path / name
            if not path.exists() or path.read_bytes() != content:
                write_atomically(path, content)
                changed = True
        return changed

    def failed(self) -> list[str]:
        """The trainings that came to nothing when a choice was made without them: they are not tried again."""
        path = self.path / FAILED
        return FailedTrainings.read(path, way_out="remove it, and run again").trainings if path.exists() else []

    def write_failed(self, trainings: Collection[str]) -> None:
        if trainings:
            write_atomically(self.path / FAILED, FailedTrainings(trainings=sorted(trainings)).text().encode())

    def result(self) -> Result | None:
        """The result of the run; None where there is none yet, or it is damaged and made again."""
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
    """A recipe's text with a last line by which damage to its file is seen."""
    return f"{recipe}{SEAL}{hashlib.sha256(recipe.encode()).hexdigest()}\n"


def without_seal(text: str) -> tuple[str, bool]:
    """A recipe's text without that line, and whether it is as it was written; without the line nobody knows."""
    recipe, line, digest = text.rpartition(SEAL)
    if not line:
        return text, True
    return recipe, digest.strip() == hashlib.sha256(recipe.encode()).hexdigest()


def read_recipe(path: Path) -> dict[str, object]:
    """The recipe of a run folder; where it is damaged, how to go on with what is left."""
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
    """What a run leaves that was killed before it wrote its recipe."""
    return entry.name in (LOCK, GIVEN) or (entry.name.startswith(f".{RECIPE}.") and entry.suffix == ".part")


def _identity(recipe: dict[str, object]) -> dict[str, object]:
    """What makes a run the one it is. ``accept_weak`` only lifts a refusal, which a run that is begun may meet."""
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
