"""Training again on train and validation, for the epochs that validation found."""

import json
import shutil

import pytest

import understudy
from tests.conftest import RECIPE, RECIPE_ALONE
from tests.runs.test_path import SEARCH
from understudy import UserError
from understudy import recipe as recipes
from understudy.plans.entry import RESULT
from understudy.runs.folder import RunFolder, with_seal
from understudy.runs.retrain import retrained
from understudy.training.metrics import read
from understudy.training.records import TrainingRecord

TRAINED = (
    RECIPE.replace(
        'network = "smallnets:teacher"\nweights = "teacher.safetensors"',
        'network = "resnet8"\nsettings = { widths = [4, 4, 4] }\none_for_all = true\naccept_weak = true\n'
        "train = { epochs = 1 }",
    )
    .replace("mean = [0, 0, 0]\nstd = [1, 1, 1]\n", "")
    .replace('pair = "conv -> conv1"', 'pair = "layer1 -> conv1"')
)


def best_epochs(folder, name):
    record = TrainingRecord.read(folder / "trainings" / name / RESULT, way_out="")
    return [stage.best_epoch for stage in record.stages]


def test_each_stage_ends_after_its_best_epoch_on_its_old_schedule(make_run, tmp_path):
    make_run("seeds=[0, 1]", out=tmp_path / "first").execute()
    recipe = retrained(tmp_path / "first")
    again = make_run(text=recipes.write(recipe), out=tmp_path / "again")
    assert len(again.student_data.train) == 60
    assert again.builder.data.validation is None
    result = again.execute()
    for seed in (0, 1):
        found, name = best_epochs(tmp_path / "first", f"fitnets-{seed}"), f"fitnets-{seed}"
        record = TrainingRecord.read(tmp_path / "again/trainings" / name / RESULT, way_out="")
        assert [stage.epochs for stage in record.stages] == found == list(recipe.methods["fitnets"].ends[str(seed)])
        for epoch in read(tmp_path / "again/trainings" / name / "metrics.jsonl"):
            factor = again.recipe.train.schedule.factor(epoch.epoch - 1 + 5 / 6, 2)  # in the last of 6 steps
            assert epoch.lr == pytest.approx(0.05 * factor)
    assert set(result.methods["fitnets"].figures) >= {"accuracy"}


def test_of_several_methods_the_one_that_the_run_kept_is_kept_again(make_run, tmp_path, monkeypatch):
    result = make_run(text=RECIPE_ALONE + '[methods.again]\nmethod = "alone"\n', out=tmp_path / "first").execute()
    for kept in ("alone", "again"):
        chosen = result.model_copy(update={"kept": f"{kept}-0"})
        monkeypatch.setattr(RunFolder, "result", lambda self, chosen=chosen: chosen)
        assert retrained(tmp_path / "first").keep == kept


@pytest.mark.parametrize("how", ["false", "true"])
def test_a_teacher_that_was_trained_in_the_run_stays(make_run, tmp_path, how):
    run = make_run(f"data.whiten={how}", text=TRAINED, out=tmp_path / "first")
    run.execute()
    again = make_run(text=recipes.write(retrained(tmp_path / "first")), out=tmp_path / "again")
    assert again.plan.names == ["fitnets-0"]
    teacher, before = again.teachers(0)["teacher"], run.teachers(0)["teacher"]
    for name, weights in understudy.taps.inner(teacher).state_dict().items():
        assert weights.equal(understudy.taps.inner(before).state_dict()[name]), name
    if how == "false":
        assert teacher.describe() == before.describe()


def test_ends_are_a_part_of_the_key_and_of_the_recipe(make_run):
    run = make_run("methods.fitnets.ends={0=[1, 2]}")
    node, plain = run.plan["fitnets-0"], make_run().plan["fitnets-0"]
    assert node.ends == (1, 2)
    assert plain.ends == ()
    assert run.execution.key("fitnets-0") != make_run().execution.key("fitnets-0")
    assert "ends" not in recipes.write(make_run().recipe)
    assert recipes.parse(recipes.write(run.recipe)).methods["fitnets"].ends == {"0": (1, 2)}


@pytest.mark.parametrize(("ends", "said"), [("{0=[1]}", "an epoch for each stage"), ("{0=[1, 3]}", "[1, 3]")])
def test_ends_that_cannot_be_are_found_by_the_check(make_run, ends, said):
    findings = make_run(f"methods.fitnets.ends={ends}").check()
    (error,) = [finding.text for finding in findings if finding.level == "error"]
    assert said in error
    with pytest.raises(UserError, match="none of the seeds"):
        make_run("methods.fitnets.ends={3=[1, 1]}")


def test_what_cannot_be_trained_again_is_told(make_run, tmp_path, monkeypatch, capsys):
    with pytest.raises(UserError, match="holds no finished run"):
        retrained(tmp_path)
    make_run("data.validation=0", out=tmp_path / "whole").execute()
    with pytest.raises(UserError, match="held nothing back"):
        retrained(tmp_path / "whole")
    many = TRAINED.replace("one_for_all = true", "").replace("seeds = [0]", "seeds = [0, 1]")
    make_run(text=many, out=tmp_path / "many").execute()
    with pytest.raises(UserError, match="one_for_all"):
        retrained(tmp_path / "many")


def test_a_search_whose_student_has_assistants_is_not_taken_for_its_method(make_run, workplace, tmp_path):
    make_run("data.validation=6", text=RECIPE_ALONE, out=tmp_path / "first").execute()
    search = recipes.write(recipes.parse(SEARCH, "recipe.toml"))
    (tmp_path / "first/recipe.toml").write_text(with_seal(search))
    with pytest.raises(UserError, match="searched a path of assistants"):
        retrained(tmp_path / "first")


def test_the_command_takes_all_from_the_run(make_run, tmp_path, monkeypatch, capsys):
    from understudy.cli import main

    make_run(out=tmp_path / "first").execute()
    command = ["understudy", "distill", "--retrain", tmp_path / "first", "--trust", "smallnets", "--json"]
    for words, expected in (((), 0), (("recipe.toml",), 2)):
        monkeypatch.setattr("sys.argv", [*map(str, command), "--out", str(tmp_path / "again"), *words])
        with pytest.raises(SystemExit) as caught:
            main()
        shown = capsys.readouterr()
        assert (caught.value.code or 0) == expected, shown.err
        assert expected or json.loads(shown.out)["data"]["validation"] == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("data.root='{parts}'", "the data set has a validation part of its own, which is not trained on"),
        ("data.student_samples=30", "would show them 30: give the number that they are to see"),
    ],
)
def test_students_that_would_see_nothing_new_are_not_trained_again(
    make_run, workplace, tmp_path, monkeypatch, capsys, change, said
):
    from understudy.cli import main

    parts, first, again = (tmp_path / name for name in ("parts", "first", "again"))
    shutil.copytree(workplace / "pictures", parts)
    shutil.copytree(parts / "test", parts / "val")
    make_run(change.format(parts=parts), text=RECIPE_ALONE, out=first).execute()
    command = ["understudy", "distill", "--retrain", first, "--trust", "smallnets", "--out", again]
    monkeypatch.setattr("sys.argv", [*map(str, command)])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not (again / "trainings").exists()
