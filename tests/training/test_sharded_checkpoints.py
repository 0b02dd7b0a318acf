"""Checkpoints in parts: whole or not at all, damaged files by name, and rows for any number of ranks."""

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from understudy import files
from understudy.errors import UserError
from understudy.ranks import Ranks
from understudy.training import checkpoints, saving
from understudy.training.parts import Share

OPERATIONS = ("open_handle", "write", "sync", "rename", "remove")
SHARDED = {  # those that have fewer rows than there are ranks, no rows, and elements of every size
    "/w": torch.arange(15.0).reshape(5, 3),
    "/few": torch.tensor([[True, False]]),
    "/none": torch.empty(0, 2),
    "/half": torch.arange(7).to(torch.bfloat16),
    "/long": torch.arange(24, dtype=torch.int64).reshape(4, 2, 3),
}


class KilledError(BaseException):
    pass


def share(rank: int, world: int) -> Share:
    return Share(rank, world, lambda rows, shape: rows)


def save(folder: Path, number: int, world: int, *, from_last: bool = False) -> None:
    """A checkpoint as that many ranks write it, which hold ``number`` times the tensors."""
    structure, whole = checkpoints.flat({"number": number, "rest": torch.tensor(number)})
    shapes = {name: list(tensor.shape) for name, tensor in SHARDED.items()}
    names = json.loads(structure)
    names["$items"] += [[name[1:], {"$tensor": name}] for name in SHARDED]
    digests = [""] * world
    for rank in reversed(range(world)) if from_last else range(world):
        held = dict[str, Tensor](whole) if rank == 0 else {}
        for name, tensor in SHARDED.items():
            first, last = share(rank, world).rows(len(tensor))
            held[name] = (tensor * number).to(tensor.dtype)[first:last]
        digests[rank] = checkpoints.write_part(folder, number, rank, world, held)
    checkpoints.complete(folder, number, json.dumps(names), shapes, digests)


def is_number(state: object, number: int) -> bool:
    assert isinstance(state, dict)
    right = state["number"] == number and state["rest"].item() == number
    return right and all(torch.equal(state[name[1:]], (t * number).to(t.dtype)) for name, t in SHARDED.items())


