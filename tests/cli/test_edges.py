"""What a command says at the edges: stopped in its first second, an output that is full, data of one sample."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import understudy
from understudy import TrainConfig, UserError, cli, data, distill
from understudy.data.images import decoded
from understudy.training import preflight

ROOT = str(Path(understudy.__file__).parents[1])
TINY = """
[data]
name = "folder"
root = "pictures"
size = 8
validation = 6
[student]
network = "resnet-blocks"
settings = { blocks = [1], widths = [2], strides = [1], stem = 2 }
[teacher]
network = "resnet-blocks"
settings = { blocks = [1], widths = [4], strides = [1], stem = 4 }
[teacher.train]
[train]
epochs = 2
batch = 8
[settings]
threads = 1
[methods.fitnets]
hint_epochs = 1
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with pictures and a recipe."""
    monkeypatch.chdir(tmp_path)
    for part, count in (("train", 24), ("test", 4)):
        for number in range(count):
            folder = tmp_path / "pictures" / part / "ab"[number % 2]
            folder.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(number).integers(0, 255, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    (tmp_path / "r.toml").write_text(TINY)
    return tmp_path


@pytest.fixture
def command(monkeypatch, capsys):
    def run(*words):
        monkeypatch.setattr(sys, "argv", ["understudy", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        shown = capsys.readouterr()
        assert "Traceback" not in shown.err
        return caught.value.code or 0, shown.out, shown.err

    return run


def process(*words, **options):
    environment = {**os.environ, "PYTHONPATH": ROOT, **options.pop("environment", {})}
    command = [sys.executable, "-m", "understudy", *words]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, **options)


@pytest.mark.parametrize("after", [0.3, 0.8, 1.6])
def test_ctrl_c_in_the_first_seconds_is_one_line(place, after):
    running = process("check", "r.toml", stdout=subprocess.PIPE)
    time.sleep(after)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=120)
    if running.returncode == -signal.SIGINT and not err:
        return  # Python itself had not begun
    assert "Traceback (most recent call last)" not in err or "understudy" not in err
    assert running.returncode in (130, 0)


SWALLOWS = """
import os, signal
try:
    os.kill(os.getpid(), signal.SIGINT)
except BaseException:
    print("halfway")
