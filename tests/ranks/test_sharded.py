"""A student, or a teacher, that FSDP2 shards over two processes: the student is that of whole copies."""

from pathlib import Path
from typing import Any

import pytest

from tests.ranks import sharded
from tests.ranks.group import Group
from tests.ranks.test_distill import distance, equal, log
from understudy import auto, optimizers
from understudy.config.settings import Settings
from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.errors import UserError
from understudy.objective.term import Expression
from understudy.terms import BSS, CE, KD, Confidence, GradientAT, Rocket
from understudy.training import checkpoints
from understudy.training.shards import check_shards

PAIR = "layer2 -> layer2"
FSDP = {"parallel": "fsdp"}


@pytest.mark.parametrize("name", sharded.SHARDED)
def test_a_sharded_student_is_that_of_whole_copies(both: Group, name: str):
    whole, _ = both("sharded.sharded_student", name, {"teacher_shard": False})
    first, second = both("sharded.sharded_student", name, FSDP)
    assert equal(first[0], second[0])
    assert not any(hasattr(value, "placements") for value in first[0].values())
    assert distance(first[0], whole[0]) < 1e-6
    for figures, wanted in zip(first[1], whole[1], strict=True):
        assert figures == pytest.approx(wanted, rel=1e-6, abs=1e-6)


def test_a_stopped_run_goes_on_on_any_number_of_processes_and_whole(both: Group, tmp_path: Path):
    whole, _ = both("distilled_with", str(tmp_path / "whole"), 0, FSDP)
    for name in ("same", "ddp", "one"):
        said = both("distilled_with", str(tmp_path / name), 3, FSDP)
        assert "stopped by SIGINT" in said[0]
    first, second = both("distilled_with", str(tmp_path / "same"), 0, FSDP)
    assert equal(first, whole)
    assert equal(first, second)
    assert log(tmp_path / "same") == log(tmp_path / "whole")
    gone_on, _ = both("sharded.gone_on", str(tmp_path / "ddp"), {})
    assert distance(gone_on, whole) < 1e-5
    alone = sharded.gone_on(0, str(tmp_path / "one"), FSDP)
    assert isinstance(alone, dict)
    assert distance(alone, whole) < 1e-4
    both("distilled_with", str(tmp_path / "back"), 3, {})  # a whole file, which the parts then follow
    back, _ = both("sharded.gone_on", str(tmp_path / "back"), FSDP)
    assert distance(back, whole) < 1e-5
    for name in ("ddp", "one", "back"):  # beyond the epoch whose weights are kept
        losses = [line["loss"] for line in log(tmp_path / name)]
        assert losses == pytest.approx([line["loss"] for line in log(tmp_path / "whole")], rel=1e-5)


def test_each_process_writes_its_part_beside_the_training_and_all_of_them_tell_an_error(both: Group, tmp_path: Path):
    name = "kd, AdamW, an average of the weights"
    whole, _ = both("sharded.sharded_student", name, FSDP)
    (first, threads), (second, others) = both("sharded.in_parts", name, str(tmp_path / "whole"), "")
    assert equal(first, whole[0])
    assert equal(first, second)
    assert others == {"checkpoint"}  # the first one completes them, which takes no time
    assert threads == {"checkpoint", "MainThread"}
    (first, _), (_, threads) = both("sharded.in_parts", name, str(tmp_path / "little"), "", (0, 1))
    assert threads == {"MainThread"}  # there is no room for a copy, and the other process does not make one either
    assert equal(first, whole[0])
    said = {
        "write_part": ["process 1: write_part: no space", "write_part: no space"],
        "complete": ["complete: no space", "complete: no space"],
    }
    for fails, texts in said.items():
        folder = tmp_path / fails
        assert both("sharded.in_parts", name, str(folder), fails) == texts
        newest = checkpoints.newest(folder)
        assert newest is not None
        assert newest.path.stem == f"{300:012d}"  # the fifth was that after the fourth step
        assert newest.warnings == []
        (first, _), (second, _) = both("sharded.in_parts", name, str(folder), "")
        assert equal(first, whole[0])
        assert equal(first, second)


REFUSED: dict[str, tuple[Expression, dict[str, Any], dict[str, Any], str]] = {  # terms, config, settings, what is said
    "gradients within the loss": (CE() + GradientAT(PAIR), {}, FSDP, "'gradientat' takes gradients within its loss"),
    "the student's network": (CE() + BSS(), {}, FSDP, "'bss' uses the student's network"),
    "auto()": (CE() + auto() * KD(), {}, FSDP, "auto() measures gradients of whole weights"),
    "momenta": (CE() + KD(), {"optimizer": optimizers.SGD(momentum_gap=0.05)}, FSDP, "momenta of single terms"),
    "Muon": (CE(), {"optimizer": optimizers.Muon()}, FSDP, "optimizer 'muon' looks at a whole weight"),
    "Adafactor": (CE(), {"optimizer": optimizers.TorchOptimizer("torch:Adafactor")}, FSDP, "a whole weight"),
    "compiled": (CE(), {}, FSDP | {"compile": True}, "exclude each other"),
    "the teacher's network": (CE() + Rocket(), {}, {"teacher_shard": True}, "'rocket' uses the teacher's network"),
    "the teacher's dropout": (CE() + Confidence(), {}, {"teacher_shard": True}, "uses the teacher's network"),
    "gradients of the teacher": (GradientAT(PAIR), {}, {"teacher_shard": True}, "takes gradients through the teacher"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_sharded_is_refused_by_name_and_only_then(name: str):
    terms, config, settings, text = REFUSED[name]
    stage = Stage("one", terms, TrainConfig(epochs=1, **config))
    check_shards(stage, Settings(compile=settings.get("compile", False)), stored=False)
    with pytest.raises(UserError) as caught:
        check_shards(stage, Settings(**settings), stored=False)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_stored_answers_and_a_sharded_teacher_are_refused():
    with pytest.raises(UserError, match=r"leave \[answers\] out"):
        check_shards(Stage("one", KD(), TrainConfig()), Settings(teacher_shard=True), stored=True)
