"""Runs commands in forked processes, strikes them with faults, and judges what is left.

The process that imported everything forks a child for each command, so that a command begins in a millisecond. It is
the reaper of its grandchildren: a worker that outlives its engine is seen.
"""

import contextlib
import ctypes
import gc
import json
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch

from tests.conftest import make_workplace
from tests.faults.damage import plain_format
from tests.faults.injector import Fault, Injector, Place
from tests.faults.quick import nothing_measured_or_drawn
from tests.faults.scenarios import SCENARIOS, Scenario, begun, finished, snapshot

LIMIT = 120  # seconds for a command
GONE = 10  # seconds for a worker to notice that its engine is gone


class ForkedWorker:
    """A worker process of the engine ``local``, forked instead of started, with the same pipes."""

    def __init__(self, injector: Injector):
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            self._serve(injector, theirs_in, theirs_out)
        os.close(theirs_in)
        os.close(theirs_out)
        self.stdin: IO[str] = os.fdopen(ours_out, "w", encoding="utf-8")
        self.stdout: IO[str] = os.fdopen(ours_in, "r", encoding="utf-8")

    def _serve(self, injector: Injector, incoming: int, outgoing: int) -> None:
        code = 1
        try:
            os.setsid()
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            os.dup2(incoming, 0)
            os.dup2(outgoing, 1)
            keep = injector.trace
            os.closerange(3, keep)
            os.closerange(keep + 1, 1024)
            sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
            injector.as_worker()
            from understudy.plans.engines import worker

            worker.main()
            code = 0
        except BaseException:
            os.write(2, traceback.format_exc().encode())
        finally:
            os._exit(code)

    def wait(self) -> int:
        try:
            return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        except ChildProcessError:
            return 0

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it passed."""

    code: int  # negative: killed by this signal
    places: list[Place]
    struck: bool
    orphans: int
    said: str


class Server:
    """Everything that the commands need, imported and warm.

    Args:
        home: a folder for the scenarios; on a file system in memory, syncs cost nothing.
    """

    def __init__(self, home: Path):
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
        torch.set_num_threads(1)
        self.home = home.resolve()
        self.home.mkdir(parents=True, exist_ok=True)
        self.workplace = self.home / "workplace"
        if not (self.workplace / "recipe.toml").exists():
            self.workplace.mkdir(exist_ok=True)
            make_workplace(self.workplace)
        sys.path.insert(0, str(self.workplace))
        os.environ.pop("UNDERSTUDY_CACHE", None)
        _quick()
        self._warm()
        self.expected: dict[str, dict[str, str]] = {}
        self.places: dict[str, list[Place]] = {}

    def _warm(self) -> None:
        """Carry some commands out in this process, so that what they import and read once is there in its children."""
        here = os.getcwd()
        for name in ("one training", "tune", "path", "export"):
            scenario = SCENARIOS[name]
            root = self.home / "warm"
            shutil.rmtree(root, ignore_errors=True)
            self._workplace(scenario, root)
            os.chdir(root)
            for words in (*scenario.first, scenario.command):
                with (
                    open(os.devnull, "w") as nowhere,
                    contextlib.redirect_stdout(nowhere),
                    contextlib.redirect_stderr(nowhere),
                ):
                    _give(words)
            os.chdir(here)
        gc.collect()
        gc.freeze()  # or each child would copy the pages of all that was imported

    def prepare(self, scenario: Scenario) -> None:
        """Carry a scenario out undisturbed: what it leaves, and the places that it passes."""
        root = self.fresh(scenario)
        ended = self.run(scenario.command, root)
        if ended.code != 0:
            raise RuntimeError(f"{scenario.name} fails undisturbed (exit code {ended.code}):\n{ended.said[-3000:]}")
        self.expected[scenario.name], self.places[scenario.name] = snapshot(root), sorted(set(ended.places))

    def fresh(self, scenario: Scenario) -> Path:
        """A folder in which the scenario's command can be given; always the same one, whose path stands in records."""
        root = self.home / "work"
        shutil.rmtree(root, ignore_errors=True)
        begun = self.home / f"begun {scenario.name}"
        if scenario.first and not begun.exists():
            self._workplace(scenario, begun)
            for words in scenario.first:
                ended = self.run(words, begun)
                assert ended.code == 0, ended.said
        if scenario.first:
            shutil.copytree(begun, root, symlinks=True)
        else:
            self._workplace(scenario, root)
        return root

    def _workplace(self, scenario: Scenario, root: Path) -> None:
        root.mkdir()
        (root / "pictures").symlink_to(self.workplace / "pictures")
        (root / "teacher.safetensors").symlink_to(self.workplace / "teacher.safetensors")
        (root / "recipe.toml").write_text(scenario.recipe)

    def run(self, words: tuple[str, ...], root: Path, fault: Fault | None = None) -> Ended:
        """Give a command in a folder."""
        control = self.home / "control"
        shutil.rmtree(control, ignore_errors=True)
        control.mkdir()
        child = os.fork()
        if child == 0:
            _carry_out(words, root, control, fault)
        code = _waited(child)
        orphans = _orphans()
        trace = control / "trace.jsonl"
        places = [Place(**json.loads(line)) for line in trace.read_text().splitlines()] if trace.exists() else []
        said = (control / "said").read_text(errors="replace") if (control / "said").exists() else ""
        return Ended(code, places, (control / "struck").exists(), orphans, said)

    def strike(self, scenario: Scenario, fault: Fault) -> tuple[str, str]:
        """One fault, and the same command again: ``"equal"``, ``"not reached"`` or ``"failed"``, and why."""
        root = self.fresh(scenario)
        first = self.run(scenario.command, root, fault)
        problems = list[str]()
        if not first.struck:
            return "not reached", ""
        if first.orphans:
            problems.append(f"{first.orphans} processes outlived the command")
        if "Traceback" in first.said or first.code not in (0, 2, -signal.SIGKILL):
            problems.append(f"the command ended with exit code {first.code}: {_last(first.said)}")
        if first.code == -signal.SIGKILL and fault.kind != "kill":
            problems.append("the command did not end")
        before, done = begun(root), finished(root)
        second = self.run(scenario.command, root)
        if second.code != 0 or "Traceback" in second.said:
            problems.append(f"the second time it ended with exit code {second.code}: {_last(second.said)}")
        if second.orphans:
            problems.append(f"{second.orphans} processes outlived the second command")
        problems += _lost(before, done, second.places)
        unstored = "no longer stored" in first.said
        problems += _differing(self.expected[scenario.name], snapshot(root), unstored=unstored)
        if problems:
            problems.append(f"first: {_last(first.said)}")
        return ("failed" if problems else "equal"), " | ".join(problems)


