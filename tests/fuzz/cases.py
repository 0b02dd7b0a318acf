"""What is fuzzed: each kind makes one case by a generator, runs it, and answers whether it was accepted.

A case may end in a ``UserError`` (or exit code 2). Any other exception, a value that no annotation allows, or a
terminal that was steered is a failure.
"""

import contextlib
import io
import json
import math
import os
import random
import shutil
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tomli_w
import torch
from PIL import Image

import understudy
from tests.fuzz import mutate
from understudy import UserError, bounds, recipe
from understudy.cli import main
from understudy.methods import METHODS
from understudy.methods.notation import parse
from understudy.objective.term import as_sum
from understudy.plans.cache import TrainingCache
from understudy.printable import printable
from understudy.recipe import Recipe
from understudy.recipe.search import parse_searched
from understudy.recipe.space import read_space
from understudy.report import write_report
from understudy.report.reading import read_result
from understudy.report.text import as_latex, as_markdown
from understudy.runs import Run
from understudy.runs.folder import RunFolder
from understudy.training import checkpoints

ROOT = Path(understudy.__file__).parents[1]
TINY = """
title = "tiny"
seeds = [0]
[data]
name = "folder"
root = "pictures"
size = 8
validation = 4
[student]
network = "resnet-blocks"
settings = { blocks = [1], widths = [2], strides = [1], stem = 2 }
[train]
epochs = 1
batch = 8
optimizer = { name = "adamw", lr = 0.01, betas = [0.9, 0.99], weight_decay = 0.0 }
schedule = { name = "step", at = [0.5], by = 0.1 }
augmentation = { shift = 1, flip = true, mixup = 0.2 }
lr_scale = { "conv*" = 0.5 }
[settings]
threads = 1
[methods.alone]
label_smoothing = 0.1
"""
NOTATIONS = (
    "CE() + 0.9 * KD(temperature=4)",
    "CE(0.1) + 0.25 * KD(temperature=2.0) * linear(4, 1, epochs=10) + Hint('a -> b', reduce='mean')",
    "step(0, 1, epoch=5) * (3 * Hint('a -> b:input')) + auto(0.5) * RKDDistance('a -> b')",
    "CE() + 100 * AT(('layer2 -> layer2', 'layer3 -> layer3'), p=1.0) + DKD(1.0, 8.0, 4.0) + NKD(gamma=1.5)",
    "0.5 * MLKD(temperatures=(2.0, 3.0)) + CRD('a -> b', width=64, negatives=128) + VID('a -> b', variance=5.0)",
)
SPACES = ("1..20", "0.05..1 step 0.05", "1e-4..0.1 log", "{1, 2, 5, 10}", "{0.5,1.5}", "1 .. 5", "-1..1")
KEYS = (
    "train.epochs", "train.optimizer.lr", "train.optimizer.betas", "train.schedule.at", "train.augmentation.mixup",
    "settings.threads", "seeds", "data.validation", "methods.alone.label_smoothing", "student.settings.widths",
    "methods.kd.temperature", "answers.views", "tune.search", "path.sizes", "title", "teacher.weights", "data.name",
    "student.network", "methods.alone.assistants", "methods.alone.train.ema", "data.task", "teachers.0.weights",
)  # fmt: skip


COMMAND_LINES = (
    "check tiny.toml --set train.epochs=2 --settings plain --json",
    "check fuzzed.toml",
    "check fuzzed.toml --set train.optimizer.lr=0.1 --set methods.alone.label_smoothing=0.2 --trust mymodule",
    "distill tiny.toml --set train.batch=4 --workers 2 --checkpoint-seconds 3 --cache cache --json",
    "distill fuzzed.toml --method alone --engine together",
    "taps resnet8 --student resnet14 --shape 3x32x32 --classes 10 --all --json",
    "taps plain2 --shape 3x32x32",
    "methods kd --json",
    "report run --max-latency 3ms --max-size 2MB --reach 90 --sort latency --out page.html",
    "report run run --markdown",
    "report run --latex",
    "report run --json",
    "predict run pictures/test/a/0.png --top 2 --batch 1 --json",
    "predict run pictures *.png",
    "card run",
    "cache list --cache cache --json",
    "cache prune --cache cache --days 3 --dry-run",
    "cache check --cache cache",
    "export run --to torch --out exported --tolerance 0.5",
    "landscape run --grid 3 --samples 4 --seed 1",
    "tune fuzzed.toml --out tuned --search train.optimizer.lr=0.1..nan --trials 1",
)


