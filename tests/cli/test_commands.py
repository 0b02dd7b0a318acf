"""The commands: help with an example, JSON alone on stdout, exit codes, and no traceback for a user's mistake."""

import json
import pickle
import subprocess
import sys

import pytest
import safetensors.torch
import torch
import typer

from tests.runs.test_path import SEARCH
from understudy import recipe as recipes
from understudy.cli import main
from understudy.cli._app import SUMMARIES, app
from understudy.config import hardware
from understudy.config.settings import Settings
from understudy.plans.engines import Here
from understudy.plans.engines import processes as engine_processes
from understudy.plans.training import Builders
from understudy.runs import workers

COMMANDS = sorted(typer.main.get_command(app).commands)


@pytest.fixture
def understudy(workplace, quick, monkeypatch, capsys):
    """Runs a command in the workplace; answers with exit code, stdout and stderr."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["understudy", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            main()
        shown = capsys.readouterr()
        assert "Traceback" not in shown.err
        return caught.value.code or 0, shown.out, shown.err

    return run


@pytest.fixture
def recipe(tmp_path, workplace):
    """Writes the workplace's recipe with something exchanged."""

    def write(old="", new=""):
        text = (workplace / "recipe.toml").read_text()
        assert old in text
        (tmp_path / "changed.toml").write_text(text.replace(old, new, 1) if old else text)
        return tmp_path / "changed.toml"

    return write


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(understudy, command):
    code, out, _ = understudy(command, "--help")
    assert code == 0
    assert f"understudy {command}" in out.split("Example", 1)[1]


def test_the_list_of_commands_says_what_each_command_says_of_itself_and_imports_none():
    for name, command in typer.main.get_command(app).commands.items():
        assert SUMMARIES[name] == " ".join(command.help.strip().split("\n\n")[0].split())
    imported = "[name for name in understudy.cli._app.SUMMARIES if 'understudy.cli.' + name in sys.modules]"
    code = f"import sys, understudy.cli._app; print({imported})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_whole_is_introduced_and_an_unknown_command_is_a_mistake(understudy):
    code, out, _ = understudy("--help")
    assert code == 0
    assert all(command in out for command in COMMANDS)
    assert understudy("distil")[0] == 2
    assert understudy("distill")[0] == 2


def test_distill_and_check_print_json_alone_on_stdout(understudy, tmp_path):
    code, out, err = understudy("check", "recipe.toml", "--trust", "smallnets", "--json")
    assert code == 0, err
    assert {finding["level"] for finding in json.loads(out)} == {"ok"}
    words = ["distill", "recipe.toml", "--trust", "smallnets", "--out", tmp_path / "run", "--json"]
    code, out, err = understudy(*words)
    assert code == 0, err
    assert json.loads(out)["kept"] == "fitnets-0"
    assert json.loads(out) == json.loads((tmp_path / "run/result.json").read_text())
    assert understudy(*words)[1] == out


def test_distill_shows_what_it_looks_at_and_ends_with_a_table(understudy, tmp_path):
    code, out, err = understudy("distill", "recipe.toml", "--trust", "smallnets", "--out", tmp_path / "run")
    assert code == 0, err
    assert "ok teacher: 100.0 % on 15 samples" in err
    assert "fitnets" in out
    assert (tmp_path / "run/report.html").exists()


def test_check_tells_each_finding_and_fails_where_there_is_an_error(understudy, recipe):
    path = recipe('pair = "conv -> conv1"', 'pair = "conv -> conv3"')
    code, out, err = understudy("check", path, "--trust", "smallnets")
    assert code == 2
    assert "error" in out
    assert "no module 'conv3'; did you mean" in err
    code, out, _ = understudy("check", path, "--trust", "smallnets", "--json")
    assert code == 2
    assert any(finding["level"] == "error" for finding in json.loads(out))


