"""The first calls of README and docs, as a new user makes them: a folder of JPEGs, networks by name, no recipe."""

import sys
import tomllib

import numpy as np
import pytest
from PIL import Image

import understudy
from understudy.cli import main


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder of JPEGs of different sizes in three classes that a few epochs can tell apart."""
    folder, generator = tmp_path_factory.mktemp("place"), np.random.default_rng(0)
    for part, count in (("train", 60), ("test", 24)):
        for number in range(count):
            label, (height, width) = number % 3, generator.integers(33, 60, 2)
            image = generator.integers(0, 80, (height, width, 3)).astype(np.uint8)
            image[..., label] += 120
            photos = folder / "photos" / part / ("cat", "dog", "emu")[label]
            photos.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(photos / f"{number:03d}.jpg")
    return folder


@pytest.fixture
def command(place, quick, monkeypatch, capsys):
    """Runs a command beside the photos; returns its exit code, standard output and standard error."""
    monkeypatch.chdir(place)

    def run(line):
        monkeypatch.setattr(sys, "argv", line.split())
        try:
            main()
        except SystemExit as stopped:
            shown = capsys.readouterr()
            return stopped.code or 0, shown.out, shown.err
        raise AssertionError("the command did not exit")

    return run


TEACHER = "understudy distill --student resnet8 --data photos/ --method alone --epochs 4 --out runs/teacher"
STUDENT = "understudy distill --teacher runs/teacher --student resnet8 --data photos/ --epochs 6 --out runs/photos"


@pytest.fixture
def teacher(place, command):
    if not (place / "runs" / "teacher").exists():
        assert command(TEACHER)[0] == 0
    return place / "runs" / "teacher"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("understudy distill --student resnet8 --out runs/x", "--teacher and --data is missing"),
        (
            "understudy distill --teacher resnet8 --student resnet8 --data nowhere --out runs/x",
            "--data nowhere: there is no folder and no data set of that name; known: cifar10",
        ),
        ("understudy distill recipe.toml --data photos --out runs/x", "give a recipe, or --teacher, --student and"),
        ("understudy distill --out runs/x", "name a recipe, or --teacher, --student and --data, or --method kd"),
        ("understudy distill --teacher photos --student resnet8 --data photos --out runs/x", "photos holds no student"),
        ("understudy distill --teacher resnet8 --student resnet9x --data photos --out runs/x", "resnet9x"),
    ],
)
def test_what_is_missing_is_one_line(command, line, message):
    code, out, err = command(line)
    assert (code, out) == (2, "")
    assert message in err.splitlines()[-1]


def test_the_commands_of_the_readme(command, teacher, place):
    code, out, err = command(STUDENT)
    assert code == 0
    assert "samples (3, 32, 32)" in err  # the size that half of the photos reach
    assert "student: runs/photos/student.safetensors" in out
    assert "  kd: runs/photos/trainings/kd-0" in out
    recipe = tomllib.loads((place / "runs" / "photos" / "recipe.toml").read_text())
    assert (recipe["data"]["root"], recipe["teacher"]["network"]) == ("photos/", "resnet8")
    assert recipe["teacher"]["weights"] == "runs/teacher/student.safetensors"
    code, out, err = command("understudy distill runs/photos/recipe.toml --out runs/photos")
    assert (code, "epoch" in err) == (0, False)
    code, out, err = command("understudy report runs/teacher runs/photos --max-latency 3000ms")
    assert code == 0
    assert "comparison.html" in out
    code, out, err = command("understudy predict runs/photos photos/test/emu/002.jpg --training alone-0 --top 1")
    assert (code, err) == (0, "student of runs/photos: alone-0\n")
    assert out.startswith("photos/test/emu/002.jpg: ")
    code, out, err = command("understudy export runs/photos --to torch --method kd --tolerance agreement=0")
    assert code == 0
    assert (place / "runs" / "photos" / "trainings" / "kd-0" / "student.pt2").is_file()


def test_the_call_of_the_readme(teacher, place, command, tmp_path):
    network = understudy.load(teacher)
    run = understudy.distill(network, "resnet8", "photos/", epochs=6, seeds=2, baseline=True, out=tmp_path / "run")
    shown = str(run)
    assert "kd" in run.result.verdicts
    assert run.result.verdicts["kd"].sentence in " ".join(shown.split())
    assert f"student: {tmp_path / 'run' / 'student.safetensors'} ({run.result.kept}" in shown
    exported = run.export("onnx", tolerance={"agreement": 0.0})
    assert exported.path == tmp_path / "run" / "student.onnx"
    try:
        assert run.export("int8").path == tmp_path / "run" / "student.int8.onnx"
    except understudy.UserError as refused:
        assert "is not good enough, and was not kept" in str(refused)  # noqa: PT017 - either outcome is right


def test_a_teacher_by_name_is_trained_first_or_loaded_from_its_folder(teacher, place, command, capsys):
    run = understudy.distill("resnet8", "resnet8", "photos/", epochs=4, progress=True)
    assert run.result.trained == ["kd-0"]
    err = capsys.readouterr().err
    assert "2 trainings: teacher-0, kd-0" in err
    assert "kd-0: validation" in err
    assert "(2 of 2 done)" in err
    again = understudy.distill(str(teacher), "resnet8", "photos", epochs=1, progress=False)
    assert capsys.readouterr().err == ""
    assert again.teacher_figures["accuracy"] > 0.9
