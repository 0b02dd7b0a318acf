"""Pages of runs with many methods: few lines in colour, the others in the background; terms by their notation."""

import pytest

from tests.report.conftest import bins, method, spread
from understudy.report.figures import answers, method_colours
from understudy.report.figures.foreground import MOST, foreground
from understudy.report.reading import read

NAMES = ("alone", "kd", "fitnets", *(f"kd{number}" for number in range(9)))


@pytest.fixture
def many(finished, content):
    for place, name in enumerate(NAMES):
        found = method(name if name in content["methods"] else "kd", (0, 1, 2))
        for row in found["trainings"]:
            row["training"] = f"{name}-{row['seed']}"
            row["validation"] = {"accuracy": 0.5 + 0.01 * place}
        found["measures"] = {"calibration": bins(0.02 * place), "agreement": bins(0.01 * place)}
        found["figures"]["calibration_error"] = spread([0.1, 0.1, 0.1])
        content["methods"][name] = found
    content["kept"] = "kd-1"
    return read(finished(content)).result


def test_the_foreground_holds_alone_the_kept_one_and_the_best(many):
    shown = foreground(many)
    assert shown == ["alone", "kd", "kd6", "kd7", "kd8"]
    assert len(shown) == MOST
    colours = method_colours(many)
    assert len({colours[name] for name in shown}) == MOST


def test_the_others_are_faint_lines_without_a_label(many):
    drawn = answers.calibration(many, method_colours(many))
    labels = [name for name in NAMES if f">{name}<" in drawn.standalone]
    assert labels == ["alone", "kd", "kd6", "kd7", "kd8"]
    assert drawn.standalone.count("stroke-opacity: 0.3") == len(NAMES) - MOST


def test_losses_are_called_as_recipes_call_their_terms(finished, content):
    from understudy.report.figures.curves import losses

    drawn = losses(read(finished(content)), "kd", "losses-kd")
    assert ">KD<" in drawn.standalone
    assert ">kd<" not in drawn.standalone
