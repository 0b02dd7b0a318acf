"""The cache: what is put comes out as it was, damage is named and set aside, half-written entries never count."""

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from understudy.errors import UserError
from understudy.files import owner, sha256, write_json
from understudy.plans import TrainingCache
from understudy.plans import cache as caches
from understudy.plans import entry as entry_module
from understudy.plans.cache import Entry
from understudy.plans.entry import damaged, finish, finished
from understudy.training.records import StageEnd, TrainingRecord

KEY = "ab" * 32


def training(folder, name="kd-0", weights=b"weights", key=KEY):
    """A finished training, as far as a cache looks at it."""
    folder.mkdir(parents=True)
    (folder / "student.safetensors").write_bytes(weights)
    (folder / "student.json").write_text("{}")
    (folder / "metrics.jsonl").write_text("".join(f'{{"training": "{name}", "epoch": {e}}}\n' for e in (1, 2)))
    end = StageEnd(stage="labels", epochs=2, validation={"accuracy": 0.5})
    return finish(folder, TrainingRecord(training=name, key=key, stages=[end]))


@pytest.fixture
def cache(tmp_path):
    return TrainingCache(tmp_path / "cache")


@pytest.fixture
def filled(cache, tmp_path):
    cache.put(KEY, tmp_path / "run", training(tmp_path / "run"))
    return cache


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_what_is_put_comes_out_under_its_new_name(filled, tmp_path):
    assert KEY in filled
    record, told = filled.take(KEY, tmp_path / "other", "mine-7")
    assert told == []
    assert record == finished(tmp_path / "other")
    assert damaged(tmp_path / "other") == []
    assert (record.training, record.key) == ("mine-7", KEY)
    assert (tmp_path / "other/student.safetensors").read_bytes() == b"weights"
    lines = [json.loads(line) for line in (tmp_path / "other/metrics.jsonl").read_text().splitlines()]
    assert lines == [{"training": "mine-7", "epoch": 1}, {"training": "mine-7", "epoch": 2}]
    assert finished(next(filled.entries()).folder).training == "kd-0"


def test_what_is_not_there_is_not_taken(cache, filled, tmp_path):
    assert cache.take("cd" * 32, tmp_path / "other", "x") == (None, [])
    assert TrainingCache(tmp_path / "nowhere").take(KEY, tmp_path / "other", "x") == (None, [])
    assert list(TrainingCache(tmp_path / "nowhere").entries()) == []
    assert not (tmp_path / "other").exists()


def test_an_entry_is_hashed_once_until_it_changes(filled, monkeypatch):
    (entry,) = filled.entries()
    for path in entry.folder.iterdir():
        os.utime(path, (1e9, 1e9))  # not written just now
    hashed = []
    monkeypatch.setattr(entry_module, "sha256", lambda path: hashed.append(path.name) or sha256(path))
    assert KEY in filled
    assert sorted(hashed) == ["metrics.jsonl", "student.json", "student.safetensors"]
    assert KEY in filled
    assert len(hashed) == 3
    (entry.folder / "student.safetensors").write_bytes(b"weighty")  # as long as before
    assert KEY not in filled


