"""The student to choose: feasible, the best of those that are, and a reason that tells the truth."""

import math

from hypothesis import given
from hypothesis import strategies as st

from understudy.measure import Budget, Candidate, Spread, choose, frontier, judge
from understudy.tasks import Figure

SHARE = Figure("accuracy", "accuracy", unit="share")

ACCURACIES = st.sampled_from([0.5, 0.6, 0.7, 0.8, 0.9])
COSTS = st.sampled_from([1.0, 2.0, 3.0, 4.0])
BYTES = st.sampled_from([1_000, 20_000, 3_000_000])


@st.composite
def candidates(draw, most=6):
    rows = draw(st.lists(st.tuples(ACCURACIES, st.none() | COSTS, st.none() | BYTES), min_size=1, max_size=most))
    return [Candidate(f"student {number}", *row) for number, row in enumerate(rows)]


budgets = st.builds(
    Budget, latency_ms=st.none() | COSTS, bytes=st.none() | BYTES, value=st.none() | st.sampled_from([0.6, 0.95])
)


def fits(candidate, budget):
    known = {"latency_ms": candidate.latency_ms, "bytes": candidate.bytes}
    cheap = all(
        getattr(budget, key) is None or (value is not None and value <= getattr(budget, key))
        for key, value in known.items()
    )
    return cheap and (budget.value is None or candidate.value >= budget.value)


def cost(value):
    return float("inf") if value is None else value


@given(candidates(), budgets)
def test_the_choice_is_feasible_and_nothing_feasible_is_better(found, budget):
    choice = choose(found, SHARE, budget)
    feasible = [candidate for candidate in found if fits(candidate, budget)]
    assert (choice.chosen is None) == (not feasible)
    if choice.chosen is None:
        assert choice.reason.startswith("Nothing fits ")
        return
    best = choice.chosen
    assert best in feasible
    assert choice.reason.startswith(best.name)
    for other in feasible:
        assert other.value <= best.value
        if other.value == best.value:
            assert cost(other.latency_ms) >= cost(best.latency_ms)
            if other.latency_ms == best.latency_ms:
                assert cost(other.bytes) >= cost(best.bytes)


@given(candidates(), budgets, st.randoms())
def test_the_choice_does_not_depend_on_the_order(found, budget, random):
    shuffled = random.sample(found, len(found))
    first, second = choose(found, SHARE, budget).chosen, choose(shuffled, SHARE, budget).chosen
    assert (first is None) == (second is None)
    if first and second:
        assert (first.value, first.latency_ms, first.bytes) == (second.value, second.latency_ms, second.bytes)


@given(candidates())
def test_without_a_budget_the_choice_is_on_the_frontier_and_nothing_beats_a_frontier(found):
    best = choose(found, SHARE).chosen
    front = frontier(found, SHARE)
    assert best in front
    for candidate in found:
        below = any(
            one.value >= candidate.value
            and cost(one.latency_ms) <= cost(candidate.latency_ms)
            and cost(one.bytes) <= cost(candidate.bytes)
            for one in front
        )
        assert below


BOTH = [Candidate("small", 0.8, 1.0, 90_000), Candidate("large", 0.9, 3.0, 2_000_000)]


def test_the_reason_names_what_the_budget_costs():
    reason = choose(BOTH, SHARE, Budget(latency_ms=2), part="validation").reason
    assert "small has the highest accuracy, 80.00 % on validation, of the 1 of 2 that fit (at most 2 ms)." in reason
    assert "large reaches 90.00 %, but takes 1 ms too long (3 ms)" in reason


def test_where_nothing_fits_the_failing_bound_is_named_and_by_how_much():
    assert "small, which is 40 KB too large (90 KB)" in choose(BOTH, SHARE, Budget(bytes=50_000)).reason
    assert "large, which reaches accuracy 90.00 %, 5 points too low" in choose(BOTH, SHARE, Budget(value=0.95)).reason
    both = choose(BOTH, SHARE, Budget(latency_ms=2, value=0.85)).reason
    assert (
        "all at once (at most 2 ms, accuracy at least 85 %): nearest is large, which takes 1 ms too long (3 ms)" in both
    )
    unknown = choose([Candidate("own", 0.9)], SHARE, Budget(latency_ms=2)).reason
    assert "its latency is not known" in unknown
    assert choose([], SHARE, Budget()).chosen is None


def test_a_value_that_is_no_number_is_never_chosen():
    lost = Candidate("lost", math.nan, 1.0)
    assert choose([lost, *BOTH], SHARE).chosen.name == "large"
    assert choose([lost, *BOTH], SHARE, Budget(latency_ms=1)).chosen != lost
    told = choose([lost], SHARE, part="validation")
    assert told.chosen is None
    assert told.reason == "Nothing to choose: no accuracy on validation is a number."


def test_the_rounding_of_means_over_seeds_decides_nothing():
    slow = Candidate("slow", Spread((0.1, 0.2)).mean, latency_ms=2.0)
    fast = Candidate("fast", Spread((0.15, 0.15)).mean, latency_ms=1.0)
    assert choose([slow, fast], SHARE).chosen == fast
    assert judge("kd", [0.1] * 3, [0.1] * 2, SHARE).verdict == "ties"
    thrice = Candidate("thrice", Spread((0.35,) * 3).mean)
    assert choose([thrice], SHARE, Budget(value=0.35)).chosen == thrice


@given(candidates(), budgets)
def test_where_less_is_better_the_choice_is_the_mirror_image(found, budget):
    error = Figure("error", "error", "lower")
    mirrored = [Candidate(one.name, -one.value, one.latency_ms, one.bytes) for one in found]
    bounds = Budget(budget.latency_ms, budget.bytes, None if budget.value is None else -budget.value)
    chosen, other = choose(found, SHARE, budget).chosen, choose(mirrored, error, bounds).chosen
    assert (chosen and chosen.name) == (other and other.name)
