"""Methods with assistants in a recipe: who is trained, by whom, and which one the rule of thumb takes."""

import statistics

import pytest

from understudy import UserError
from understudy import recipe as recipes
from understudy.files import read_json
from understudy.recipe.build import Builder
from understudy.runs import Run
from understudy.runs.assistants import trials
from understudy.runs.compile import compiled

BASE = """
data = { name = "demo" }
teacher = { network = "plain10", train = { epochs = 1 } }
student = { network = "plain2" }
train = { epochs = 3 }
"""


def nodes(text: str) -> dict[str, tuple[str, ...]]:
    """Every training and its teachers."""
    return {node.name: node.teachers for node in compiled(recipes.parse(BASE + text))}


def test_each_assistant_learns_from_the_one_before_it_and_the_student_from_the_last():
    assert nodes('methods = { takd = { assistants = ["plain8", "plain4"] }, kd = {} }') == {
        "teacher-0": (),
        "takd-by-1-plain8-0": ("teacher-0",),
        "takd-by-2-plain4-0": ("takd-by-1-plain8-0",),
        "takd-0": ("takd-by-2-plain4-0",),
        "kd-0": ("teacher-0",),
    }


def test_dgkd_learns_from_all_that_are_larger_and_only_the_student_does_without_some():
    text = 'methods = { dgkd = { assistants = ["plain8", "plain4"], weight = 0.5, survival = 0.75 } }'
    assert list(nodes(text).values())[2:] == [
        ("teacher-0", "dgkd-by-1-plain8-0"),
        ("teacher-0", "dgkd-by-1-plain8-0", "dgkd-by-2-plain4-0"),
    ]
    plan = compiled(recipes.parse(BASE + text))
    assert plan["dgkd-by-2-plain4-0"].settings == {"weight": 0.5, "survival": 1.0, "drop": 0}
    assert plan["dgkd-0"].settings == {"weight": 0.5, "survival": 0.75}


def test_an_assistant_may_learn_in_its_own_way_and_its_course_says_only_what_differs():
    learns = '{ method = "dkd", alpha = 2.0, train = { epochs = 7 } }'
    text = f'methods = {{ takd = {{ assistants = [{{ network = "plain4", learns = {learns} }}], temperature = 5 }} }}'
    recipe = recipes.parse(BASE.replace("epochs = 3", "epochs = 3, batch = 32") + text)
    plan = compiled(recipe)
    assistant, student = plan["takd-by-1-plain4-0"], plan["takd-0"]
    assert (assistant.method, assistant.settings) == ("dkd", {"alpha": 2.0})
    assert (assistant.config.epochs, assistant.config.batch, student.config.epochs) == (7, 32, 3)
    assert recipes.parse(recipes.write(recipe)) == recipe


def test_an_assistant_that_names_no_method_learns_as_the_student_does():
    learns = "{ train = { epochs = 7 }, temperature = 2 }"
    assistants = f'[{{ network = "plain4", learns = {learns} }}]'
    text = f"methods = {{ dgkd = {{ assistants = {assistants}, weight = 0.5, drop = 1 }} }}"
    assistant = compiled(recipes.parse(BASE + text))["dgkd-by-1-plain4-0"]
    assert assistant.method == "dgkd"
    assert assistant.settings == {"weight": 0.5, "temperature": 2, "drop": 0, "survival": 1.0}
    assert assistant.config.epochs == 7


def test_chosen_assistants_see_the_images_that_the_student_sees():
    student = 'student = { network = "plain2", size = 14, interpolation = "nearest", mean = [0.3], std = [0.4] }'
    text = BASE.replace('student = { network = "plain2" }', student) + 'methods = { takd = { assistants = "auto" } }'
    recipe = recipes.parse(text)
    tables = [node.network for node in trials(recipe, "takd", Builder.of(recipe.data)) if node.role == "student"]
    between = [table for table in tables if table.network not in ("plain2", "plain10")]
    assert between
    for table in between:
        assert (table.size, table.interpolation, table.mean, table.std) == (14, "nearest", (0.3,), (0.4,))


def test_any_method_takes_assistants_and_taps_of_the_student_are_not_asked_of_them():
    text = 'methods = { fitnets = { assistants = ["plain4"], pair = "conv1 -> conv1", weight = 2 } }'
    plan = compiled(recipes.parse(BASE + text))
    assert plan["fitnets-by-1-plain4-0"].settings == {"weight": 2}
    assert plan["fitnets-0"].settings == {"pair": "conv1 -> conv1", "weight": 2}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("takd = { assistants = [] }", "name its assistants"),
        ('alone = { assistants = ["plain4"] }', "learns from nobody"),
        ('takd = { assistants = [{ network = "plain4", learns = { method = "kdd" } }] }', "no method 'kdd'"),
        ('takd = { assistants = [{ network = "plain4", learns = { method = "kd", heat = 3 } }] }', "no such setting"),
        ('takd = { assistants = "otto" }', "assistants"),
    ],
)
def test_mistakes_are_told_with_their_place(text, words):
    with pytest.raises(UserError, match=words):
        recipes.parse(BASE + f"methods = {{ {text} }}")