def test_what_is_pruned_while_it_is_taken_is_not_there(filled, tmp_path, monkeypatch):
    def pruned(*_):
        filled.prune(unused=0.0)
        return copied(*_)

    copied = caches.copy_finished
    monkeypatch.setattr(caches, "copy_finished", pruned)
    assert filled.take(KEY, tmp_path / "other", "x") == (None, [])
    assert finished(tmp_path / "other") is None
    assert filled.prune(unused=0.0) == []


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_damage_to_any_file_is_named_set_aside_and_put_again(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("damage")
    cache, record = TrainingCache(folder / "cache"), training(folder / "run")
    cache.put(KEY, folder / "run", record)
    entry = next(cache.entries())
    name = data.draw(st.sampled_from(sorted(record.digests)))
    content = bytearray((entry.folder / name).read_bytes())
    kind = data.draw(st.sampled_from(["flip", "cut", "gone"]))
    if kind == "gone":
        (entry.folder / name).unlink()
    else:
        at = data.draw(st.integers(0, max(0, len(content) - 2)))  # a result without its last newline is the same
        content[at] ^= 1 << data.draw(st.integers(0, 7))
        (entry.folder / name).write_bytes(content if kind == "flip" else content[:at])
    wrong = entry.damage()
    assert wrong == [name]
    assert list(cache.check()) == [KEY]
    assert KEY not in cache
    assert cache.record(KEY) is None
    taken, (told,) = cache.take(KEY, folder / "other", "x")
    assert taken is None
    assert "is damaged" in told
    assert KEY not in cache
    assert not (folder / "other").exists()
    cache.put(KEY, folder / "run", record)
    assert cache.check() == {}
    assert cache.take(KEY, folder / "other", "x")[0] is not None


def test_an_entry_that_was_copied_under_another_key_is_damaged(filled, tmp_path):
    other = "cd" * 32
    shutil.copytree(filled.path / "nodes" / KEY, filled.path / "nodes" / other)
    assert filled.check() == {other: ["result.json of another key"]}
    assert (KEY in filled, other in filled) == (True, False)
    taken, (told,) = filled.take(other, tmp_path / "run2", "x")
    assert taken is None
    assert "is damaged (result.json of another key): set aside" in told
    assert filled.check() == {}


def test_a_damaged_entry_is_healed_by_the_next_that_puts_it(filled, tmp_path):
    (filled.path / "nodes" / KEY / "student.safetensors").write_bytes(b"nonsense")
    filled.put(KEY, tmp_path / "run", finished(tmp_path / "run"))
    assert filled.check() == {}
    assert len(list((filled.path / "damaged").iterdir())) == 1


def test_an_entry_that_was_killed_half_way_never_counts(cache, tmp_path, monkeypatch):
    record = training(tmp_path / "run")
    killed = RuntimeError("as by SIGKILL")

    def die(*_):
        raise killed

    for moment in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, moment, die)
            patch.setattr("shutil.rmtree", lambda *_, **__: None)
            with pytest.raises(RuntimeError):
                cache.put(KEY, tmp_path / "run", record)
        assert files(cache.path)
        assert KEY not in cache
        assert list(cache.entries()) == []
        assert cache.take(KEY, tmp_path / "other", "x") == (None, [])
    cache.put(KEY, tmp_path / "run", record)
    assert KEY in cache


def test_a_full_disk_is_a_mistake_in_a_line_and_leaves_no_entry(cache, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    record = training(tmp_path / "run")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"cannot write to the cache .*No space left"):
        cache.put(KEY, tmp_path / "run", record)
    assert files(cache.path) == set()


def test_many_who_put_and_take_at_once_agree(cache, tmp_path):
    runs = [(tmp_path / f"run{i}", training(tmp_path / f"run{i}")) for i in range(8)]

    def work(number):
        folder, record = runs[number]
        cache.put(KEY, folder, record)
        return cache.take(KEY, tmp_path / f"taken{number}", f"n{number}")[0]

    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(work, range(8)))
    assert [record.training for record in taken] == [f"n{i}" for i in range(8)]
    assert [entry.key for entry in cache.entries()] == [KEY]
    assert cache.check() == {}
    assert not list((cache.path / "parts").iterdir())


