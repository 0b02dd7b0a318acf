"""Every file of a run, a cache and a folder of stored answers damaged in five ways, and what each use of it says."""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

import understudy
from tests.conftest import RECIPE
from tests.faults.scenarios import snapshot
from understudy import export
from understudy import recipe as recipes
from understudy.errors import UserError
from understudy.export.format import Material
from understudy.plans import TrainingCache
from understudy.report import write_report
from understudy.runs import Run
from understudy.shipping.card import left_out, write_card
from understudy.shipping.predict import predict
from understudy.training.callbacks import Callback

TEXT = (
    RECIPE.partition("[methods.fitnets]")[0]
    .replace("epochs = 4\nbatch = 10", "epochs = 2\nbatch = 15")
    .replace('network = "smallnets:student"', 'network = "resnet8"\nsettings = { widths = [4, 4, 4] }')
    + '[answers]\nviews = 1\ntaps = "exact"\nseed = 0\n[methods.kd]\n'
)
DAMAGES = ("one bit", "cut in half", "emptied", "deleted", "of another run")
Answer = tuple[str, list[str]]  # what a use answers, and what it says beside


def flip(path: Path) -> None:
    """One bit of the byte in the middle; in a text, a digit or letter for its neighbour."""
    content = bytearray(path.read_bytes())
    place = len(content) // 2
    content[place] ^= 1
    path.write_bytes(bytes(content))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def delete(path: Path) -> None:
    path.unlink()


@dataclass(frozen=True)
class Case:
    """One file and what is done to it."""

    file: str  # below the folder with run and cache
    damage: str


class Notes(Callback):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