class WrongError(AssertionError):
    """A case was accepted, or shown, that must not be."""


class Fuzz:
    """A folder with a finished run, a cache and checkpoints, and the kinds of cases on them."""

    def __init__(self, folder: Path):
        self.folder = folder
        os.chdir(folder)
        for part, count in (("train", 12), ("test", 4)):
            for number in range(count):
                place = folder / "pictures" / part / "ab"[number % 2]
                place.mkdir(parents=True, exist_ok=True)
                pixels = torch.randint(0, 255, (8, 8, 3), dtype=torch.uint8)
                Image.fromarray(pixels.numpy()).save(place / f"{number}.png")
        (folder / "tiny.toml").write_text(TINY)
        run = Run(recipe.parse(TINY), folder / "run", cache=TrainingCache(folder / "cache"))
        self.result = run.execute().text()
        write_report(folder / "run")
        self.description = json.loads((folder / "run" / "student.json").read_text())
        (self.entry,) = TrainingCache(folder / "cache").entries()
        shutil.copytree(self.entry.folder, folder / "entry")
        state = {
            "student": {"weight": torch.arange(6.0).view(2, 3)},
            "epoch": 3,
            "sums": [1.0, None],
            "seed": torch.ones(2),
        }
        self.checkpoint = checkpoints.write(folder / "checkpoints", 7, state).read_bytes()
        self.recipes = [TINY, *(path.read_text() for path in sorted((ROOT / "recipes").glob("*.toml")))]
        self.recipes += [path.read_text() for path in sorted((ROOT / "understudy" / "demo").glob("*.toml"))]
        self.seen = 0

    def recipes_(self, draw: random.Random) -> bool:
        original = draw.choice(self.recipes)
        text = mutate.text(draw, original) if draw.random() < 0.4 else self._as_toml(draw, original)
        accepted(recipe.parse(text, "r.toml"))
        return True

    def _as_toml(self, draw: random.Random, original: str) -> str:
        changed = mutate.tree(draw, tomllib.loads(original))
        try:
            return tomli_w.dumps(changed)
        except (TypeError, ValueError, AttributeError, RecursionError):  # no TOML could say it
            return mutate.text(draw, original)

    def overrides(self, draw: random.Random) -> bool:
        keys = [draw.choice(KEYS) for _ in range(draw.randint(1, 3))]
        changes = [f"{key}={draw.choice((*mutate.NUMBERS, *mutate.WORDS, repr(mutate.value(draw))))}" for key in keys]
        if draw.random() < 0.5:
            changes = [mutate.text(draw, change) for change in changes]
        accepted(recipe.parse(TINY, "r.toml", changes))
        return True

    def notations(self, draw: random.Random) -> bool:
        found = parse(mutate.text(draw, draw.choice(NOTATIONS)))
        for part in found.parts:
            bounds.check(part.term, "term")
            if not 0 <= part.factor <= bounds.LARGEST:
                raise WrongError(f"the weight {part.factor}")
        if parse(str(found)) != as_sum(found):
            raise WrongError(f"{found} is not read as it is written")
        return True

    def spaces(self, draw: random.Random) -> bool:
        text = mutate.text(draw, draw.choice(SPACES), (*mutate.NUMBERS, "..", "{", "}", " step ", " log", ","))
        if draw.random() < 0.6:
            found = read_space(text)
            if not all(abs(number) <= bounds.LARGEST for number in found.probes):
                raise WrongError(f"{found}")
            return True
        key = draw.choice(("methods.alone.label_smoothing", "train.optimizer.lr", "train.epochs", draw.choice(KEYS)))
        changes = [f"tune={draw.choice(mutate.NUMBERS)}"] if draw.random() < 0.2 else []
        parse_searched(TINY, "r.toml", changes, [f"{key}={text}" if draw.random() < 0.9 else text])
        return True

    def command_lines(self, draw: random.Random) -> bool:
        """A command that means something, of which some words are exchanged, mutated, doubled or left out."""
        (self.folder / "fuzzed.toml").write_text(self._as_toml(draw, TINY), errors="surrogateescape")
        command, *rest = draw.choice(COMMAND_LINES).split()
        arguments: list[str] = []
        for word in rest:
            kind = draw.randrange(12)
            if kind == 0:
                arguments.append(draw.choice((*mutate.WORDS, *mutate.NUMBERS)))
            elif kind == 1:
                arguments.append(mutate.text(draw, word))
            elif kind == 2:
                arguments += [word] * draw.choice([0, 2])
            else:
                arguments.append(word)
        if command == "distill":  # nothing is trained
            arguments += ["--dry-run", "--out", "other"]
        return self._command([command, *(word.replace("\x00", "") for word in arguments if word)])

    def _command(self, words: list[str]) -> bool:
        out, err = io.StringIO(), io.StringIO()
        before = sys.argv
        sys.argv = ["understudy", *words]
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), contextlib.suppress(BrokenPipeError):
                main()
        except SystemExit as end:
            code = end.code or 0
        finally:
            sys.argv = before
        shown = out.getvalue() + err.getvalue()
        own = "\n".join(line for line in shown.splitlines() if line[:1] not in "│╭╰")  # a panel is the parser's own
        if printable(own) != own:
            raise WrongError(f"the terminal was steered: {own[:500]!r}")
        if code not in (0, 2) or "Traceback" in shown:
            raise WrongError(f"exit code {code}: {shown[-500:]}")
        return code == 0

    def students(self, draw: random.Random) -> bool:
        place = self.folder / "student"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        weights = (self.folder / "run" / "student.safetensors").read_bytes()
        text = self._json(draw, without(self.description, "digest") if draw.random() < 0.8 else self.description)
        (place / "student.json").write_bytes(text)
        (place / "student.safetensors").write_bytes(mutate.raw(draw, weights) if draw.random() < 0.3 else weights)
        network = understudy.load(place)
        with torch.no_grad():
            network(torch.zeros(1, 3, 8, 8))
        return True

    def _json(self, draw: random.Random, content: Any) -> bytes:
        if draw.random() < 0.6:
            try:
                return json.dumps(mutate.tree(draw, content)).encode()
            except RecursionError:
                return b"[" * 100_000
        written = json.dumps(content)
        if draw.random() < 0.5:
            return mutate.text(draw, written).encode(errors="surrogatepass")
        return mutate.raw(draw, written.encode())

    def results(self, draw: random.Random) -> bool:
        place = self.folder / "results"
        if not place.exists():
            shutil.copytree(self.folder / "run", place)
        result = json.loads(self.result)
        result = without(result, "digest") if draw.random() < 0.8 else result
        (place / "result.json").write_bytes(self._json(draw, result))
        read_result(place)
        for text in (as_markdown(place), as_latex(place)):
            if printable(text) != text:
                raise WrongError(f"not shown as text: {text[:500]!r}")
        self.seen += 1
        if self.seen % 20 == 0:
            page = write_report(place).read_text(encoding="utf-8")
            if "<script>" in page or printable(page) != page:
                raise WrongError("the page holds something of the file raw")
        RunFolder(place).result()
        return True

    def caches(self, draw: random.Random) -> bool:
        place = self.folder / "caches"
        shutil.rmtree(place, ignore_errors=True)
        entry = place / "nodes" / self.entry.key
        shutil.copytree(self.folder / "entry", entry)
        file = draw.choice(sorted(entry.iterdir()))
        if file.suffix == ".json" and draw.random() < 0.7:
            file.write_bytes(self._json(draw, json.loads(file.read_bytes())))
        else:
            file.write_bytes(mutate.raw(draw, file.read_bytes()))
        whole = all(_same(path, self.folder / "entry" / path.name) for path in entry.iterdir())
        cache = TrainingCache(place)
        told, listed = cache.check(), [(found.bytes, found.record) for found in cache.entries()]
        before = sorted(self.folder.rglob("*")) if draw.random() < 0.02 else None
        record, lines = cache.take(self.entry.key, place / "taken", "taken-0")
        if (record is not None) != whole and not told and not listed:
            raise WrongError(f"{file.name} is damaged and was used")
        if record is not None and not whole:
            raise WrongError(f"{file.name} is damaged and was used")
        if record is None and not lines and not whole:
            raise WrongError(f"{file.name} is damaged, and no line says so")
        if before is not None and set(self.folder.rglob("*")) - set(before) - set(place.rglob("*")):
            raise WrongError("a file was written outside of the cache")
        return record is not None

    def checkpoints_(self, draw: random.Random) -> bool:
        place = self.folder / "checkpoints"
        (path,) = place.glob("*.checkpoint")
        changed = mutate.raw(draw, self.checkpoint)
        path.write_bytes(changed)
        found = checkpoints.newest(place)
        if found is None or (found.state is not None and changed != self.checkpoint):
            raise WrongError("a damaged checkpoint was used")
        return found.state is not None

    @property
    def kinds(self) -> dict[str, tuple[Callable[[random.Random], bool], int]]:
        """Each kind with its share of a hundred cases."""
        return {
            "recipes": (self.recipes_, 25),
            "overrides": (self.overrides, 15),
            "notations": (self.notations, 15),
            "spaces": (self.spaces, 10),
            "command lines": (self.command_lines, 7),
            "student.json": (self.students, 10),
            "result.json": (self.results, 8),
            "caches": (self.caches, 5),
            "checkpoints": (self.checkpoints_, 5),
        }


