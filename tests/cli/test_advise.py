"""``understudy advise``: shapes at a budget, short trainings, a choice with its reason, a stop and what follows it."""

import json
import sys

import pytest

from tests.conftest import RECIPE
from understudy.cli import main
from understudy.errors import UserError
from understudy.measure import Latency
from understudy.models import NetworkSpec
from understudy.models.sizes import Sized
from understudy.report.reading import read_result
from understudy.runs import advice
from understudy.runs.compile import plain
from understudy.training.loop import Training

SHORT = RECIPE.partition("[methods.fitnets]")[0] + "[methods.kd]\n"
LIMIT = ("--family", "resnet", "--max-parameters", 40_000)


@pytest.fixture
def latency(monkeypatch):
    """Latencies of 1 ms for each 10,000 parameters; answers with how many were asked for."""
    asked = []

    def measured(networks, example, *, seconds):
        assert len(example) == 1
        asked.extend(networks)
        counts = {name: sum(p.numel() for p in network.parameters()) for name, network in networks.items()}
        return {name: Latency(count / 1e4, count / 1e4, 1, 1) for name, count in counts.items()}

    monkeypatch.setattr(advice, "latencies", measured)
    return asked


@pytest.fixture
def advise(workplace, latency, tmp_path, monkeypatch, capsys):
    """Runs the command on the workplace's recipe with soft targets; answers with exit code, stdout and stderr."""
    (tmp_path / "short.toml").write_text(SHORT)
    monkeypatch.setattr(Sized, "published", (20, 14, 8))

    def run(*words, source=tmp_path / "short.toml"):
        trust = [] if "--data" in words else ["--trust", "smallnets"]
        monkeypatch.setattr(sys, "argv", ["understudy", "advise", *map(str, [source, *words, *trust])])
        with pytest.raises(SystemExit) as caught:
            main()
        shown = capsys.readouterr()
        assert "Traceback" not in shown.err
        return caught.value.code or 0, shown.out, shown.err

    return run


def called(one):
    """A shape of the record by its name and settings."""
    return str(NetworkSpec(one["network"], one["settings"]))


def test_before_any_training_shapes_at_equal_cost_are_told_with_the_papers_advice(advise):
    code, out, err = advise(*LIMIT, "--json")
    assert code == 0, err
    record = json.loads(out)
    assert record["chosen"] is None
    assert record["sentences"][-1].endswith("Here parameters are equal, and times are not.")
    assert [one["depth"] for one in record["shapes"]] == sorted(
        (one["depth"] for one in record["shapes"]), reverse=True
    )
    assert all(one["parameters"] <= 40_000 for one in record["shapes"])
    assert record["limits"] == {"latency_ms": None, "parameters": 40_000, "multiplications": None}
    code, out, _ = advise("--family", "resnet", "--max-latency", "4ms")
    assert code == 0
    assert "CAN (Xu et al., 2018, table 5" in out
    assert "By the paper, begin with resnet20" in out


def test_short_trainings_end_in_a_choice_with_its_reason_and_are_not_repeated(advise, latency, tmp_path):
    words = (*LIMIT, "--try", 2, "--epochs", 1, "--seeds", 2, "--out", tmp_path / "run")
    code, out, _ = advise(*words, "--dry-run")
    assert (code, "4 to train" in out) == (0, True)
    assert not (tmp_path / "run").exists()
    code, out, err = advise(*words)
    assert code == 0, err
    record = json.loads((tmp_path / "run/advice.json").read_text())
    tried = [one for one in record["shapes"] if one["validation"]]
    assert [len(one["validation"]["values"]) for one in tried] == [2, 2]
    best = max(tried, key=lambda one: (one["validation"]["mean"], -one["latency_ms"]["p50"]))
    assert record["chosen"] == called(best)
    assert f"{called(best)} has the highest accuracy" in out
    assert "Depth against width at about equal parameters: " in out
    assert "in the paper" not in out.partition("Depth against width")[2]
    widths = f'--set student.settings.widths="{best["settings"]["widths"]}"'
    assert f"--trust smallnets --set student.network={best['network']} {widths} --out ANOTHER-FOLDER" in out
    assert not (tmp_path / "run/result.json").exists()  # the test part was not read
    with pytest.raises(UserError, match="holds the short trainings of understudy advise and no run"):
        read_result(tmp_path / "run")
    latency.clear()
    code, again, _ = advise(*words, "--json")
    assert (code, json.loads(again)) == (0, json.loads((tmp_path / "run/advice.json").read_text()))
    assert json.loads(again)["shapes"] == record["shapes"]
    assert latency == []
    words = [3 if before == "--try" else word for before, word in zip(("", *words), words, strict=False)]
    code, out, _ = advise(*words, "--dry-run")
    assert "4 there already, 2 to train" in out


def test_a_failed_shape_is_told_and_the_others_are_compared(advise, diverging, tmp_path):
    words = (*LIMIT, "--try", 2, "--epochs", 2, "--no-check", "--workers", 1)  # of 1 epoch they are in the cache
    record = json.loads(advise(*LIMIT, "--json")[1])
    diverging.add(f"{plain(called(record['shapes'][0]))}-0")
    code, out, err = advise(*words, "--out", tmp_path / "run", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["shapes"][0]["failed"]
    assert told["chosen"] == called(told["shapes"][-1])


def test_the_command_that_trains_it_out_keeps_what_was_changed_and_nothing_of_another_family(advise, tmp_path):
    source = tmp_path / "my recipe.toml"
    source.write_text(SHORT.replace("smallnets:student", "wrn-10-1") + "[student.settings]\ndropout = 0.1\n")
    words = (*LIMIT, "--try", 1, "--epochs", 1, "--no-check", "--set", "data.validation=12", "--out", tmp_path / "run")
    for _ in range(2):  # the second time from its record
        code, out, err = advise(*words, source=source)
        assert code == 0, err
        begun = f"understudy distill '{source}' --set data.validation=12 --trust smallnets --set student.network=resnet"
        assert begun in out
        assert "--set student.settings={} --set student.settings.widths=" in out


def test_a_teacher_and_data_need_no_recipe(advise):
    code, out, err = advise("--data", "pictures", "--max-latency", "1ms", "--json", source="resnet8")
    assert code == 0, err
    record = json.loads(out)
    assert record["families"] == ["resnet<size>"]
    assert all(one["settings"]["widths"] for one in record["shapes"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "a budget needs a limit"),
        ((*LIMIT, "--try", 2), "give both, or neither"),
        ((*LIMIT[:3], 10), "fits"),
        ((*LIMIT, "--method", "kdd"), "no method 'kdd'; did you mean 'kd'"),
        (("--max-parameters", 10, "--family", "plane"), "did you mean 'plain'"),
        (("--max-latency", "3 parsecs"), "write a number and a unit"),
        ((*LIMIT, "--set", "data.validation=0", "--try", 1, "--out", "nowhere"), "hold some back"),
    ],
)
def test_a_mistake_is_one_line(advise, words, said):
    code, _, err = advise(*words)
    assert code == 2
    assert said in " ".join(err.replace("│", " ").split())


def test_a_folder_of_another_budget_is_left_alone(advise, tmp_path, monkeypatch):
    words = ("--try", 1, "--epochs", 1, "--no-check", "--out", tmp_path / "run")
    assert advise(*words, *LIMIT)[0] == 0
    monkeypatch.setattr(Training, "run", lambda self: pytest.fail("nothing is trained"))
    code, _, err = advise(*words, *LIMIT[:3], 50_000)
    assert (code, "give that again, or choose another --out" in err) == (2, True)
