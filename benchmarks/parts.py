"""What was measured, part by part: each with the commit, the time and the command at which it was taken.

A part is one section, of one pair of networks where the section has pairs. So pages can be made of several runs.
"""

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

FORMAT = 3
ROOT = Path(__file__).resolve().parent.parent
HEAD = ("format", "machine", "versions", "images")  # in which all parts of a page are alike

Raw = dict[str, Any]
Part = Mapping[str, Any]


class UnlikeError(Exception):
    """Files that cannot stand on one page."""


def raw(machine: Mapping[str, Any], versions: Mapping[str, str], images: int) -> Raw:
    """An empty beginning."""
    return {"format": FORMAT, "machine": dict(machine), "versions": dict(versions), "images": images, "parts": []}


def taken(section: str, pair: str | None, command: str, measure: Callable[[], Any]) -> Part:
    """A part, measured now."""
    at, commit, began = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), commit_of(ROOT), time.perf_counter()
    found = json.loads(json.dumps(measure()))  # as a file has it
    return {
        "section": section,
        "pair": pair,
        "commit": commit,
        "at": at,
        "minutes": (time.perf_counter() - began) / 60,
        "rounds": rounds(found),
        "command": command,
        "found": found,
    }


def put(raw: Raw, part: Part) -> None:
    """Into the place of what was measured before, if it was."""
    raw["parts"] = [other for other in raw["parts"] if place(other) != place(part)] + [part]


def place(part: Part) -> tuple[str, str | None]:
    return part["section"], part["pair"]


def merged(paths: Sequence[Path], head: Raw | None = None) -> Raw:
    """All parts of these files, of each the latest; they are of one machine, with the same versions and images.

    With ``head``, of that machine.
    """
    found = head
    for path in paths:
        raw = json.loads(path.read_text(encoding="utf-8"))
        found = found or {**{key: raw.get(key) for key in HEAD}, "parts": []}
        other = [key for key in HEAD if raw.get(key) != found[key]]
        if other:
            raise UnlikeError(f"{path} differs in {', '.join(other)}: what is on one page is measured alike")
        for part in raw["parts"]:
            there = next((one for one in found["parts"] if place(one) == place(part)), None)
            if there is None or there["at"] <= part["at"]:
                put(found, part)
    assert found is not None
    return found


def rounds(found: Any) -> int:
    """The most values of one kind: some of a part are measured less often than the rest."""
    if isinstance(found, Mapping):
        return max(map(rounds, found.values()), default=0)
    return len(found) if isinstance(found, list) else 1


def caption(part: Part) -> str:
    """``"27 rounds, at 6c3c8ca"``"""
    count = part["rounds"]
    return f"{count} round{'s' if count != 1 else ''}, at {part['commit']}"


def of(raw: Raw, section: str) -> Iterator[Part]:
    """Those of a section, pair by pair."""
    found = [part for part in raw["parts"] if part["section"] == section]
    yield from sorted(found, key=lambda part: part["pair"] or "")


def commit_of(folder: Path) -> str:
    """Of the code that is measured, and whether it was changed since."""
    git = ["git", "-C", str(folder)]
    commit = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    changed = subprocess.run([*git, "status", "--porcelain", "--", "understudy", "benchmarks"], capture_output=True)
    return f"{commit or 'no commit'}{' with changes' if changed.stdout.strip() else ''}"