def test_methods_and_taps_as_json_and_as_tables(understudy):
    code, out, _ = understudy("methods", "--json")
    assert (code, {m["name"] for m in json.loads(out)} >= {"alone", "kd", "fitnets"}) == (0, True)
    assert json.loads(understudy("methods", "fitnets", "--json")[1])["settings"]["temperature"] == 3.0
    assert "temperature" in understudy("methods", "kd")[1]
    assert json.loads(understudy("methods", "kd", "--json")[1])["cost"]["config"] > 0
    assert "ResNet-56 teaches ResNet-8" in " ".join(understudy("methods", "kd")[1].split())
    code, out, _ = understudy("taps", "resnet20", "--student", "resnet8", "--json")
    assert (code, json.loads(out)["pairs"][0]["pair"]) == (0, "layer2 -> layer2")
    assert "layer2" in understudy("taps", "resnet20")[1]


class Evil:
    def __reduce__(self):
        return print, ("executed",)


@pytest.fixture
def weights(tmp_path, small):
    """Weights files with something wrong."""
    teacher = small.Teacher().state_dict()
    safetensors.torch.save_file({f"net.{k}x": v for k, v in teacher.items()}, tmp_path / "other.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    torch.save({"weights": Evil()}, tmp_path / "evil.pt")
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(Evil()))
    safetensors.torch.save_file({k: v * 0 for k, v in teacher.items()}, tmp_path / "weak.safetensors")
    return tmp_path


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('name = "folder"', 'name = "foldr"', "did you mean 'folder'"),
        ('root = "pictures"', 'root = "photos"', "photos/train"),
        ('"smallnets:student"', '"resnet9"', "no resnet9"),
        ('"smallnets:student"', '"restnet20"', "no network is called 'restnet20'"),
        ('"smallnets:student"', '"othernets:student"', "add: --trust othernets"),
        ('"smallnets:student"', '"smallnets:studnt"', "no factory 'studnt'; did you mean 'student'"),
        ('"teacher.safetensors"', '"none.pt"', "no weights file"),
        ('"teacher.safetensors"', '"{weights}/other.safetensors"', "does not fit Teacher"),
        ('"teacher.safetensors"', '"{weights}/cut.safetensors"', "damaged"),
        ('"teacher.safetensors"', '"{weights}/evil.pt"', "refused: it asks to run code"),
        ('"teacher.safetensors"', '"{weights}/evil.pkl"', "evil.pkl"),
        ('"teacher.safetensors"', '"{weights}/weak.safetensors"', "chance level"),
        ("mean = [0, 0, 0]", "mean = [0, 0, 0]\naccept_weak = 3", "accept_weak"),
        ("size = 8", "size = 8\nvalidation = 15000", "not valid TOML"),
        ("validation = 15", "validation = 15000", "leaves nothing to train on"),
        ("[settings]", '[settings]\ndevice = "abacus"', "settings.device = 'abacus'"),
        ("", "", ""),  # nothing wrong but the folder
    ],
)
def test_a_users_mistake_is_a_line_or_two_with_exit_code_2_and_writes_nothing(
    understudy, recipe, weights, tmp_path, old, new, said
):
    path = recipe(old, new.replace("{weights}", str(weights)))
    out = tmp_path / "run" if old else tmp_path / "changed.toml/run"
    code, shown, err = understudy("distill", path, "--out", out, "--trust", "smallnets")
    assert (code, shown) == (2, "")
    assert said in err.replace("\n", " ")
    assert err.strip().splitlines()[-1].startswith(("understudy: ", "teacher: "))
    assert "executed\n" not in shown + err
    assert not (out.exists() and any(p.name != ".lock" for p in out.iterdir()))


def test_folders_and_files_that_are_not_there_are_told(understudy, tmp_path):
    assert "No such file" in understudy("distill", tmp_path / "none.toml", "--out", tmp_path / "run")[2]
    (tmp_path / "full").mkdir()
    (tmp_path / "full/letter.txt").write_text("dear")
    code, _, err = understudy("distill", "recipe.toml", "--trust", "smallnets", "--out", tmp_path / "full")
    assert code == 2
    assert "holds no run" in err
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["letter.txt"]
    code, _, err = understudy("distill", "recipe.toml", "--out", tmp_path / "run", "--set", "train.epochs=0")
    assert code == 2
    assert "--set: train.epochs" in err
    assert understudy("report", tmp_path / "nothing")[0] == 2
    code, _, err = understudy("methods", "kdd")
    assert (code, err.partition("; ")[0]) == (2, "understudy: there is no method 'kdd'")
    assert err.count("\n") == 1
    assert "did you mean 'kd', " in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["restnet20"], "no network is called"),
        (["resnet20", "--shape", "3x32"], "channels x height x width"),
        (["smallnets:student", "--trust", "smallnets", "--shape", "1x8x8"], "does not take inputs of 1x8x8"),
        (["smallnets:student"], "--trust smallnets"),
    ],
)
def test_taps_of_what_cannot_be_traced(understudy, words, said):
    code, out, err = understudy("taps", *words)
    assert (code, out) == (2, "")
    assert said in " ".join(err.replace("│", " ").split())


