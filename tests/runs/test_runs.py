"""A run in its folder: what it refuses, what it writes, what it does once, and what a failure leaves."""

import builtins
import errno
import json
import os
import shutil
from dataclasses import replace

import pytest
import torch

import understudy
from tests.conftest import RECIPE
from understudy import recipe as recipes
from understudy.errors import UserError
from understudy.models import load_weights
from understudy.report import write_report
from understudy.report.text import as_markdown
from understudy.runs.folder import without_seal
from understudy.training import checkpoints
from understudy.training.callbacks import Callback
from understudy.training.evaluate import answers
from understudy.training.interrupt import Stopped, StopRequest
from understudy.training.loop import Training

OWN = '[student]\nnetwork = "resnet8"\nsettings = { widths = [4, 4, 4] }\n'
PLAIN = '[data]\nname = "folder"\nroot = "pictures"\nsize = 8\nvalidation = 15\n' + OWN
CONFIG = '[settings]\nthreads = 1\n[train]\nepochs = 2\nbatch = 15\noptimizer = { name = "sgd", lr = 0.05 }\n'
TRAINED = '[teacher]\nnetwork = "resnet8"\nsettings = { widths = [8, 8, 8] }\ntrain = { epochs = 6 }\n'


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def spies(monkeypatch):
    """Counts trainings."""
    counted = []
    run = Training.run
    monkeypatch.setattr(Training, "run", lambda self: counted.append(self.name) or run(self))
    return counted


def test_a_run_ends_with_a_student_both_weights_metrics_and_a_result(make_run, tmp_path):
    result = make_run("title=small").execute()
    folder = tmp_path / "run"
    assert files(folder) >= {"recipe.toml", "metrics.jsonl", "result.json", "student.safetensors", "student.json"}
    assert files(folder / "trainings/fitnets-0") == {
        "metrics.jsonl",
        "result.json",
        "student.json",
        "student-last.safetensors",
        "student.safetensors",
    }
    assert not list(folder.rglob("*.checkpoint"))
    assert result.text() == (folder / "result.json").read_text()
    assert (result.title, result.seeds, result.kept) == ("small", [0], "fitnets-0")
    assert result.data.measured_on == "test"
    assert result.data.measured == 18
    assert result.teacher.figures["accuracy"].values == [1.0]
    assert {"torch", "python", "understudy"} <= {name.lower() for name in result.versions}
    (row,) = result.methods["fitnets"].trainings
    assert {"accuracy", "loss", "agreement"} <= set(row.figures)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [(line["stage"], line["epoch"]) for line in lines] == [
        ("hint", 1),
        ("hint", 2),
        ("soft targets", 1),
        ("soft targets", 2),
    ]
    described = json.loads((folder / "student.json").read_text())
    assert described["classes"] == ["a", "b", "c"]
    assert recipes.read(folder / "recipe.toml") == recipes.parse(recipes.write(make_run("title=small").recipe))


def test_a_finished_run_does_nothing_when_it_is_run_again(make_run, tmp_path, spies):
    first = make_run().execute()
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*.safetensors")}
    again = make_run()
    assert again.complete
    opened = watch_test(again)
    assert again.execute() == first
    assert spies == ["fitnets-0"]
    assert opened == []
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*.safetensors")}


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"nothing")])
def test_a_finished_run_mends_its_student(make_run, tmp_path, damage):
    make_run().execute()
    product = tmp_path / "run/student.safetensors"
    whole = product.read_bytes()
    damage(product)
    make_run().execute()
    assert product.read_bytes() == whole


def test_a_folder_that_an_older_version_began_goes_on(make_run, tmp_path):
    result = make_run().execute()
    recipe = tmp_path / "run/recipe.toml"
    lines = recipe.read_text().splitlines(keepends=True)
    recipe.write_text("".join(line for line in lines if not line.startswith(("teacher_batches", "# sha256"))))
    assert make_run().execute() == result
    with pytest.raises(UserError, match=r"another recipe.*teacher_batches"):
        make_run("settings.teacher_batches=2").execute()