def listed(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


@pytest.mark.parametrize("readers", [1, 2, 4])
@pytest.mark.parametrize("writers", [1, 2, 3])
def test_any_number_of_ranks_reads_its_rows_from_the_parts_of_any_other(tmp_path: Path, writers: int, readers: int):
    save(tmp_path, 2, writers)
    path = tmp_path / "000000000002.checkpoint"
    assert is_number(checkpoints.read(path), 2)
    states = [checkpoints.read(path, share(rank, readers)) for rank in range(readers)]
    for name, tensor in SHARDED.items():
        rows = [state[name[1:]] for state in states if isinstance(state, dict)]
        assert [len(part) for part in rows] == [len(c) for c in _chunks(tensor, readers)], name
        assert torch.equal(torch.cat(rows), (tensor * 2).to(tensor.dtype)), name
    assert all(isinstance(state, dict) and state["rest"].item() == 2 for state in states)


def _chunks(tensor: Tensor, count: int) -> list[Tensor]:
    """As ``fully_shard`` cuts a parameter."""
    chunks = list(torch.chunk(tensor, count)) if len(tensor) else []
    return chunks + [tensor[:0]] * (count - len(chunks))


class Killed:
    """A process that ends before one of its operations on files; how many it did is counted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, after: int):
        self.left = after
        for name in OPERATIONS:
            monkeypatch.setattr(files, name, self.counted(getattr(files, name)))

    def counted(self, operation):  # type: ignore[no-untyped-def]
        def operate(*args):  # type: ignore[no-untyped-def]
            if self.left == 0:
                raise KilledError
            self.left -= 1
            return operation(*args)

        return operate


def moments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, from_last: bool) -> Iterator[Path]:
    """Folders with checkpoints 1 and 2, in which the third was killed before each of its operations."""
    whole = tmp_path / "whole"
    save(whole, 1, 3)
    checkpoints.write(
        whole, 2, {"number": 2, "rest": torch.tensor(2)} | {n[1:]: _double(t) for n, t in SHARDED.items()}
    )
    for after in range(1000):
        folder = tmp_path / f"{after}"
        shutil.copytree(whole, folder)
        with monkeypatch.context() as patch, contextlib.suppress(KilledError):
            Killed(patch, after)
            save(folder, 3, 2, from_last=from_last)
            return
        yield folder
    raise AssertionError("it has no end")


def _double(tensor: Tensor) -> Tensor:
    return (tensor * 2).to(tensor.dtype)


@pytest.mark.parametrize("from_last", [False, True])
def test_a_checkpoint_is_there_whole_or_not_at_all_whenever_a_rank_is_killed(tmp_path, monkeypatch, from_last):
    seen = set()
    for folder in moments(tmp_path, monkeypatch, from_last):
        newest = checkpoints.newest(folder)
        assert newest is not None
        assert newest.warnings == []
        number = newest.state["number"]
        assert is_number(newest.state, number)
        seen.add(number)
        save(folder, 4, 2)  # the run goes on, and nothing is left over
        own = {f"{4:012d}.{name}" for name in ("checkpoint", "0-of-2.shard", "1-of-2.shard")}
        parts = {2: ["checkpoint"], 3: ["checkpoint", "0-of-2.shard", "1-of-2.shard"]}[number]
        assert listed(folder) == own | {f"{number:012d}.{name}" for name in parts}
        checkpoints.clear(folder)
        assert not any(folder.glob("*.shard"))
    assert seen == {2, 3}


DAMAGES = {
    "flipped": "is damaged (its checksum does not fit)",
    "cut": "is damaged (its checksum does not fit)",
    "gone": "is missing",
    "of another checkpoint": "belongs to another checkpoint",
}


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("place", ["checkpoint", "0-of-2.shard", "1-of-2.shard"])
def test_a_damaged_file_is_told_by_name_and_the_checkpoint_before_is_taken(tmp_path: Path, place: str, how: str):
    save(tmp_path, 1, 2)
    save(tmp_path, 2, 2)
    path = tmp_path / f"{2:012d}.{place}"
    content = bytearray(path.read_bytes())
    if how == "flipped":
        content[len(content) // 2] ^= 1
    path.write_bytes(content[: len(content) // 2] if how == "cut" else content)
    if how == "of another checkpoint":
        shutil.copy(tmp_path / f"{1:012d}.{place}", path)
    elif how == "gone":
        path.unlink()
    newest = checkpoints.newest(tmp_path)
    assert newest is not None
    assert is_number(newest.state, 1)
    if (place, how) == ("checkpoint", "gone"):  # as if it was never completed
        assert newest.warnings == []
        return
    said = "belongs to another checkpoint" if place == "checkpoint" and how == "of another checkpoint" else DAMAGES[how]
    assert len(newest.warnings) == 1
    assert said in newest.warnings[0]
    assert path.stem.partition(".")[0] in newest.warnings[0]
    if place != "checkpoint":
        assert str(path) in newest.warnings[0]


def test_a_rank_tells_damage_to_the_parts_that_it_reads(tmp_path: Path):
    save(tmp_path, 2, 2)
    path = tmp_path / f"{2:012d}.1-of-2.shard"
    path.write_bytes(path.read_bytes()[:-40] + bytes(40))
    with pytest.raises(checkpoints.DamagedError, match=r"1-of-2\.shard is damaged"):
        checkpoints.read(tmp_path / f"{2:012d}.checkpoint", share(1, 2))
    with pytest.raises(checkpoints.DamagedError, match=r"1-of-2\.shard is damaged"):
        checkpoints.read(tmp_path / f"{2:012d}.checkpoint", share(0, 2))  # the first rank looks at all


class OnOneMachine(Ranks):
    def objects(self, value):  # type: ignore[no-untyped-def]
        return [value] * self.world


@pytest.mark.parametrize("short", [0, 1])
def test_the_copies_of_all_ranks_of_a_machine_leave_most_of_its_memory(tmp_path: Path, monkeypatch, short: int):
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    part = {"x": torch.zeros(3)}
    monkeypatch.setattr(saving, "usable_memory", lambda: 2 * saving.ROOM * part["x"].nbytes - short)
    saver = saving.Saver(tmp_path, 1.0, shares_cores=True, ranks=OnOneMachine(0, 2))
    assert saver._has_room(part) is not bool(short)


def test_a_part_that_another_machine_kept_for_itself_is_refused(tmp_path: Path):
    digest = checkpoints.write_part(tmp_path, 1, 0, 2, {})
    with pytest.raises(UserError, match=r"1-of-2\.shard is not there for the first one: choose an --out on a disk"):
        checkpoints.complete(tmp_path, 1, "{}", {}, [digest, digest])
    assert checkpoints.newest(tmp_path) is None