def test_a_method_by_nothing_but_its_name_is_planned_on_the_images_of_the_package(understudy, tmp_path):
    words = ["distill", "--method", "rkd", "--out", tmp_path / "run", "--dry-run", "--json", "--set", "seeds=[0]"]
    code, stdout, _ = understudy(*words)
    assert code == 0
    assert [row["training"] for row in json.loads(stdout)["trainings"]][-1] == "rkd-0"
    assert understudy("distill", "--out", tmp_path / "none")[0] == 2


def test_one_of_a_recipes_methods_goes_by_the_name_of_its_table(understudy, workplace, tmp_path):
    recipe = (workplace / "recipe.toml").read_text() + '\n[methods.hot]\nmethod = "kd"\ntemperature = 8\n'
    (workplace / "hot.toml").write_text(recipe)
    words = ["distill", "hot.toml", "--trust", "smallnets", "--out", tmp_path / "run", "--dry-run", "--method"]
    for name in ("hot", "dkd"):
        rows = json.loads(understudy(*words, name, "--json")[1])["trainings"]
        assert f"{name}-0" in [row["training"] for row in rows]
        assert not any(row["training"].startswith("fitnets") for row in rows)
    code, _, err = understudy(*words, "hott")
    assert (code, "did you mean 'hot'" in err) == (2, True)