def _carry_out(words: tuple[str, ...], root: Path, control: Path, fault: Fault | None) -> None:
    """In the child: the command as the user gives it."""
    code = 1
    try:
        said = os.open(control / "said", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(said, 1)
        os.dup2(said, 2)
        os.chdir(root)
        injector = Injector(root, control, fault)
        injector.install()
        if words[0] == "tune":
            injector.watch_database()
        from understudy.plans.engines import processes

        def begin(self: Any) -> None:
            self.process = ForkedWorker(injector)

        processes.Worker._begin = begin  # type: ignore[method-assign]
        code = _give(words)
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _give(words: tuple[str, ...]) -> int:
    """Give a command in this process; its exit code."""
    from understudy.cli import main

    sys.argv = ["understudy", *words]
    try:
        main()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    return 0


def _waited(child: int) -> int:
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -signal.SIGKILL


def _orphans() -> int:
    """How many processes of a command that has ended do not end soon; they are ended here."""
    deadline = time.monotonic() + GONE
    while time.monotonic() < deadline:
        try:
            found, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return 0
        if not found:
            time.sleep(0.005)
    left = list(_children())
    for pid in left:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    return len(left)


def _children() -> Iterator[int]:
    for task in Path("/proc/self/task").iterdir():
        yield from map(int, (task / "children").read_text().split())


def _lost(before: dict[str, int], done: list[str], places: list[Place]) -> list[str]:
    """What the second command trained again: a finished training, or steps that a checkpoint had."""
    problems = list[str]()
    for place in places:
        if place.operation != "rename" or not place.path.endswith(".checkpoint"):
            continue
        folder, number = str(Path(place.path).parent), int(Path(place.path).stem)
        if folder in done and folder not in before:
            problems.append(f"{folder} was finished and is trained again")
        elif number <= before.get(folder, -1):
            problems.append(f"{folder} had reached {before[folder]} and went on from before {number}")
    return problems[:2]


def _differing(expected: dict[str, str], found: dict[str, str], *, unstored: bool = False) -> list[str]:
    """Files that are not as in an undisturbed run; answers that could not be stored, as was said, may be missing."""
    names = [name for name in sorted({*expected, *found}) if expected.get(name) != found.get(name)]
    if unstored:
        names = [name for name in names if not ("/stored/" in name and _is_part(found.get(name), expected.get(name)))]
    texts = [
        f"{name} {'missing' if name not in found else 'left over' if name not in expected else 'differs'}"
        for name in names
    ]
    return [", ".join(texts[:6])] if texts else []


def _is_part(found: str | None, expected: str | None) -> bool:
    """Whether nothing but records that are not there tells two files of answers apart."""
    if found is None or expected is None:
        return found is None or found == "empty folder"
    pairs = zip(found, expected, strict=False)  # beyond the end of a file, no record is there either
    return len(found) <= len(expected) and all(one in ("0", other) for one, other in pairs)


def _last(said: str) -> str:
    return " / ".join(said.strip().splitlines()[-3:])[-400:]


def _quick() -> None:
    """Import what the commands need, measure and draw nothing, and offer a format that costs nothing."""
    import optuna  # noqa: F401
    import torch._dynamo  # noqa: F401 - the first optimizer imports it, for seconds

    from understudy import export
    from understudy.cli._app import LazyCommands
    from understudy.report.page import page  # noqa: F401

    for command in ("distill", "path", "tune", "export"):
        LazyCommands()[command]
    nothing_measured_or_drawn()
    export.FORMATS["plain"] = plain_format()


__all__ = ["SCENARIOS", "Server"]