def without(content: dict[str, Any], key: str) -> dict[str, Any]:
    """What is not sealed is not compared, so that more of it is read."""
    return {name: value for name, value in content.items() if name != key}


def accepted(found: Recipe) -> None:
    """Every number of an accepted recipe is one that its annotation allows, and none is lost as it is written."""
    for table in found.methods.values():
        bounds.check(table.train, "train")
        kinds = METHODS[str(table.method)].kinds
        for key, value in table.settings.items():
            if value is not None and (reason := bounds.wrong(kinds[key], value)):
                raise WrongError(f"{key} = {value!r}: {reason}")
    for thing in (found.train, found.settings, found.answers, *(t.train for t in found.taught_by.values())):
        bounds.check(thing, "recipe")
    written = recipe.write(found)
    _finite(tomllib.loads(written))
    if recipe.parse(written) != found:
        raise WrongError(f"the recipe that is written is another one: {written}")


def _finite(value: Any) -> None:
    for path in mutate.places(value):
        inner = value
        for key in path:
            inner = inner[key]
        if isinstance(inner, float) and not math.isfinite(inner):
            raise WrongError(f"{path} is {inner}")


def _same(path: Path, other: Path) -> bool:
    """Whether two files are equal, or hold the same record in another layout."""
    one, two = path.read_bytes(), other.read_bytes()
    if one == two or path.suffix != ".json":
        return one == two
    try:
        return json.dumps(json.loads(one)) == json.dumps(json.loads(two))
    except (ValueError, RecursionError):
        return False


def outcome(kind: Callable[[random.Random], bool], seed: str) -> str:
    """``accepted`` or ``refused``; anything else is raised."""
    try:
        return "accepted" if kind(random.Random(seed)) else "refused"
    except UserError as error:
        text = str(error)
        if printable(text) != text or len(text) > 20_000:
            raise WrongError(f"a message of {len(text)} letters: {text[:200]!r}") from error
        return "refused"
