"""Strategies against the paths of TAKD's Figure 5 (plain networks on CIFAR-100), which the paper trained all."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy import UserError
from understudy.measure import Spread
from understudy.paths import Budget, Edge, Every, Sizes, Strategy, allowed, answer, shared, strategy, with_failures
from understudy.paths.edges import trainings_of

SIZES = (10, 8, 6, 4, 2)
FIGURE_5 = {  # size of each way there, in percent
    (10,): 56.19,
    (10, 8): 56.75,
    (10, 6): 57.13,
    (10, 8, 6): 57.53,
    (10, 4): 50.94,
    (10, 8, 4): 52.59,
    (10, 6, 4): 52.84,
    (10, 8, 6, 4): 52.87,
    (10, 2): 42.56,
    (10, 8, 2): 44.28,
    (10, 6, 2): 44.57,
    (10, 4, 2): 44.92,
    (10, 8, 6, 2): 44.46,
    (10, 8, 4, 2): 44.47,
    (10, 6, 4, 2): 45.06,
    (10, 8, 6, 4, 2): 45.14,
}
ALONE = {(10,): 56.19, (8,): 54.86, (6,): 54.8, (4,): 47.39, (2,): 41.09}


def paper(edge: Edge) -> Spread:
    return Spread(((ALONE if edge.quick else FIGURE_5)[edge.path] / 100,))


def searched(
    plan: Strategy, train: Callable[[Edge], Spread] = paper, *, at_once: int = 1
) -> tuple[dict[Edge, Spread], list[Edge]]:
    """Everything that the strategy asks for, in rounds of so many trainings."""
    known: dict[Edge, Spread] = {}
    while wanted := plan.wanted(known):
        for edge in wanted[:at_once]:
            assert edge not in known
            assert edge.teacher is None or edge.teacher in known
            known[edge] = train(edge)
    return known, [edge for edge in known if edge != plan.sizes.teacher]


@pytest.mark.parametrize(
    ("name", "assistants", "best", "percent", "trainings"),
    [
        ("every", None, SIZES, 45.14, 15),
        ("best-first", None, SIZES, 45.14, 10),
        ("limited", 0, (10, 2), 42.56, 1),
        ("limited", 1, (10, 4, 2), 44.92, 7),
        ("limited", 2, (10, 6, 4, 2), 45.06, 12),
        ("limited", 3, SIZES, 45.14, 14),
        ("rule", None, (10, 4, 2), 44.92, 7),
    ],
)
def test_what_each_strategy_finds_in_the_papers_figure(name, assistants, best, percent, trainings):
    plan = strategy(name, SIZES, assistants)
    known, trained = searched(plan)
    found = answer(plan, known)
    assert found.best == best
    assert known[Edge(best)].mean == percent / 100
    assert len(trained) == trainings <= plan.most


def test_shared_beginnings_are_trained_once():
    eight = Sizes.of(SIZES).paths()
    assert len(eight) == 8
    assert sum(len(path) - 1 for path in eight) == 20
    assert len(trainings_of(eight)) == 15 + 1


@pytest.mark.parametrize(
    ("name", "assistants", "told"),
    [
        ("every", None, "15 student trainings and the teacher; 8 separate paths would need 20 and 8."),
        ("best-first", None, "10 student trainings and the teacher; 8 separate paths would need 20 and 8."),
        ("limited", 0, None),
        ("limited", 1, "7 student trainings and the teacher; 4 separate paths would need 7 and 4."),
        ("limited", 2, "12 student trainings and the teacher; 7 separate paths would need 16 and 7."),
    ],
)
def test_what_sharing_saves_is_counted(name, assistants, told):
    plan = strategy(name, SIZES, assistants)
    known, _ = searched(plan)
    assert shared(plan, known, seeds=1, teachers=1) == ([told] if told else [])
    assert shared(plan, known, seeds=3, teachers=3) == ([f"Each seed: {told}"] if told else [])


def test_a_teacher_that_is_shared_or_given_and_what_is_on_no_path_are_counted_apart():
    plan = Every(Sizes.of((10, 4, 2)))
    known, _ = searched(plan)
    alone = {**known, **dict.fromkeys([Edge((4,)), Edge((2,))])}
    assert shared(plan, alone, seeds=2, teachers=1) == [
        "Each seed: 3 student trainings, and one teacher for all; 2 separate paths would need 3 and 2.",
        "Beside them: 2 trainings alone.",
    ]
    assert shared(plan, known, seeds=1, teachers=0) == ["3 student trainings; 2 separate paths would need 3."]
    rule = strategy("rule", SIZES)
    assert shared(rule, searched(rule)[0], seeds=1, teachers=1) == [
        "2 student trainings and the teacher; 8 separate paths would need 20 and 8.",
        "Beside them: 5 quick trainings.",
    ]


def test_best_first_misses_a_path_where_the_better_assistant_teaches_worse_and_says_so():
    plan = strategy("best-first", (10, 8, 6, 2))
    known, _ = searched(plan)
    found = answer(plan, known)
    assert (found.best, known[Edge(found.best)].mean) == ((10, 8, 6, 2), 0.4446)  # 10 -> 6 -> 2 has 44.57
    assert "Searched: 3 of 4 paths." in found.sentences
    assert "may be better" in found.sentences[-1]
    every = Every(plan.sizes)
    known, _ = searched(every)
    assert answer(every, known).best == (10, 6, 2)


def test_a_better_assistant_that_teaches_a_worse_student_is_told():
    plan = strategy("every", SIZES)
    known, _ = searched(plan)
    found = answer(plan, known)
    assert any(
        "(57.53 and 57.13 %), and teaches a worse 2 (44.46 and 44.57 %)" in u.sentence(known) for u in found.upsets
    )
    for upset in found.upsets:
        assert known[upset.better].mean > known[upset.worse].mean
        assert known[upset.better.to(upset.student)].mean < known[upset.worse.to(upset.student)].mean
    assert "not always part of the best way" in found.sentences[-1]


@pytest.mark.parametrize(("sway", "sure"), [(0.0001, "yes"), (0.01, "no")])
def test_a_lead_counts_only_when_it_is_larger_than_the_spread(sway, sure):
    plan = strategy("every", SIZES)
    known, _ = searched(plan, lambda edge: Spread(tuple(paper(edge).mean + s * sway for s in (-1, 0, 1))))
    found = answer(plan, known)
    assert found.sure == sure
    assert ("a tie" in found.sentences[1]) == (sure == "no")


def test_one_seed_is_never_sure():
    plan = strategy("every", SIZES)
    assert answer(plan, searched(plan)[0]).sure == "unknown"


ACCURACIES = st.lists(st.floats(0.1, 0.9), min_size=32, max_size=32)


@given(values=ACCURACIES, name=st.sampled_from(["every", "best-first", "limited", "rule"]), at_once=st.integers(1, 4))
def test_any_search_ends_within_its_bound_and_asks_for_the_same_whatever_runs_at_once(values, name, at_once):
    plan = strategy(name, SIZES, 2 if name == "limited" else None)

    def train(edge: Edge) -> Spread:
        place = sum(1 << SIZES.index(size) for size in edge.path[1:]) + 16 * (len(edge.path) == 1)
        return Spread((values[place],))

    known, trained = searched(plan, train, at_once=at_once)
    one_by_one, _ = searched(plan, train)
    assert known == one_by_one
    assert len(trained) <= plan.most
    assert set(plan.asked(known)) == set(known)
    found = answer(plan, known)
    assert found.best is not None
    assert all(known[Edge(found.best)].mean >= known[Edge(path)].mean for path in found.ranked)
    if name == "limited":
        assert max(map(len, found.ranked)) <= 4
    if name == "every":
        assert found.searched == found.paths == 8


def test_a_search_that_is_stopped_early_has_an_answer_and_says_what_is_left():
    plan = strategy("every", SIZES)
    known: dict[Edge, Spread] = {}
    for _ in range(4):
        edge = plan.wanted(known)[0]
        known[edge] = paper(edge)
    found = answer(plan, known, plan.wanted(known))
    assert found.best is not None
    assert found.left
    assert any("the budget ended before 10 → " in sentence for sentence in found.sentences)


@given(
    values=ACCURACIES,
    name=st.sampled_from(["every", "best-first", "limited"]),
    order=st.randoms(),
    most=st.integers(1, 40),
)
def test_what_fits_a_budget_does_not_depend_on_what_ended_first(values, name, order, most):
    plan = strategy(name, SIZES, 2 if name == "limited" else None)

    def ends(one_by_one: bool) -> tuple[list[Edge], list[Edge]]:
        known: dict[Edge, Spread] = {}
        while True:
            asked, left = allowed(plan, known, most, lambda edge: 2)
            waiting = [edge for edge in asked if edge not in known]
            if not waiting:
                return asked, left
            for edge in [order.choice(waiting)] if one_by_one else waiting:
                assert edge.teacher is None or edge.teacher in known
                known[edge] = Spread((values[hash(edge.path) % 32],))

    asked, left = ends(one_by_one=True)
    assert (asked, left) == ends(one_by_one=False)
    assert 2 * len(asked) <= most
    assert left or set(asked) == set(searched(plan, lambda edge: Spread((values[hash(edge.path) % 32],)))[0])


@given(
    values=ACCURACIES,
    name=st.sampled_from(["every", "best-first", "limited", "rule"]),
    broken=st.sets(st.sampled_from([Edge(path) for path in FIGURE_5 if len(path) > 1]), max_size=4),
)
def test_a_search_goes_on_without_what_failed_and_what_would_learn_from_it(values, name, broken):
    plan = strategy(name, SIZES, 2 if name == "limited" else None)
    known: dict[Edge, Spread] = {}
    failed: dict[Edge, str] = {}
    while wanted := plan.wanted(with_failures(plan, known, failed)):
        edge = wanted[0]
        assert edge.teacher is None or edge.teacher in known
        if edge in broken:
            failed[edge] = "it came to nothing"
        else:
            known[edge] = Spread((values[hash(edge.path) % 32],))
    found = answer(plan, known, [], failed)
    assert not any(Edge(path) in broken or Edge(path).passes(broken) for path in found.ranked)
    if name == "every":
        assert failed.keys() == {edge for edge in broken if not edge.passes(broken)}
    if name in ("best-first", "limited") and Edge((10, 2)) not in broken:
        assert found.best is not None
    assert any("came to nothing" in sentence for sentence in found.sentences) == bool(failed)


def test_the_rule_of_thumb_takes_no_assistant_whose_trial_failed_and_none_where_it_has_nothing_to_go_by():
    plan = strategy("rule", SIZES)
    tried = {edge: paper(edge) for edge in plan.trials}
    assert plan.chosen(tried) == 4
    assert plan.chosen(with_failures(plan, tried, [Edge((4,), quick=True)])) == 6
    assert plan.chosen(with_failures(plan, tried, [Edge((2,), quick=True)])) is None


def test_budgets_are_trainings_or_time():
    assert Budget.parse("20") == Budget(trainings=20)
    assert Budget.parse("3h") == Budget(seconds=3 * 3600)
    assert Budget.parse("1.5 h") == Budget(seconds=5400)
    assert Budget.parse("45m") == Budget(seconds=45 * 60)
    for wrong in ("", "0", "2.5", "three", "3 days"):
        with pytest.raises(UserError, match="--budget"):
            Budget.parse(wrong)


def test_mistakes_are_one_clear_line():
    for make, words in [
        (lambda: strategy("evry", SIZES), "no strategy 'evry'; did you mean 'every'"),
        (lambda: strategy("every", (10,)), "two sizes at least"),
        (lambda: strategy("every", (10, 4, 4, 2)), "each size once"),
        (lambda: strategy("rule", (10, 2)), "name sizes between"),
        (lambda: strategy("every", SIZES, 2), "strategy 'limited', not 'every'"),
        (lambda: strategy("limited", SIZES, -1), "negative"),
    ]:
        with pytest.raises(UserError, match=words):
            make()
