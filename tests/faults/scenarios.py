"""What the faults strike: six commands, each small, and what of their folders must be equal in the end."""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import RECIPE

FIRST = RECIPE.partition("[methods.fitnets]")[0].replace("epochs = 4\nbatch = 10", "epochs = 1\nbatch = 15")
TRAINED = """
[teacher]
network = "smallnets:student"
settings = { width = 8 }
train = { epochs = 1 }
accept_weak = true
one_for_all = true
"""
HEAD, REST = FIRST.partition("[teacher]")[0], "[student]" + FIRST.partition("[student]")[2]
SEARCH = ("--search", "methods.kd.temperature=1..20")
SETTINGS = ("--trust", "smallnets", "--checkpoint-seconds", "0")


@dataclass(frozen=True)
class Scenario:
    """A command in a folder of its own.

    Args:
        recipe: what lies there as ``recipe.toml``.
        command: its words after ``understudy``; it writes to ``run``.
        first: words of commands that go before it and are not disturbed.
    """

    name: str
    recipe: str
    command: tuple[str, ...]
    first: tuple[tuple[str, ...], ...] = ()


DISTILL = ("distill", "recipe.toml", "--out", "run", "--no-check", *SETTINGS)
SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            "one training",
            FIRST.replace("epochs = 1", "epochs = 2") + '[methods.fitnets]\npair = "conv -> conv1"\nhint_epochs = 1\n',
            (*DISTILL, "--workers", "1"),
        ),
        Scenario(
            "two workers",
            HEAD + TRAINED + REST + "[methods.alone]\n[methods.kd]\n",
            (*DISTILL, "--workers", "2", "--cache", "cache"),
        ),
        Scenario(
            "path",
            HEAD + TRAINED + REST + '[path]\nsizes = [6]\nby = "width"\n[methods.kd]\n',
            ("path", "recipe.toml", "--out", "run", "--no-check", *SETTINGS, "--workers", "1"),
        ),
        Scenario(
            "tune",
            FIRST + "[methods.kd]\n",
            ("tune", "recipe.toml", "--out", "run", "--no-check", *SETTINGS, "--trials", "2", *SEARCH),
        ),
        Scenario(
            "stored answers",
            FIRST.replace("epochs = 1", "epochs = 2") + '[answers]\nviews = 1\ntaps = "exact"\n[methods.kd]\n',
            (*DISTILL, "--workers", "1"),
        ),
        Scenario(
            "export",
            FIRST.replace("epochs = 1", "epochs = 12") + "[methods.kd]\n",
            ("export", "run", "--to", "plain", "--trust", "smallnets"),
            first=((*DISTILL, "--workers", "1"),),
        ),
    )
}

# What is measured anew, or names a process or a moment; figures and bytes of students are none of it.
_TIMES = re.compile(
    r"seconds|session_seconds|measuring_seconds|latency_ms|throughput_ms|onnx_latency_ms|onnx_throughput_ms|speedup|"
    r"machine|memory|command|digest|digests|versions|test_read_after_trials"
)
ANSWERS = "answers: "  # which may be missing where they could not be written
_ONLY_THERE = (".html", ".svg", ".sqlite", "README.md", "search.json", ".lock")


def snapshot(root: Path) -> dict[str, str]:
    """Every file of the run and the cache, with the digest of what must be equal in it."""
    return dict(_snapshot(root))


def _snapshot(root: Path) -> Iterator[tuple[str, str]]:
    for home in ("run", "cache"):
        for path in sorted((root / home).rglob("*")):
            name = path.relative_to(root).as_posix()
            if path.is_dir():
                if not any(path.iterdir()) and path.name not in ("parts", "damaged"):
                    yield name, "empty folder"
            elif path.suffix == ".answers":
                yield name, ANSWERS + path.read_bytes().hex()
            elif not path.name.endswith(_ONLY_THERE):
                yield name, hashlib.sha256(_content(path)).hexdigest()
            elif path.name != ".lock":
                yield name, "there"


def _content(path: Path) -> bytes:
    try:
        if path.name == "metrics.jsonl":
            return "\n".join(_plain(json.loads(line)) for line in path.read_text().splitlines()).encode()
        if path.suffix == ".json":
            return _plain(json.loads(path.read_text())).encode()
    except ValueError:  # damaged
        pass
    return path.read_bytes()


def _plain(content: Any) -> str:
    return json.dumps(_without_times(content), sort_keys=True)


def _without_times(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _without_times(value) for key, value in content.items() if not _TIMES.fullmatch(key)}
    if isinstance(content, list):
        return [_without_times(value) for value in content]
    return content


def begun(root: Path) -> dict[str, int]:
    """Every training under way, by the folder of its checkpoints, with the number of its newest one."""
    found: dict[str, int] = {}
    for path in root.rglob("*.checkpoint"):
        place = path.parent.relative_to(root).as_posix()
        found[place] = max(found.get(place, -1), int(path.stem))
    return found


def finished(root: Path) -> list[str]:
    """Every finished training of a run, by the folder in which its checkpoints were."""
    results = (root / "run").rglob("trainings/*/result.json")
    return [path.parent.relative_to(root).as_posix().replace("trainings/", "checkpoints/") for path in results]