def test_pruning_removes_what_is_damaged_set_aside_left_over_and_unused_and_nothing_else(cache, tmp_path):
    keys = [letter * 64 for letter in "abcd"]
    for key in keys:
        cache.put(key, tmp_path / key, training(tmp_path / key, key=key))
    os.utime(cache.path / "nodes" / keys[0], (0, 0))  # unused since 1970
    (cache.path / "nodes" / keys[1] / "student.json").write_text("[]")
    (cache.path / "parts" / "old").mkdir(parents=True)
    (cache.path / "parts" / "growing").mkdir()
    os.utime(cache.path / "parts" / "old", (0, 0))
    (cache.path / "nodes" / keys[2] / "student.json").write_text("[]")
    cache.take(keys[2], tmp_path / "other", "x")
    (aside,) = (cache.path / "damaged").iterdir()
    expected = [keys[1], "old", aside.name]
    assert cache.prune(dry_run=True) == expected
    assert len(list(cache.entries())) == 3
    assert cache.prune() == expected
    assert {entry.key for entry in cache.entries()} == {keys[0], keys[3]}
    assert [path.name for path in (cache.path / "parts").iterdir()] == ["growing"]
    assert cache.prune(86_400) == [keys[0]]
    assert [entry.key for entry in cache.entries()] == [keys[3]]
    assert cache.prune(86_400) == []


def test_somebody_elses_files_are_left_out_and_left_alone(filled, tmp_path):
    (filled.path / "damaged").mkdir()
    (filled.path / "parts").mkdir(exist_ok=True)
    strays = [filled.path / folder / ".DS_Store" for folder in ("nodes", "damaged", "parts")]
    for stray in strays:
        stray.write_bytes(b"a window's place")
        os.utime(stray, (0, 0))
    assert [entry.key for entry in filled.entries()] == [KEY]
    assert (filled.check(), filled.strays()) == ({}, [".DS_Store"])
    assert filled.prune() == []
    assert all(stray.exists() for stray in strays)
    assert filled.take(KEY, tmp_path / "other", "x")[0] is not None


def test_what_is_taken_counts_as_used(filled, tmp_path):
    entry = Entry(KEY, filled.path / "nodes" / KEY)
    os.utime(entry.folder, (0, 0))
    filled.take(KEY, tmp_path / "other", "x")
    assert entry.used > 0


@pytest.mark.parametrize("name", ["../../../outside.txt", "/tmp/outside.txt", "sub/student.json", "other.txt"])
def test_an_entry_that_names_other_files_than_a_training_leaves_is_damaged_and_nothing_is_copied(tmp_path, name):
    entry, key = tmp_path / "cache/nodes/k", "k"
    entry.mkdir(parents=True)
    (entry / "student.safetensors").write_bytes(b"weights")
    (tmp_path / "outside.txt").write_text("payload")
    record = finish(entry, TrainingRecord(training="n", key=key))
    record.digests[name] = sha256(tmp_path / "outside.txt")
    record.digests["result.json"] = entry_module._digest(record.content())
    (entry / "result.json").write_text(record.text())
    assert Entry(key, entry).damage() == ["result.json"]
    taken, lines = TrainingCache(tmp_path / "cache").take(key, tmp_path / "run/trainings/n", "n")
    assert taken is None
    assert "is damaged" in lines[0]
    assert not (tmp_path / "run").exists()
    (tmp_path / "deep/er/n").mkdir(parents=True)
    record = record.model_copy(update={"digests": {name: ""}})
    entry_module.copy_finished(tmp_path, record, tmp_path / "deep/er/n", "n")
    assert sorted(path.name for path in (tmp_path / "deep/er/n").iterdir()) == ["result.json"]


def test_a_link_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "mine.txt").write_text("untouched")
    for name in ("student.json", f".student.json.{owner()}.part"):
        (tmp_path / name).symlink_to(tmp_path / "mine.txt")
    write_json(tmp_path / "student.json", {})
    assert (tmp_path / "mine.txt").read_text() == "untouched"
    assert not (tmp_path / "student.json").is_symlink()


def test_another_format_is_one_clear_line(tmp_path):
    (tmp_path / "student.safetensors").write_bytes(b"weights")
    record = finish(tmp_path, TrainingRecord(training="n", key="k"))
    write_json(tmp_path / "result.json", record.content() | {"format": 99})
    with pytest.raises(UserError, match="is of format 99, and this version of understudy reads format 1"):
        entry_module.finished(tmp_path)