def _validation(training):
    return read_json(training / "result.json")["stages"][-1]["validation"]["accuracy"]


AUTO = """
seeds = [0, 1]
[data]
name = "folder"
root = "pictures"
size = 8
validation = 15
[teacher]
network = "plain5"
train = { epochs = 2 }
one_for_all = true
accept_weak = true
[student]
network = "plain2"
[train]
epochs = 1
batch = 10
[settings]
threads = 1
[methods.takd]
"""


def test_the_rule_of_thumb_chooses_for_all_seeds_and_says_why(make_run, tmp_path):
    foreseen = make_run(text=AUTO)
    assert foreseen.foresee() == 2 * 2
    run = make_run(text=AUTO)
    assert run.plan.names == ["teacher-0"]
    result = run.execute()
    assert set(foreseen.plan.names) < set(run.execution.done)
    assert len(run.execution.done) == len(foreseen.plan) + 2 * 2
    (note,) = (note for note in result.notes if "rule of thumb" in note)
    quick = {path.name: path for path in (tmp_path / "run" / "trainings").glob("takd-quick-*")}
    assert {name.split("-")[2] for name in quick} == {"5", "6", "4", "2"}
    assert len(quick) == 2 * 4
    means = {
        size: statistics.fmean(_validation(quick[f"takd-quick-{size}-{seed}"]) for seed in (0, 1)) for size in "5642"
    }
    middle = (means["5"] + means["2"]) / 2
    nearest = min("64", key=lambda size: abs(means[size] - middle))
    assert f"plain{nearest} assists" in note
    taught = read_json(run.folder.training("takd-1") / "result.json")["node"]["teachers"]
    assert taught == [f"takd-by-1-plain{nearest}-1"]
    assert len(result.methods["takd"].figures["accuracy"].values) == 2
    again = make_run(text=AUTO)
    assert (again.foresee(), set(again.plan.names)) == (0, set(run.execution.done))
    assert make_run(text=AUTO).execute() == result


def test_one_candidate_needs_no_trials(make_run):
    run = make_run(text=AUTO.replace("plain5", "plain6").replace("seeds = [0, 1]", "seeds = [0]"))
    foreseen = make_run(text=AUTO.replace("plain5", "plain6").replace("seeds = [0, 1]", "seeds = [0]"))
    assert foreseen.foresee() == 0
    result = run.execute()
    assert run.plan.names == ["teacher-0", "takd-by-1-plain4-0", "takd-0"] == list(run.execution.done)
    assert foreseen.plan.names == run.plan.names
    assert any("the only size" in note for note in result.notes)


def test_where_no_assistant_lies_between_it_is_to_be_named(make_run):
    with pytest.raises(UserError, match="name the assistants"):
        make_run(text=AUTO.replace("plain5", "plain4")).execute()


def test_what_leaves_nothing_to_choose_from_is_told(make_run):
    with pytest.raises(UserError, match="of no family with sizes"):
        make_run(text=AUTO.replace('"plain2"', '"fitnet-mnist"')).execute()
    several = BASE.replace("teacher =", "teachers = [").replace("epochs = 1 } }", "epochs = 1 } }]")
    with pytest.raises(UserError, match="a single"):
        recipes.parse(several + "methods = { takd = {} }")


def test_the_check_looks_at_methods_whose_assistants_are_not_chosen_yet(make_run):
    run: Run = make_run(text=AUTO)
    assert [finding.text for finding in run.check() if finding.subject.startswith("takd")]


def test_a_size_whose_quick_training_diverges_is_not_chosen(make_run, diverging):
    diverging.add("takd-quick-6-1")
    result = make_run(text=AUTO).execute()
    (note,) = (note for note in result.notes if "rule of thumb" in note)
    assert "plain4 assists" in note
    assert "6: failed" in note
    diverging.clear()  # another time it might not, and the choice would be another one
    again = make_run(text=AUTO)
    assert again.foresee() == 0
    assert "takd-quick-6-1" not in again.plan
    assert again.execute() == result
    assert not again.folder.training("takd-quick-6-1").joinpath("result.json").exists()


def test_without_the_quick_trainings_that_decide_nothing_is_chosen(make_run, diverging):
    diverging.add("takd-quick-2-0")
    with pytest.raises(UserError, match=r"no assistant can be chosen .*2: failed.*: lower the learning rate, or name"):
        make_run(text=AUTO).execute()
    diverging.clear()  # as by a lower rate: the same command goes on
    assert make_run(text=AUTO).execute().methods["takd"]