def test_a_store_is_filled_by_one_run_and_looked_after_by_its_command(understudy, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    words = ["distill", "recipe.toml", "--trust", "smallnets", "--no-check", "--cache", cache, "--out"]
    code, out, err = understudy(*words, tmp_path / "run", "--dry-run")
    assert code == 0, err
    assert out.splitlines() == [
        "fitnets-0: smallnets:student by fitnets from teacher.safetensors  to train",
        "1 training: 0 there already, 1 to train",
    ]
    assert not (tmp_path / "run").exists()
    assert understudy(*words, tmp_path / "run")[0] == 0
    code, out, _ = understudy(*words, tmp_path / "other", "--dry-run", "--json")
    (row,) = json.loads(out)["trainings"]
    assert (row["state"], json.loads(out)["to train"]) == ("in the cache", 0)
    monkeypatch.setenv("UNDERSTUDY_CACHE", str(cache))
    (listed,) = json.loads(understudy("cache", "list", "--json")[1])
    told = {key: listed[key] for key in ("key", "training", "network", "method", "seed", "data")}
    assert told == {
        "key": row["key"],
        "training": "fitnets-0",
        "network": "smallnets:student",
        "method": "fitnets",
        "seed": 0,
        "data": "folder",
    }
    (line,) = understudy("cache", "list")[1].splitlines()[1:]  # not broken, in a terminal of 80 columns
    assert line.split()[:5] == [row["key"][:10], "fitnets-0", "smallnets:student", "by", "fitnets"]
    assert understudy("cache", "check")[:2] == (0, "1 training, 0 damaged\n")
    stray = cache / "nodes" / "notes.txt"
    stray.write_text("mine")
    assert json.loads(understudy("cache", "list", "--json")[1])[0]["key"] == row["key"]
    assert understudy("cache", "check")[:2] == (
        0,
        "no training, and left out: nodes/notes.txt\n1 training, 0 damaged\n",
    )
    assert json.loads(understudy("cache", "check", "--json")[1])["strays"] == ["notes.txt"]
    stray.unlink()
    (cache / "nodes" / row["key"] / "student.json").write_text("{}")
    assert understudy(*words, tmp_path / "other", "--dry-run")[1].endswith("0 there already, 1 to train\n")
    code, out, _ = understudy("cache", "check", "--json")
    assert (code, json.loads(out)) == (1, {"entries": 1, "damaged": {row["key"]: ["student.json"]}, "strays": []})
    assert json.loads(understudy("cache", "prune", "--dry-run", "--json")[1]) == {"removed": [row["key"]]}
    assert understudy("cache", "prune")[:2] == (0, f"removed: {row['key']}\n1 removed\n")
    assert json.loads(understudy("cache", "list", "--json")[1]) == []


def test_a_store_that_is_not_named_or_not_there_is_told(understudy, tmp_path, monkeypatch):
    monkeypatch.delenv("UNDERSTUDY_CACHE", raising=False)
    code, _, err = understudy("cache", "list")
    assert (code, err) == (2, "understudy: name the cache, by --cache or by the environment's UNDERSTUDY_CACHE\n")
    code, _, err = understudy("cache", "check", "--cache", tmp_path / "none")
    assert code == 2
    assert "there is no cache" in err


@pytest.mark.parametrize("command", ["list", "check", "prune"])
def test_every_command_of_the_store_has_help_with_an_example(understudy, command):
    assert f"understudy cache {command}" in understudy("cache", command, "--help")[1].split("Example", 1)[1]


def test_bench_says_where_the_time_of_a_step_goes(understudy):
    words = ["bench", "recipe.toml", "--trust", "smallnets", "--seconds", "0"]
    code, out, err = understudy(*words, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert [stage["stage"] for stage in found["methods"]["fitnets"]] == ["hint", "soft targets"]
    code, out, err = understudy(*words, "--method", "fitnets")
    assert code == 0, err
    assert "of floor F2" in out
    assert understudy(*words, "--method", "fitnet")[0] == 2


def test_bench_leaves_nothing_in_a_store_that_others_share(understudy, tmp_path):
    folder = tmp_path / "shared"
    words = ["--set", f'answers.folder="{folder}"', "--set", "answers.views=1", "--seconds", "0"]
    code, _, err = understudy("bench", "recipe.toml", "--trust", "smallnets", *words)
    assert code == 0, err
    assert not folder.exists()


def test_tune_tells_the_best_as_lines_and_as_json_and_mistakes_in_the_space_are_a_line(understudy, tmp_path):
    words = ["tune", "recipe.toml", "--trust", "smallnets", "--out", tmp_path / "tune", "--trials", 2]
    words += ["--search", "methods.fitnets.temperature={1, 4}", "--cache", tmp_path / "cache"]
    code, out, err = understudy(*words)
    assert code == 0, err
    assert "best by validation, on test:" in out
    assert "optimistic" not in out
    assert "[methods.fitnets]\ntemperature = " in out
    assert "best so far: trial" in err
    assert len(list((tmp_path / "cache/nodes").iterdir())) == 2
    code, out, _ = understudy(*words, "--also-optimistic", "--json")
    assert (code, json.loads(out)) == (0, json.loads((tmp_path / "tune/tune.json").read_text()))
    assert "best of all on test (optimistic, as the paper reports)" in json.loads(out)["figures"]
    for space, said in (
        (
            "methods.fitnets.temprature=1..2",
            "--search: tune.search.methods.fitnets.temprature: method 'fitnets' has no",
        ),
        ("train.epochs=0..2", "--search: tune.search.train.epochs: Input should be greater than or equal to 1"),
        ("train.epochs=2", "write a range as 1..20"),
    ):
        code, out, err = understudy("tune", "recipe.toml", "--out", tmp_path / "none", "--search", space)
        assert (code, out, len(err.strip().splitlines())) == (2, "", 1)
        assert said in err
        assert not (tmp_path / "none").exists()
    assert "nothing to search" in understudy("tune", "recipe.toml", "--out", tmp_path / "none")[2]


def test_landscape_surveys_a_finished_run_and_says_what_it_needs(understudy, tmp_path):
    assert understudy("landscape", tmp_path / "none")[0] == 2
    folder, trust = tmp_path / "run", ["--trust", "smallnets"]
    assert understudy("distill", "recipe.toml", *trust, "--out", folder, "--no-check")[0] == 0
    code, out, err = understudy("landscape", folder, *trust, "--grid", 3, "--samples", 9)
    assert code == 0, err
    assert "mean rise" in " ".join(out.split())
    code, out, _ = understudy(
        "landscape", folder, *trust, "--grid", 3, "--samples", 9, "--json", "--part", "validation"
    )
    assert (code, json.loads(out)) == (0, json.loads((folder / "landscape.json").read_text()))
    assert json.loads(out)["part"] == "validation"
    code, _, err = understudy("landscape", folder, *trust, "--grid", 4)
    assert (code, "odd number" in err) == (2, True)
    (folder / "landscape.json").write_text("{")
    code, out, err = understudy("report", folder)
    assert (code, out.strip()) == (0, str(folder / "report.html"))
    assert err.startswith("left out: landscape.json is damaged")
    assert len(err.splitlines()) == 1
    (folder / "recipe.toml").write_text('method = "kd"\n')
    assert "understudy.measure.landscape" in understudy("landscape", folder, *trust)[2]


def test_the_settings_of_a_run_are_told_in_one_line_and_written_down(understudy, recipe, tmp_path, monkeypatch):
    open_ = recipe("[settings]\nthreads = 1\n")
    words = ["distill", open_, "--trust", "smallnets", "--out", tmp_path / "run", "--set", "train.epochs=2"]
    words += ["--set", "methods.fitnets.hint_epochs=1"]
    monkeypatch.setattr(hardware, "computes_in_bfloat16", lambda device: True)
    code, _, err = understudy(*words)
    assert code == 0, err
    assert "ok settings: bfloat16, channels-last, 1 thread\n" in err
    written = recipes.read(tmp_path / "run/recipe.toml").settings
    assert written == Settings(precision="bfloat16", threads=1)
    monkeypatch.setattr(hardware, "computes_in_bfloat16", lambda device: False)  # the folder on another machine
    monkeypatch.setattr(hardware, "threads_each", lambda workers=1: 7)
    code, _, err = understudy(*words)
    assert code == 0, err
    assert "settings: bfloat16, channels-last, 1 thread, with which the run began" in err
    assert "settings: float32, channels-last, 7 threads" in understudy("check", open_, "--trust", "smallnets")[2]


@pytest.fixture
def roomy(monkeypatch):
    """A machine of so many cores, on which no run is too short for workers."""
    monkeypatch.setattr(workers, "SHORT", 0.0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    return lambda cores: monkeypatch.setattr(hardware, "cores", lambda: cores)


@pytest.mark.parametrize("settings", ["plain", "auto"])
def test_workers_by_rule_are_told_and_a_run_goes_on_with_their_threads(
    understudy, recipe, tmp_path, roomy, monkeypatch, settings
):
    words = ["distill", recipe("[settings]\nthreads = 1\n"), "--trust", "smallnets", "--out", tmp_path / "run"]
    words += ["--settings", settings, "--set", "seeds=[0, 1]", "--set", "train.epochs=2"]
    words += ["--set", "methods.fitnets.hint_epochs=1"]
    roomy(2)
    asked_for = []

    def processes(count, callback, stop):
        asked_for.append(count)
        return Here(Builders(["smallnets"]), callback, stop)  # it is quicker, and others test the workers themselves

    monkeypatch.setattr(engine_processes, "Processes", processes)
    told = "1 thread for each of 2 trainings at once"
    code, _, err = understudy(*words)
    assert code == 0, err
    assert told in err
    assert set(asked_for) == {2}
    assert recipes.read(tmp_path / "run/recipe.toml").settings.threads == 1
    roomy(6)
    assert "1 thread for each of 2 trainings" in understudy(*words, "--dry-run")[2]
    for asked in (["--workers", "1"], ["--engine", "local"], ["--engine", "together"]):
        code, out, err = understudy(*words, "--dry-run", *asked)
        assert (code, "2 there already" in out, "at once" in err) == (0, True, False)
    other = [tmp_path / "other" if word == tmp_path / "run" else word for word in words]
    assert "3 threads for each of 2 trainings at once" in understudy(*other, "--dry-run")[2]
    assert "3 threads for each of 2 trainings at once" in understudy("check", *other[1:4], *other[6:])[2]
    assert "3 threads for each of 2 trainings at once" in understudy(*other, "--dry-run", "--workers", "2")[2]


def test_a_run_of_python_that_left_threads_to_pytorch_goes_on_from_the_command_line(
    understudy, recipe, tmp_path, roomy
):
    words = ["distill", recipe("[settings]\nthreads = 1\n"), "--trust", "smallnets", "--out", tmp_path / "run"]
    words += ["--settings", "plain", "--set", "seeds=[0, 1]"]
    (tmp_path / "run").mkdir()
    read = recipes.read(words[1], ["seeds=[0, 1]"], settings="plain")
    (tmp_path / "run/recipe.toml").write_text(recipes.write(read))
    roomy(2)
    code, _, err = understudy(*words, "--dry-run")
    assert code == 0, err


def test_a_search_has_workers_by_rule_too(understudy, tmp_path, roomy):
    (tmp_path / "search.toml").write_text(SEARCH)
    words = ["path", tmp_path / "search.toml", "--trust", "smallnets", "--out", tmp_path / "run", "--dry-run"]
    roomy(3)
    assert "1 thread for each of 3 trainings at once" in understudy(*words)[2]
    assert "at once" not in understudy(*words, "--workers", "1")[2]


def test_an_engine_that_does_not_exist_is_named_with_the_nearest(understudy):
    code, _, err = understudy("distill", "recipe.toml", "--out", "run", "--engine", "rai")
    assert code == 2
    assert "there is no engine 'rai'; did you mean 'ray'?" in err


def test_the_check_shows_what_matters_and_verbose_the_rest(understudy, recipe):
    code, short, _ = understudy("check", recipe(), "--trust", "smallnets")
    assert code == 0
    lines = short.splitlines()
    assert [line.split(":")[0] for line in lines[:2]] == ["ok data", "ok teacher"]
    assert lines[-2].startswith("ok all: 1 training, roughly ")
    assert lines[-1].startswith("ok ")
    assert lines[-1].endswith(" more checks (--verbose shows them)")
    _, long, _ = understudy("check", recipe(), "--trust", "smallnets", "-v")
    assert "ok student: " in long
    assert "--verbose" not in long
    assert len(long.splitlines()) > len(lines)


def test_a_folder_that_must_be_filled_already_is_an_error_of_the_check_but_not_where_it_is_filled(
    understudy, recipe, tmp_path
):
    accepted = "accept_weak = true\nweights = "
    path = recipe("weights = ", accepted)
    only = ["--trust", "smallnets", "--set", "answers.fill=false"]
    assert understudy("check", path, *only)[0] == 0  # that of the run, which the check does not know
    named = [*only, "--set", f"answers.folder={tmp_path}/stored"]
    code, out, err = understudy("check", path, *named)
    assert code == 2
    assert "stored holds no answers that belong here: it is empty" in out + err
    assert understudy("answers", path, *named)[0] == 0
    assert understudy("check", path, *named)[0] == 0


def test_answers_are_stored_without_training(understudy, recipe, tmp_path):
    named = ["--set", f"answers.folder={tmp_path}/stored", "--no-check", "--trust", "smallnets"]
    code, out, err = understudy("answers", "recipe.toml", *named, "--set", "answers.taps=exact", "--json")
    assert code == 0, err
    assert [(row["stage"], row["added"]) for row in json.loads(out)] == [("hint", 60), ("soft targets", 45)]
    code, out, _ = understudy("answers", "recipe.toml", *named, "--out", tmp_path / "run")
    assert code == 0
    assert out.endswith(", 0 answers added\n")
    assert not (tmp_path / "run" / "trainings").exists()
    trained = recipe('weights = "teacher.safetensors"', "train = { epochs = 1 }")
    for words, reason in (
        (("recipe.toml",), "name the folder of the answers"),
        (("recipe.toml", "--out", tmp_path / "other"), "the recipe has no table [answers]"),
        ((trained, *named), "name a run folder for it"),
    ):
        code, _, err = understudy("answers", *words, "--no-check", "--trust", "smallnets")
        assert code == 2
        assert reason in err
