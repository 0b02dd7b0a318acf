"""The student to choose: feasible, the best of those that are, and a reason that tells the truth."""

from hypothesis import given
from hypothesis import strategies as st

from understudy.measure import Budget, Candidate, choose, frontier

ACCURACIES = st.sampled_from([0.5, 0.6, 0.7, 0.8, 0.9])
COSTS = st.sampled_from([1.0, 2.0, 3.0, 4.0])
BYTES = st.sampled_from([1_000, 20_000, 3_000_000])


@st.composite
def candidates(draw, most=6):
    rows = draw(st.lists(st.tuples(ACCURACIES, st.none() | COSTS, st.none() | BYTES), min_size=1, max_size=most))
    return [Candidate(f"student {number}", *row) for number, row in enumerate(rows)]


budgets = st.builds(
    Budget, latency_ms=st.none() | COSTS, bytes=st.none() | BYTES, accuracy=st.none() | st.sampled_from([0.6, 0.95])
)


def fits(candidate, budget):
    known = {"latency_ms": candidate.latency_ms, "bytes": candidate.bytes}
    cheap = all(
        getattr(budget, key) is None or (value is not None and value <= getattr(budget, key))
        for key, value in known.items()
    )
    return cheap and (budget.accuracy is None or candidate.accuracy >= budget.accuracy)


def cost(value):
    return float("inf") if value is None else value


@given(candidates(), budgets)
def test_the_choice_is_feasible_and_nothing_feasible_is_better(found, budget):
    choice = choose(found, budget)
    feasible = [candidate for candidate in found if fits(candidate, budget)]
    assert (choice.chosen is None) == (not feasible)
    if choice.chosen is None:
        assert choice.reason.startswith("Nothing fits ")
        return
    best = choice.chosen
    assert best in feasible
    assert choice.reason.startswith(best.name)
    for other in feasible:
        assert other.accuracy <= best.accuracy
        if other.accuracy == best.accuracy:
            assert cost(other.latency_ms) >= cost(best.latency_ms)
            if other.latency_ms == best.latency_ms:
                assert cost(other.bytes) >= cost(best.bytes)


@given(candidates(), budgets, st.randoms())
def test_the_choice_does_not_depend_on_the_order(found, budget, random):
    shuffled = random.sample(found, len(found))
    first, second = choose(found, budget).chosen, choose(shuffled, budget).chosen
    assert (first is None) == (second is None)
    if first and second:
        assert (first.accuracy, first.latency_ms, first.bytes) == (second.accuracy, second.latency_ms, second.bytes)


@given(candidates())
def test_without_a_budget_the_choice_is_on_the_frontier_and_nobody_beats_a_frontier(found):
    best = choose(found).chosen
    front = frontier(found)
    assert best in front
    for candidate in found:
        below = any(
            one.accuracy >= candidate.accuracy
            and cost(one.latency_ms) <= cost(candidate.latency_ms)
            and cost(one.bytes) <= cost(candidate.bytes)
            for one in front
        )
        assert below


BOTH = [Candidate("small", 0.8, 1.0, 90_000), Candidate("large", 0.9, 3.0, 2_000_000)]


def test_the_reason_names_what_the_budget_costs():
    reason = choose(BOTH, Budget(latency_ms=2), part="validation").reason
    assert (
        "small is the most accurate, with 80.00 % on the validation part, of the 1 of 2 that fit (at most 2 ms)."
        in reason
    )
    assert "large reaches 90.00 %, but takes 1 ms too long (3 ms)" in reason


def test_where_nothing_fits_the_failing_bound_is_named_and_by_how_much():
    assert "small, which is 40 KB too large (90 KB)" in choose(BOTH, Budget(bytes=50_000)).reason
    assert "large, which lacks 5 points of accuracy (90.00 %)" in choose(BOTH, Budget(accuracy=0.95)).reason
    both = choose(BOTH, Budget(latency_ms=2, accuracy=0.85)).reason
    assert "all at once (at most 2 ms, at least 85 %): nearest is large, which takes 1 ms too long (3 ms)" in both
    unknown = choose([Candidate("own", 0.9)], Budget(latency_ms=2)).reason
    assert "its latency is not known" in unknown
    assert choose([], Budget()).chosen is None