class Table:
    """A finished run with its cache, and another one of other settings, whose files are exchanged for its own.

    The current folder is the workplace of the tests, and a format ``plain`` is there that costs nothing.
    """

    def __init__(self, home: Path):
        self.home = home
        self.whole, self.other, self.root = home / "whole", home / "other", home / "run-and-cache"
        for place, changes in ((self.whole, ()), (self.other, ("train.optimizer.lr=0.1",))):
            root = self.root
            shutil.rmtree(root, ignore_errors=True)
            self.train(root / "run", TrainingCache(root / "cache"), *changes)
            export.export(root / "run", "plain", seconds=0.0, broken=True, trust=["smallnets"])
            write_report(root / "run")
            write_card(root / "run")
            shutil.copytree(root, place)
        self.files = sorted(
            path.relative_to(self.whole).as_posix()
            for path in self.whole.rglob("*")
            if path.is_file() and path.name != ".lock"
        )
        self.expected: dict[tuple[str, str], str] = {}
        for group in ("run", "cache", "answers"):
            self.fresh()
            for name, use in self.uses(group).items():
                self.expected[group, name] = use()[0]

    def cases(self) -> Iterator[Case]:
        for file in self.files:
            for damage in DAMAGES:
                if damage != DAMAGES[-1] or self._counterpart(file) is not None:
                    yield Case(file, damage)

    def outcomes(self, case: Case) -> dict[str, str]:
        """For each use: ``"as before"``, ``"told"`` or ``"silent"``, of which there should be none."""
        self.fresh()
        self._damage(case)
        group = "answers" if "/stored/" in case.file else case.file.partition("/")[0]
        found = {}
        for name, use in self.uses(group).items():
            try:
                answer, said = use()
            except UserError as error:
                found[name] = "told" if "\n" not in str(error) else "silent"
                continue
            found[name] = "as before" if answer == self.expected[group, name] else "told" if said else "silent"
        return found

    def uses(self, group: str) -> dict[str, Callable[[], Answer]]:
        if group == "cache":
            return {"cache check": self._check, "distill --cache": self._again_from_cache}
        if group == "answers":
            return {"distill with these answers": self._again_with_answers}
        return {
            "load": self._load,
            "predict": self._predict,
            "predict FILE": self._predict_file,
            "export": self._export,
            "report": self._report,
            "card": self._card,
            "distill": self._distill,
        }

    def fresh(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.copytree(self.whole, self.root)

    def train(self, out: Path, cache: TrainingCache | None, *changes: str) -> list[str]:
        notes = Notes()
        recipe = recipes.parse(TEXT, "recipe.toml", changes)
        Run(recipe, out, trusted=["smallnets"], callback=notes, cache=cache).execute()
        return notes.notes

    def _damage(self, case: Case) -> None:
        path = self.root / case.file
        ways = {"one bit": flip, "cut in half": truncate, "emptied": empty, "deleted": delete}
        if case.damage in ways:
            ways[case.damage](path)
            return
        counterpart = self._counterpart(case.file)
        assert counterpart is not None
        path.write_bytes(counterpart.read_bytes())

    def _counterpart(self, file: str) -> Path | None:
        """The same file of the other run; keys and pictures have other names there."""
        path = self.other / file
        if not path.exists():
            pattern = "/".join("*" if len(part) > 40 or "-" in part else part for part in Path(file).parts[:-1])
            name = "*.png" if file.endswith(".png") else Path(file).name
            path = next(iter(sorted(self.other.glob(f"{pattern}/{name}"))), path)
        return path if path.exists() and path.read_bytes() != (self.whole / file).read_bytes() else None

    def _load(self) -> Answer:
        student = understudy.load(self.root / "run")
        generator = torch.Generator().manual_seed(0)
        return _digest(student(torch.rand(4, 3, 8, 8, generator=generator)).detach().numpy().tobytes()), []

    def _predict(self) -> Answer:
        return str([one.text for one in predict(self.root / "run", ["pictures/test"])]), []

    def _predict_file(self) -> Answer:
        return str([one.text for one in predict(self.root / "run" / "student.plain", ["pictures/test"])]), []

    def _export(self) -> Answer:
        out = self.root / "exported"
        found = export.export(self.root / "run", "plain", out=out, seconds=0.0, broken=True, trust=["smallnets"])
        return _digest(found.path.read_bytes()), [found.note] if found.note else []

    def _report(self) -> Answer:
        said = list[str]()
        page = write_report(self.root / "run", page=self.root / "page.html", warn=said.append)
        return _digest(page.read_bytes()), said

    def _card(self) -> Answer:
        return write_card(self.root / "run").read_text(), left_out(self.root / "run")

    def _distill(self) -> Answer:
        notes = self.train(self.root / "run", TrainingCache(self.root / "cache"))
        left = {name: digest for name, digest in snapshot(self.root).items() if not name.startswith("cache/damaged")}
        return str(sorted((name, digest) for name, digest in left.items() if _is_result(name))), notes

    def _check(self) -> Answer:
        damaged = TrainingCache(self.root / "cache").check()
        return str(sorted(damaged.values())), [f"damaged: {damaged}"] if damaged else []

    def _again_from_cache(self) -> Answer:
        notes = self.train(self.root / "again", TrainingCache(self.root / "cache"))
        return _students(self.root / "again"), notes

    def _again_with_answers(self) -> Answer:
        notes = self.train(self.root / "again", None, f'answers.folder="{self.root}/run/stored"')
        return _students(self.root / "again"), notes


def _is_result(name: str) -> bool:
    """What a run makes, without what other commands put beside it, or what was set aside."""
    others = ("stored", "figures", "proof.json", "student.plain", "report.html", "README.md")
    return name.startswith("run/") and not name.startswith(tuple(f"run/{other}" for other in others))


def _students(run: Path) -> str:
    weights = sorted(run.rglob("student*.safetensors"))
    return str([(path.relative_to(run).as_posix(), _digest(path.read_bytes())) for path in weights])


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def kind_of(file: str) -> str:
    """A file's name without what numbers it."""
    parts = list(Path(file).parts)
    if parts[0] == "cache":
        parts[2] = "KEY"
    if "stored" in parts:
        parts[2] = "TEACHER"
    if parts[-1].endswith(".png"):
        parts[-1] = "N.png"
    if parts[-1].endswith(".svg"):
        parts[-1] = "*.svg"
    return "/".join(parts)


def plain_format() -> export.Format:
    """A format that costs nothing: the student's own weights under another name."""
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    kept: list[torch.nn.Module] = []

    def write(material: Material, path: Path) -> dict[str, object]:
        save_file(material.network.state_dict(), path, metadata={"description": material.description})
        kept.append(material.network)
        return {}

    def opened(path: Path) -> export.Opened:
        with safe_open(path, "pt") as file:  # type: ignore[no-untyped-call]
            description = file.metadata()["description"]
        with suppress(RuntimeError):
            kept[-1].load_state_dict(load_file(path))
        return export.Opened(kept[-1], description)

    return export.Format("plain", ".plain", "for tests", write, opened, export.Tolerance())
