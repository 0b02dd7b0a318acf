"""What is not written through links, what is cleared away, what is told of damage, and how a run goes on after it."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch

import understudy
from tests.conftest import RECIPE
from tests.faults.damage import flip, plain_format
from tests.faults.quick import nothing_measured_or_drawn
from understudy import UserError, export, files
from understudy.files import owner, remove_leftovers, sealed, write_json
from understudy.plans import TrainingCache
from understudy.report import write_report
from understudy.report.reading import read_result
from understudy.runs.folder import RunFolder
from understudy.shipping.card import write_card
from understudy.training import tensor_file
from understudy.training.callbacks import Callback
from understudy.training.metrics import Log
from understudy.training.records import Epoch

KD = RECIPE.partition("[methods.fitnets]")[0].replace("epochs = 4", "epochs = 2") + "[methods.kd]\n"


class Noting(Callback):
    def __init__(self):
        self.notes, self.trained = [], []

    def note(self, text):
        self.notes.append(text)

    def stage_begins(self, name, objective, epochs, epoch):
        self.trained.append(name)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    nothing_measured_or_drawn(monkeypatch.setattr)
    monkeypatch.delenv("UNDERSTUDY_CACHE", raising=False)


@pytest.fixture
def run(make_run, tmp_path):
    """Carries the recipe out; answers with what was noted and which stages were trained."""

    def execute(*changes, text=KD, **options):
        noting = Noting()
        make_run(*changes, text=text, callback=noting, out=tmp_path / "run", **options).execute()
        return noting

    return execute


def students(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("student*.safetensors")}


@pytest.mark.parametrize("name", [".lock", "trainings/kd-0/metrics.jsonl"])
def test_nothing_is_written_through_a_symbolic_link(run, tmp_path, name):
    precious, link = tmp_path / "precious.txt", tmp_path / "run" / name
    precious.write_text("mine")
    link.parent.mkdir(parents=True)
    link.symlink_to(precious)
    with pytest.raises(UserError, match="is a symbolic link"):
        run()
    assert precious.read_text() == "mine"


def test_a_log_adds_lines_and_cuts_them(tmp_path):
    log = Log(tmp_path / "deep" / "metrics.jsonl")
    first = log.write(Epoch(training="a", epoch=1))
    assert log.write(Epoch(training="a", epoch=2)) == 2 * first == log.path.stat().st_size
    log.shorten(first + 3)
    assert log.epochs == [Epoch(training="a", epoch=1)]


def test_leftovers_of_killed_processes_are_removed_and_others_stay(run, tmp_path):
    killed = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    machine = owner().partition("-")[0]
    run()
    folder = tmp_path / "run" / "samples"
    folder.mkdir(exist_ok=True)
    dead, alive = (
        folder / f".1.png.{machine}-{int(killed.stdout)}.part",
        folder / f".1.png.{machine}-{os.getppid()}.part",
    )
    old, elsewhere = folder / ".2.png.part", folder / ".1.png.0123abcd-7.part"
    for path in (dead, alive, old, elsewhere):
        path.write_text("half")
    os.utime(old, (0, 0))
    run()
    assert sorted(path.name for path in folder.glob(".*.part")) == sorted([alive.name, elsewhere.name])
    remove_leftovers(tmp_path / "nowhere")


def test_a_cache_that_may_only_be_read_is_a_note_once(run, tmp_path, monkeypatch):
    real = files.make_folder

    def make_folder(path):
        if "cache" in path.parts:
            raise OSError(30, "Read-only file system")
        real(path)

    monkeypatch.setattr(files, "make_folder", make_folder)
    noting = run("seeds=[0, 1]", cache=TrainingCache(tmp_path / "cache"))
    assert [note for note in noting.notes if "Read-only" in note] == [
        f"cannot write to the cache {tmp_path / 'cache'}: Read-only file system: "
        "trainings are still taken from it, and none are added"
    ]
    assert (tmp_path / "run/result.json").exists()


def test_a_run_whose_recipe_is_gone_or_damaged_says_how_to_go_on_and_does(run, tmp_path):
    run()
    recipe, before = tmp_path / "run/recipe.toml", students(tmp_path / "run")
    whole = recipe.read_bytes()
    for damage in (flip, lambda path: path.write_bytes(b""), lambda path: path.write_bytes(b"\xff")):
        recipe.write_bytes(whole)
        damage(recipe)
        with pytest.raises(UserError, match=r"is damaged .* remove that file and give the same recipe again"):
            run()
    recipe.unlink()
    with pytest.raises(UserError, match="another training of that name"):
        run("train.epochs=3")
    with pytest.raises(UserError, match="holds other trainings"):
        run(text=KD.replace("[methods.kd]", "[methods.alone]"))
    assert not recipe.exists()
    noting = run()
    assert "has no recipe.toml: its trainings and checkpoints fit this recipe" in noting.notes[0]
    assert noting.trained == []
    assert recipe.read_bytes() == whole
    assert students(tmp_path / "run") == before


def test_a_checkpoint_tells_what_it_is_where_the_recipe_is_gone(make_run, run, tmp_path):
    class Stop(Callback):
        def step(self, done, loss):
            if done == 5:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_run(text=KD, callback=Stop(), checkpoint_seconds=0.0, out=tmp_path / "run").execute()
    (tmp_path / "run/recipe.toml").unlink()
    with pytest.raises(UserError, match="another training of that name"):
        run("train.epochs=3")
    run()


@pytest.mark.parametrize("damage", ["deleted", "emptied", "changed"])
def test_a_training_that_is_done_again_says_why(run, tmp_path, damage):
    run()
    record, before = tmp_path / "run/trainings/kd-0/result.json", students(tmp_path / "run")
    ways = {"deleted": record.unlink, "emptied": lambda: record.write_bytes(b""), "changed": lambda: flip(record)}
    ways[damage]()
    noting = run()
    reason = "result.json is missing" if damage == "deleted" else "result.json"
    assert noting.notes[0] == f"{record.parent} is damaged ({reason}): trained again"
    assert noting.trained == ["soft targets"]
    assert students(tmp_path / "run") == before


def test_pictures_and_the_result_are_made_again(run, tmp_path):
    worse = "train.optimizer.lr=1e-9"  # than the teacher, so that there are pictures on which they differ
    run(worse)
    folder = tmp_path / "run"
    result = (folder / "result.json").read_bytes()
    pictures = sorted((folder / "samples").iterdir())
    assert pictures
    whole = pictures[0].read_bytes()
    flip(pictures[0])
    said = []
    write_report(folder, warn=said.append)
    assert "1 picture in samples missing or damaged" in said[0]
    assert any("samples was damaged (1 of its pictures): drawn again" in note for note in run(worse).notes)
    assert pictures[0].read_bytes() == whole
    flip(folder / "result.json")
    with pytest.raises(UserError, match=r"result\.json is damaged"):
        read_result(folder)
    assert f"{folder / 'result.json'} is damaged: everything is measured again" in run(worse).notes
    said.clear()
    write_report(folder, warn=said.append)
    assert said == []
    assert (
        json.loads(result)["methods"]["kd"]["figures"]
        == json.loads((folder / "result.json").read_bytes())["methods"]["kd"]["figures"]
    )


def test_the_result_of_another_run_is_not_this_ones(make_run, run, tmp_path):
    run()
    make_run("train.optimizer.lr=0.2", text=KD, out=tmp_path / "other").execute()
    shutil.copy(tmp_path / "other/result.json", tmp_path / "run/result.json")
    with pytest.raises(UserError, match="is not of the student beside it"):
        write_card(tmp_path / "run")
    assert any("is not of these trainings: everything is measured again" in note for note in run().notes)


@pytest.mark.parametrize("name", ["result.json", "trainings/kd-0/result.json"])
def test_what_may_not_be_read_is_told_by_its_cause(run, tmp_path, name):
    run()
    path = tmp_path / "run" / name
    path.unlink()
    path.mkdir()  # as unreadable as a file without permission, and for everybody
    with pytest.raises(UserError, match=r"result\.json cannot be read: Is a directory"):
        run()


def test_a_proof_that_names_a_file_elsewhere_is_damaged(run, tmp_path):
    run()
    (tmp_path / "secret").write_text("mine")
    write_json(tmp_path / "run/proof.json", sealed({"../secret": {}}))
    with pytest.raises(UserError, match=r"proof\.json is damaged"):
        write_card(tmp_path / "run")


def test_a_broken_student_is_told_everywhere_and_shipped_only_where_it_is_asked_for(run, tmp_path, monkeypatch, capsys):
    from rich.console import Console

    from understudy.report.text import as_latex, as_markdown, show

    monkeypatch.setitem(export.FORMATS, "plain", plain_format())
    run("train.optimizer.lr=1e-12", "train.keep=last")
    folder, reason = tmp_path / "run", "cannot be told from chance"
    result = read_result(folder)
    assert reason in result.broken["kd-0"][0]
    show(result, Console(width=200))
    assert "broken: kd-0: its accuracy of" in capsys.readouterr().out
    assert reason in as_markdown(folder)
    assert as_latex(folder)
    assert reason in write_report(folder).read_text()
    assert reason in write_card(folder).read_text()
    options = {"seconds": 0.0, "trust": ["smallnets"]}
    with pytest.raises(UserError, match=f"is of no use, and was not exported: .*{reason}.*--broken"):
        export.export(folder, "plain", **options)
    assert not (folder / "student.plain").exists()
    assert reason in export.export(folder, "plain", broken=True, **options).record["broken"][0]
    for name in ("result.json", "recipe.toml"):
        (folder / name).unlink()
    assert reason in write_card(folder).read_text()


def test_a_checkpoint_is_written_from_the_tensors_themselves_one_at_a_time():
    tensors = {name: torch.randn(1000) for name in "abc"}
    pieces = list(tensor_file.pieces(tensors, {}))[2:-1]
    for tensor, piece in zip(tensors.values(), pieces, strict=True):
        assert isinstance(piece, memoryview)
        assert torch.frombuffer(piece, dtype=torch.float32).data_ptr() == tensor.data_ptr()  # no copy is made


def test_a_damaged_description_of_stored_answers_is_told_and_written_again(run, tmp_path):
    text = KD + '[answers]\nviews = 1\ntaps = "exact"\nfolder = "%s"\n' % (tmp_path / "answers")
    text = text.replace("[methods.kd]\n", "") + "[methods.kd]\n"
    run(text=text)
    (description,) = (tmp_path / "answers").glob("*/store.json")
    before, whole = students(tmp_path / "run"), description.read_bytes()
    flip(description)
    shutil.rmtree(tmp_path / "run")
    assert any(f"{description} is damaged: written again" in note for note in run(text=text).notes)
    assert students(tmp_path / "run") == before
    assert description.read_bytes() == whole
    flip(description)
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(UserError, match="is damaged, and nothing is to be added"):
        run("answers.fill=false", text=text)


def test_load_and_predict_notice_one_bit(tmp_path):
    from understudy.models import NetworkSpec
    from understudy.models import student as product

    spec = NetworkSpec("resnet8", {"widths": [4, 4, 4]})
    network = spec.build(3, 3, 8)
    product.save(tmp_path, network, product.describe(network, spec, (3, 8, 8), ("a", "b", "c")))
    for name in ("student.safetensors", "student.json"):
        whole = (tmp_path / name).read_bytes()
        for place in range(len(whole) // 50, len(whole), max(1, len(whole) // 20)):
            changed = bytearray(whole)
            changed[place] ^= 1
            (tmp_path / name).write_bytes(bytes(changed))
            with pytest.raises(UserError):
                understudy.load(tmp_path)
        (tmp_path / name).write_bytes(whole)
    understudy.load(tmp_path)


def test_damaged_weights_of_a_given_network_are_told(tmp_path, small):
    def call():
        teacher, student = small.networks()
        understudy.distill(teacher, student, small.data(), method="kd", epochs=1, out=tmp_path / "run", check=False)

    call()
    call()
    for name in ("student.safetensors", "digests.json"):
        path = tmp_path / "run/given" / name
        whole = path.read_bytes()
        flip(path)
        with pytest.raises(UserError, match=f"{name} is damaged: the weights with which"):
            call()
        path.write_bytes(whole)
    call()


def test_weights_that_may_not_be_read_are_told_by_their_cause(tmp_path, monkeypatch):
    from pathlib import Path

    from understudy.models import read_weights

    def closed(path, mode):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "some.safetensors").write_bytes(b"")
    monkeypatch.setattr(Path, "open", closed)
    with pytest.raises(UserError, match=r"some\.safetensors cannot be read: Permission denied"):
        read_weights(tmp_path / "some.safetensors")


def test_a_folder_names_its_trainings(tmp_path):
    for name in ("trainings/a-0", "checkpoints/b-0"):
        (tmp_path / name).mkdir(parents=True)
    folder = RunFolder(tmp_path)
    assert folder.lost_recipe
    assert folder.trainings == ["a-0", "b-0"]