def test_a_recipe_of_another_format_is_refused_in_a_line(make_run, tmp_path):
    make_run("train.epochs=3").execute()
    path = tmp_path / "run/recipe.toml"
    written, _ = without_seal(path.read_text())
    assert written.startswith("format = 1\n")
    assert recipes.parse(written) == recipes.parse(written.removeprefix("format = 1\n"))
    for text, reason in (("format = 2\n", "is of format 2"), ("", "names no format")):
        path.write_text(written.replace("format = 1\n", text))
        with pytest.raises(
            UserError, match=rf"recipe\.toml {reason}, and this version .* reads format 1: finish"
        ) as caught:
            make_run("train.epochs=3").execute()
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"mine\.toml is of format 2, and this version of understudy reads format 1"):
        recipes.parse(written.replace("format = 1\n", "format = 2\n"), "mine.toml")


def test_a_folder_of_another_recipe_or_of_something_else_is_refused_and_left_alone(make_run, tmp_path):
    make_run().execute()
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    with pytest.raises(UserError, match=r"another recipe.*train\.epochs"):
        make_run("train.epochs=9").execute()
    assert before == {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters/to-mother.txt").write_text("dear mother")
    with pytest.raises(UserError, match="holds no run"):
        make_run(out=tmp_path / "letters").execute()
    assert files(tmp_path / "letters") <= {"to-mother.txt", ".lock"}
    with pytest.raises(UserError, match="run folder"):
        make_run(out=tmp_path / "letters/to-mother.txt").execute()
    (tmp_path / "run/recipe.toml").write_text("no [ recipe")
    with pytest.raises(UserError, match=r"is damaged .*remove that file and give the same recipe again"):
        make_run().execute()


def test_where_there_is_only_a_training_part_the_figures_are_of_it_and_say_so(make_run, tmp_path):
    shutil.copytree("pictures/train", tmp_path / "alone" / "train")
    text = RECIPE.replace("validation = 15", "validation = 0").partition("[methods.fitnets]")[0]
    root = f'data.root="{tmp_path / "alone"}"'
    run = make_run("train.epochs=1", root, text=f"{text}[methods.alone]\n[methods.kd]\n")
    assert "no test part: the final figures will be those of the training part" in [f.text for f in run.check()]
    result = run.execute()
    assert (result.data.measured_on, result.data.measured) == ("train", 60)
    assert "train part" in write_report(tmp_path / "run").read_text()


def test_what_a_kill_before_the_recipe_was_written_leaves_does_not_stand_in_the_way(make_run, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/.lock").touch()
    (tmp_path / "run/.recipe.toml.123.part").write_text("half a rec")
    make_run().folder.look(recipes.write(make_run().recipe))


def test_two_processes_cannot_work_in_one_folder(make_run):
    run = make_run()
    with run.folder.locked(), pytest.raises(UserError, match="another process"):
        make_run().execute()


def watch_test(run):
    """Notes when the test part is opened, and which trainings were done by then."""
    opened, open_test = [], run.builder.data.open_test

    def spy():
        opened.append([n for n in run.plan.names if (run.folder.training(n) / "result.json").exists()])
        return open_test()

    run.builder.data = replace(run.builder.data, open_test=spy)
    return opened


def test_a_teacher_is_trained_in_the_run_and_the_test_part_is_opened_once_at_the_very_end(make_run, tmp_path):
    run = make_run("seeds=[0, 1]", text=PLAIN + TRAINED + CONFIG + "[methods.alone]\n[methods.kd]\n")
    opened = watch_test(run)
    result = run.execute()
    names = ["teacher-0", "alone-0", "kd-0", "teacher-1", "alone-1", "kd-1"]
    assert run.plan.names == names
    assert opened == [names]
    assert len(result.teacher.figures["accuracy"].values) == 2
    assert list(result.verdicts) == ["kd"]
    assert len(result.methods["alone"].figures["accuracy"].values) == 2
    assert list(run.check())  # and the pre-flight does not open it
    assert len(opened) == 1


def test_one_teacher_can_serve_all_seeds(make_run):
    text = "seeds = [4, 7]\n" + PLAIN + TRAINED + "one_for_all = true\n" + CONFIG + "[methods.kd]\n"
    run = make_run(text=text.replace("train = { epochs = 6 }\none", "train.epochs = 6\none"))
    assert run.plan.names == ["teacher-4", "kd-4", "kd-7"]


def test_a_method_on_fewer_seeds_is_measured_on_those(make_run):
    text = "seeds = [4, 7]\n" + PLAIN + TRAINED + "one_for_all = true\n" + CONFIG
    run = make_run(text=text + "[methods.alone]\n[methods.kd]\nseeds = [7]\n")
    assert run.plan.names == ["teacher-4", "alone-4", "alone-7", "kd-7"]
    result = run.execute()
    assert [row.seed for row in result.methods["kd"].trainings] == [7]
    assert len(result.methods["alone"].figures["accuracy"].values) == 2
    assert result.verdicts["kd"].verdict == "unknown"
    assert result.kept in ("alone-4", "alone-7", "kd-7")


def test_a_teacher_can_learn_terms_of_its_own(make_run):
    terms = "terms = \"CE() + 0.01 * ClassSpread('linear:input')\"\n"
    run = make_run(text=PLAIN + TRAINED + terms + CONFIG + "[methods.alone]\n")
    assert "teacher, stage 'own terms', term 'classspread'" in [finding.subject for finding in run.check()]
    run.execute()
    record = json.loads((run.folder.training("teacher-0") / "result.json").read_text())
    assert record["objectives"] == {"own terms": "CE() + 0.01 * ClassSpread(tap='linear:input')"}


def test_methods_start_from_the_same_student_for_the_same_seed(make_run):
    run = make_run()
    for one, other in ((0, 0), (1, 1)):
        a, b = run.student(one).state_dict(), run.student(other).state_dict()
        assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(run.student(0).state_dict()["module.head.weight"], b["module.head.weight"])


@pytest.mark.parametrize("how", ["true", '"local"'])
def test_a_whitened_student_answers_raw_images_as_in_training(make_run, tmp_path, workplace, how):
    run = make_run(f"data.whiten={how}", text=PLAIN + CONFIG + "[methods.alone]\n")
    run.execute()
    raw = make_run(text=PLAIN + CONFIG + "[methods.alone]\n").builder.data
    student = understudy.load(tmp_path / "run")
    trained = run.trained(run.plan.names[0])
    settings = run.recipe.settings
    logits, labels = answers(student, raw.validation, settings)
    expected, same_labels = answers(trained, run.builder.data.validation, settings)
    assert torch.equal(labels, same_labels)
    assert torch.allclose(logits, expected, atol=1e-4)


def test_a_student_of_our_own_families_stands_up_alone(make_run, tmp_path):
    run = make_run(text=PLAIN + CONFIG + "[methods.alone]\n")
    run.execute()
    student = understudy.load(tmp_path / "run")
    assert not student.training
    images = run.builder.data.example(4, torch.device("cpu"))
    assert torch.equal(student(images), run.trained(run.plan.names[0]).eval()(images))


def test_a_student_of_foreign_code_is_told_how_to_be_loaded(make_run, tmp_path, small):
    run = make_run()
    run.execute()
    with pytest.raises(UserError, match=r"smallnets:Student of your own code.*load_weights") as caught:
        understudy.load(tmp_path / "run")
    network = run.student(5)
    load_weights(network, tmp_path / "run/student.safetensors")  # as the message says
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="holds no student"):
        understudy.load(tmp_path)
    (tmp_path / "student.json").write_text('{"network": 3}')
    with pytest.raises(UserError, match="not a student's description"):
        understudy.load(tmp_path)


class Saboteur(Callback):
    """Breaks the student's weights after so many steps."""

    def __init__(self, after):
        self.after, self.training = after, None

    def step(self, done, loss):
        if done == self.after:
            with torch.no_grad():
                self.training.student.get_parameter("module.head.weight").fill_(float("nan"))


def test_a_loss_that_is_no_number_names_step_term_and_checkpoint_and_leaves_no_result(make_run, tmp_path, monkeypatch):
    saboteur = Saboteur(after=13)  # of 2 hint epochs of 4 steps and 2 epochs of 4 steps
    init = Training.__init__
    monkeypatch.setattr(
        Training,
        "__init__",
        lambda self, *args, **kwargs: (init(self, *args, **kwargs), setattr(saboteur, "training", self))[0],
    )
    with pytest.raises(UserError) as caught:
        make_run(callback=saboteur, checkpoint_seconds=0.0).execute()
    said = str(caught.value)
    assert "stage 'soft targets', epoch 2, step 2, term ce, kd" in said
    last_good = checkpoints.newest(tmp_path / "run/checkpoints/fitnets-0").path
    assert str(last_good) in said
    assert not files(tmp_path / "run") & {"result.json", "student.safetensors", "student.json"}
    assert not files(tmp_path / "run/trainings/fitnets-0") - {"metrics.jsonl"}


class Full:
    """A disk that is full for a while."""

    def __init__(self, monkeypatch, suffix, after):
        self.monkeypatch, self.suffix, self.left, self.full = monkeypatch, suffix, after, True
        self.fsync, self.open = os.fsync, builtins.open
        monkeypatch.setattr(os, "fsync", self.on_fsync)

    def on_fsync(self, handle):
        path = os.readlink(f"/proc/self/fd/{handle}") if os.path.exists("/proc/self/fd") else self.suffix
        if self.suffix in path:
            self.left -= 1
            if self.full and self.left < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
        self.fsync(handle)


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="needs to see which file is written")
@pytest.mark.parametrize(
    ("suffix", "after"),
    [
        (".checkpoint.", 6),
        (".student.safetensors.", 0),
        (".result.json.", 0),
        (".result.json.", 1),
        (".recipe.toml", 0),
    ],
)
def test_a_full_disk_is_a_user_error_that_loses_nothing_and_the_run_goes_on_afterwards(
    make_run, tmp_path, monkeypatch, suffix, after
):
    make_run(out=tmp_path / "unbroken").execute()
    disk = Full(monkeypatch, suffix, after)
    with pytest.raises(UserError, match="No space left on device") as caught:
        make_run(checkpoint_seconds=0.0).execute()
    assert "run the same command again" in str(caught.value)
    assert not [path for path in files(tmp_path / "run") if path.endswith(".part")]
    assert "result.json" not in files(tmp_path / "run")
    if suffix == ".checkpoint.":
        assert checkpoints.newest(tmp_path / "run/checkpoints/fitnets-0").warnings == []
    disk.full = False
    make_run().execute()
    for name in ("student.safetensors", "trainings/fitnets-0/student-last.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "unbroken" / name).read_bytes()


def test_a_run_that_is_asked_to_stop_saves_and_goes_on(make_run, tmp_path):
    make_run(out=tmp_path / "unbroken").execute()
    stop = StopRequest()

    class After(Callback):
        def step(self, done, loss):
            if done == 6:
                stop.signal_number = 2

    with pytest.raises(Stopped):
        make_run(callback=After(), stop=stop).execute()
    make_run().execute()
    one, other = (tmp_path / name / "student.safetensors" for name in ("run", "unbroken"))
    assert one.read_bytes() == other.read_bytes()


def test_the_whole_pre_flight_of_a_sound_recipe_is_fine_and_that_of_a_wrong_one_stops_early(make_run):
    assert {f.level for f in make_run().check()} == {"ok"}
    own = PLAIN.replace("resnet8", "smallnets:student").replace("widths = [4, 4, 4]", "width = 2")
    assert "error" not in {f.level for f in make_run(text=own + TRAINED + CONFIG + "[methods.kd]\n").check()}
    pictures = make_run("data.channels=1", text=PLAIN + CONFIG + "[methods.alone]\n")
    assert "error" not in {f.level for f in pictures.check()}
    grey = list(make_run("data.channels=1").check())
    assert [f.subject for f in grey if f.level == "error"] == ["student", "teacher"]


def test_a_weak_teacher_that_was_trained_here_is_refused_before_anything_learns_from_it(make_run, tmp_path):
    text = PLAIN + TRAINED.replace("6", "1") + CONFIG + "[methods.kd]\n"
    text = text.replace("{ epochs = 1 }", '{ epochs = 1, optimizer = { name = "sgd", lr = 1e-9 } }')
    with pytest.raises(UserError, match="chance level"):
        make_run(text=text).execute()
    assert "result.json" not in files(tmp_path / "run")
    make_run("teacher.accept_weak=true", text=text).execute()  # the way out that the refusal names
    assert recipes.read(tmp_path / "run/recipe.toml").teacher.accept_weak


def test_of_several_teachers_too_a_refusal_may_be_lifted_in_a_folder_that_is_begun(make_run):
    text = PLAIN + TRAINED.replace("[teacher]", "[[teachers]]") + CONFIG + "[methods.kd]\n"
    make_run(text=text).folder.claim(recipes.write(make_run(text=text).recipe))
    lifted = make_run("teachers.0.accept_weak=true", text=text)
    lifted.folder.look(recipes.write(lifted.recipe))
    other = make_run("teachers.0.one_for_all=true", text=text)
    with pytest.raises(UserError, match=r"another recipe.*teachers"):
        other.folder.look(recipes.write(other.recipe))


def test_a_download_is_told_to_whoever_watches(make_run, monkeypatch):
    from understudy import data as datasets

    seen = []
    loaded = datasets.load

    def load(*args, progress, **kwargs):
        progress("images.gz", 5, 10)
        return loaded(*args, **kwargs)

    class Listener(Callback):
        def downloads(self, file, done, total):
            seen.append((file, done, total))

    monkeypatch.setattr(datasets, "load", load)
    make_run(callback=Listener())
    assert seen == [("images.gz", 5, 10)]


SEVERAL = (
    PLAIN
    + """
[[teachers]]
network = "smallnets:teacher"
weights = "teacher.safetensors"
mean = [0, 0, 0]
std = [1, 1, 1]
"""
    + TRAINED.replace("[teacher]", "[[teachers]]")
    + CONFIG
    + "[methods.alone]\n[methods.several-teachers]\n"
)


def test_several_teachers_are_trained_or_given_checked_measured_and_reported(make_run, tmp_path):
    run = make_run("seeds=[0, 1]", text=SEVERAL)
    assert run.plan.names[:3] == ["teacher2-0", "alone-0", "several-teachers-0"]
    taught = run.plan["several-teachers-1"]
    assert (taught.teachers[0].weights, taught.learns_from) == ("teacher.safetensors", ["teacher2-1"])
    assert run.plan["alone-1"].teachers == ()
    findings = list(run.check())
    assert {"teacher1", "teacher2"} <= {finding.subject for finding in findings}
    result = run.execute()
    assert result.teachers["teacher1"].figures["accuracy"].values == [1.0, 1.0]
    assert len(result.teachers["teacher2"].figures["accuracy"].values) == 2
    assert len(result.teacher.figures["accuracy"].values) == 2
    assert list(result.networks) == ["teacher1", "teacher2", "student"]
    page = write_report(tmp_path / "run").read_text()
    assert "Losses, teacher2" in page
    assert "resnet8 learns from teacher and resnet8" in page
    assert "teachers together" in page
    assert "| teacher1 | 100.00 %" in as_markdown(tmp_path / "run")


@pytest.mark.parametrize("change", ["data.size=14", "data.channels=1"])
def test_what_is_for_pictures_in_folders_is_refused_for_other_data(make_run, change):
    with pytest.raises(UserError, match=f"{change.partition('=')[0]}: data set 'demo' has no such setting"):
        make_run(change, text='data = { name = "demo" }\nstudent = { network = "plain2" }\n[methods.alone]\n')
