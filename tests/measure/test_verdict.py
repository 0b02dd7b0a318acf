"""Whether a method helped, in words: by the spread over seeds, whichever way the figure is better."""

import math
import random
import statistics

import pytest

from understudy.measure.verdict import judge
from understudy.tasks import Figure

ACCURACY = Figure("accuracy", "accuracy", unit="share")
ERROR = Figure("error", "landmark error", "lower")


@pytest.mark.parametrize(
    ("ours", "alone", "verdict", "sentence"),
    [
        (
            [0.71, 0.73],
            [0.60, 0.62],
            "beats",
            "kd beats the student alone by 11.00 points of accuracy, more than the spread of 2.83 over 2 seeds.",
        ),
        (
            [0.60, 0.62],
            [0.71, 0.73],
            "loses",
            "kd loses to the student alone by 11.00 points of accuracy, more than the spread of 2.83 over 2 seeds.",
        ),
        (
            [0.60, 0.64],
            [0.61, 0.62],
            "ties",
            "kd ties with the student alone: better by 0.50 points of accuracy, within the spread of 3.54 over 2 "
            "seeds.",
        ),
        (
            [0.60, 0.62],
            [0.61, 0.62, 0.63],
            "ties",
            "kd ties with the student alone: worse by 1.00 points of accuracy, within the spread of 2.41 over its "
            "seeds.",
        ),
        (
            [0.60, 0.64],
            [0.61, 0.63],
            "ties",
            "kd ties with the student alone: their means are equal, over 2 seeds.",
        ),
        (
            [0.64],
            [0.61, 0.63],
            "unknown",
            "kd is 2.00 points of accuracy better than the student alone; one seed cannot tell that from luck.",
        ),
        (
            [0.60],
            [0.62],
            "unknown",
            "kd is 2.00 points of accuracy worse than the student alone; one seed cannot tell that from luck.",
        ),
        ([0.62], [0.62], "unknown", "kd is as good as the student alone, by one seed."),
        ([math.nan, 0.6], [0.6, 0.6], "unknown", "kd has a seed whose accuracy is no number."),
        ([0.6, 0.6], [math.inf, 0.6], "unknown", "the student alone has a seed whose accuracy is no number."),
    ],
)
def test_the_sentence_says_what_was_found(ours, alone, verdict, sentence):
    found = judge("kd", ours, alone, ACCURACY)
    assert (found.verdict, found.sentence) == (verdict, sentence)


def test_a_figure_of_which_less_is_better_is_told_so():
    found = judge("kd", [0.02, 0.021], [0.03, 0.031], ERROR)
    assert found.verdict == "beats"
    assert found.sentence.startswith("kd beats the student alone by 0.01 of landmark error (lower is better), more")


def test_the_ranges_of_mean_and_deviation_decide():
    draw = random.Random(0)
    seen = set()
    for _ in range(500):
        ours, alone = ([draw.gauss(draw.choice((0.5, 0.55)), 0.02) for _ in range(draw.randint(2, 4))] for _ in "ab")
        ranges = [(statistics.mean(some), statistics.stdev(some)) for some in (ours, alone)]
        apart = abs(ranges[0][0] - ranges[1][0]) > ranges[0][1] + ranges[1][1]
        found, other = judge("kd", ours, alone, ACCURACY), judge("kd", alone, ours, ACCURACY)
        less = judge("kd", ours, alone, ERROR)
        assert (found.verdict != "ties") == apart
        opposite = {"beats": "loses", "loses": "beats", "ties": "ties"}[found.verdict]
        assert other.verdict == less.verdict == opposite
        assert found.gain == pytest.approx(-other.gain)
        seen.add(found.verdict)
    assert seen == {"beats", "loses", "ties"}
