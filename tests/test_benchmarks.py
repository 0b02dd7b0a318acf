"""What ``python -m benchmarks`` compares with: who takes part; and what its page says of what was measured."""

import sys
from types import SimpleNamespace

from benchmarks import peers, report, sections


def test_a_library_that_is_no_package_takes_part_where_a_checkout_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(peers.os, "environ", {**peers.os.environ})
    assert peers.load("mdistiller") is None
    assert "mdistiller is left out: no checkout is named (--checkout mdistiller=FOLDER)" in capsys.readouterr().err
    (tmp_path / "mdistiller").mkdir()
    (tmp_path / "mdistiller/distillers.py").write_text("KD = FitNet = None")
    peers.name_checkout("mdistiller", tmp_path)
    assert peers.load("mdistiller").distillers.__file__ == str(tmp_path / "mdistiller/distillers.py")
    assert peers.version("mdistiller") == "without a commit"


def test_of_a_library_one_training_is_made_where_its_memory_is_measured(monkeypatch):
    made = []
    kinds = {kind: lambda kind=kind: made.append(kind) for kind in ("kd", "hint")}
    monkeypatch.setattr(peers, "load", lambda name: SimpleNamespace(loops=lambda work: kinds))
    peers.loop("one", None, "hint")
    assert made == ["hint"]
    assert peers.loops("one", None) == {"kd": None, "hint": None}


def test_every_kind_of_training_is_held_against_the_leanest_like_it():
    peaks = {
        "understudy kd fast": 90,
        "understudy stored kd fast": 95,
        "understudy hint fast": 99,
        "understudy stored hint fast": 103,
        "lean kd": 100,
        "lean hint": 100,
        "fat kd": 200,
        "fat hint": 200,
        "fat stored kd": 94,
    }
    found = {name: {"bytes": [peak], "first_step": [1.0]} for name, peak in peaks.items()}
    told = {line[0].removesuffix(", ResNet-56 -> ResNet-20"): line[2:4] for line in targets(memory=found)}
    assert told == {
        "peak memory, live KD / lean kd's": ("0.90", "pass"),
        "peak memory, stored KD / fat stored kd's": ("1.01", "**miss**"),
        "peak memory, live hints / lean hint's": ("0.99", "pass"),
        "peak memory, stored hints / lean hint's": ("1.03", "**miss**"),
        "first step after import": ("1.0 s", "pass"),
    }


def test_figures_of_processes_are_gathered_without_those_that_fail():
    given = iter([1.0, 2.0])
    variants = {"one": lambda: {"bytes": next(given)}, "broken": lambda: None}
    assert sections._processes(variants, 2) == {"one": {"bytes": [1.0, 2.0]}}


def targets(**measured):
    return list(report.targets({section: {"a": found} for section, found in measured.items()}))