"""


@pytest.mark.parametrize(
    ("begins", "code", "printed"), [("import swallows", 130, ""), ("exec(open('swallows.py').read())", 0, "halfway\n")]
)
def test_ctrl_c_while_a_module_is_imported_is_not_an_exception_that_it_may_catch(tmp_path, begins, code, printed):
    (tmp_path / "swallows.py").write_text(SWALLOWS)
    noticed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # also in the background
    text = f"{noticed}; from understudy import cli; cli._start = lambda: exec({begins!r}); cli.main()"
    environment = {**os.environ, "PYTHONPATH": ROOT}
    command = [sys.executable, "-c", text]
    ended = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (code, printed)
    assert ended.stderr == ("\nunderstudy: stopped by SIGINT\n" if code else "")


def test_an_output_that_is_full_is_a_line(place):
    with open("/dev/full", "w") as full:
        running = process("methods", stdout=full)
        _, err = running.communicate(timeout=120)
    assert running.returncode == 1
    assert err == "understudy: the output cannot be written: No space left on device\n"


def test_an_output_that_has_no_such_letter_shows_another(place):
    environment = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}
    for folder in (place / "pictures").glob("*/a"):
        folder.rename(folder.with_name("ä±"))
    running = process("check", "r.toml", "--verbose", stdout=subprocess.PIPE, environment=environment)
    _, err = running.communicate(timeout=120)
    assert (running.returncode, "Traceback" in err) == (0, False), err
    running = process("predict", "no picture of ä±", "x", stdout=subprocess.PIPE, environment=environment)
    _, err = running.communicate(timeout=120)
    assert (running.returncode, "Traceback" in err) == (2, False), err


def test_a_name_of_trust_that_nothing_asked_for_is_told(command):
    code, _, err = command("taps", "resnet8", "--trust", "nosuchmodule")
    assert code == 0
    assert err == "understudy: nothing asked for the code of --trust 'nosuchmodule': leave it out\n"


@pytest.mark.parametrize(
    "name", ["kd/T=4", "..", ".hidden", "a\\\\b", "x" * 300, "a\\u0000b", "\\u001b[31m", "é" * 60], ids=range(8)
)
def test_a_method_is_called_as_a_folder_can_be(place, name, command):
    (place / "r.toml").write_text(TINY.replace("[methods.fitnets]", f'[methods."{name}"]\nmethod = "fitnets"'))
    code, _, err = command("check", "r.toml")
    assert code == 2
    assert err.startswith("understudy: r.toml:")
    assert "write for example [methods." in err
    assert len(err) < 700


def test_names_too_long_for_the_system_are_a_line(place, command):
    for words in (["report", "x" * 5000], ["card", "x" * 300], ["check", "x" * 5000], ["predict", "x" * 5000, "y"]):
        code, _, err = command(*words)
        assert code == 2, err
        assert len(err) < 700
    assert command("taps", "resnet8", "--classes", "9" * 30)[0] == 2
    assert command("taps", "resnet8", "--shape", "3x" + "9" * 30 + "x3")[0] == 2


def test_a_run_folder_has_a_name_in_utf8(place, command):
    code, _, err = command("distill", "r.toml", "--out", "run\udcff")
    assert code == 2
    assert "choose another --out" in err
    assert "epoch" not in err  # nothing was trained


def told(findings):
    """All that a check says but its times."""
    return [(f.level, f.subject, f.text) for f in findings if not f.seconds and "roughly" not in f.text]


def test_a_check_answers_alike_each_time(place):
    from understudy import recipe
    from understudy.runs import Run

    def check():
        torch.randn(1)  # the state of the generator has no part in it
        return told(Run(recipe.read(Path("r.toml")), place / "run").check())

    first, second = check(), check()
    assert any("through" in text for _, _, text in first)  # a regressor, whose weights are drawn
    assert [line for line in first if "steps" not in line[2]] == [line for line in second if "steps" not in line[2]]


def test_a_check_reads_the_headers_of_all_pictures(place, command):
    (place / "pictures" / "test" / "a" / "0.png").write_bytes(b"no picture")
    for number in range(7):
        (place / "pictures" / "test" / "b" / f"more{number}.png").write_bytes(b"")
    code, out, err = command("check", "r.toml")
    assert code == 2
    assert "pictures/test/a/0.png is not an image that can be read" in out + err
    assert "and 3 more such files" in out + err


def test_a_picture_of_floating_point_numbers_is_refused(place):
    Image.fromarray(np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)).save("float.tiff")
    with pytest.raises(UserError, match="its values are floating-point numbers, 0 to 1"):
        decoded(Path("float.tiff"), (1, 8, 8))


def networks():
    teacher = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    return teacher, nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


X, Y = torch.rand(24, 4), torch.arange(24) % 2


def test_a_teacher_is_not_its_own_student():
    teacher, _ = networks()
    with pytest.raises(UserError, match="the student is the teacher itself"):
        distill(teacher, teacher, (X, Y), epochs=1)
    with pytest.raises(UserError, match="the student is the teacher itself"):
        distill([networks()[0], teacher], teacher, (X, Y), method="several-teachers", epochs=1)


def with_its_layer(teacher):
    return nn.Sequential(teacher[0], nn.ReLU(), nn.Linear(8, 2))


def with_a_slice_of_its_weights(teacher):
    student = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    student[0].weight = nn.Parameter(teacher[0].weight.data[:4])
    return student


@pytest.mark.parametrize(
    ("made", "named"), [(with_its_layer, "0.weight, 0.bias"), (with_a_slice_of_its_weights, "0.weight")]
)
def test_a_student_that_shares_weights_with_its_teacher_would_change_it(made, named):
    teacher, _ = networks()
    with pytest.raises(UserError, match=f"shares {named} with the teacher"):
        distill(teacher, made(teacher), (X, Y), epochs=1)


def test_the_statistics_of_a_shared_norm_would_change_too():
    teacher = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    student = nn.Sequential(nn.Linear(4, 4), teacher[1].requires_grad_(False), nn.Linear(4, 2))
    with pytest.raises(UserError, match=r"shares 1\.running_mean, 1.running_var with the teacher"):
        distill(teacher, student, (X, Y), epochs=1)


def test_weights_that_both_hold_and_nobody_trains_may_be_shared():
    teacher, _ = networks()
    student = nn.Sequential(teacher[0].requires_grad_(False), nn.ReLU(), nn.Linear(8, 2))
    before = teacher[0].weight.clone()
    given = data.from_tensors((X, Y), (X, Y))
    distill(teacher, student, given, config=TrainConfig(epochs=2, batch=8), accept_weak=True)
    assert torch.equal(teacher[0].weight, before)


def test_weights_beside_each_other_in_one_piece_of_memory_are_not_shared():
    teacher, student = networks()
    tensors = [*teacher.parameters(), *student.parameters()]
    piece = torch.cat([tensor.detach().flatten() for tensor in tensors])  # as of one file, with assign=True
    for tensor, part in zip(tensors, piece.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.data = part.view_as(tensor)
    before = teacher[0].weight.clone()
    given = data.from_tensors((X, Y), (X, Y))
    distill(teacher, student, given, config=TrainConfig(epochs=1, batch=8), accept_weak=True, check=False)
    assert torch.equal(teacher[0].weight, before)


@pytest.mark.parametrize(("given", "needed"), [(nn.Linear, "in_features, out_features"), (lambda x: x, "x")])
def test_a_function_that_makes_a_network_needs_no_arguments(given, needed):
    with pytest.raises(UserError, match=f"student: .* this one needs {needed}: give a module"):
        distill(networks()[0], given, (X, Y), epochs=1)


@pytest.mark.parametrize("samples", [24, 2])
def test_a_batch_of_one_is_too_little_for_a_batch_norm(samples):
    teacher, student = networks()
    given = data.from_tensors((X[:samples], Y[:samples]), validation=1 if samples == 2 else 4, classes=2)
    with pytest.raises(UserError, match="cannot learn from batches of one sample"):
        distill(teacher, student, given, config=TrainConfig(epochs=1, batch=1), accept_weak=True)


def test_one_training_sample_trains_where_nothing_needs_more():
    teacher, _ = networks()
    given = data.from_tensors((X[:2], Y[:2]), validation=1, classes=2)
    run = distill(teacher, nn.Linear(4, 2), given, config=TrainConfig(epochs=2, batch=1), accept_weak=True)
    assert run.student


def test_data_of_a_single_class_are_told():
    given = data.from_tensors((X, torch.zeros(24, dtype=torch.int64)), classes=2)
    findings = [f.text for f in preflight.check_data(given, 8) if f.level == "warning"]
    assert "all training samples are of class 0: any answer is right" in findings


def test_a_batch_larger_than_the_data_is_told():
    findings = [f.text for f in preflight.check_data(data.from_tensors((X, Y)), 10**9) if f.level == "warning"]
    assert any("batch 1000000000 is larger than the training part" in text for text in findings)
