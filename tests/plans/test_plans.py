"""Plans: no circle, every teacher known, each node after its teachers, and nodes that travel as JSON unchanged."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.errors import UserError
from understudy.plans import Given, Node, Plan
from understudy.plans.queue import Queue

DATA = {"name": "demo"}
GIVEN = Given(network="resnet8", weights="there.pt", mean=(0.5,))


def node(name, *teachers, **more):
    return Node(name=name, network={"network": "resnet8"}, method="kd", teachers=teachers, data=DATA, **more)


@st.composite
def graphs(draw):
    """Up to eight nodes, each taught by any of those before it, shuffled."""
    count = draw(st.integers(1, 8))
    nodes = [
        node(f"n{i}", *(f"n{j}" for j in draw(st.lists(st.integers(0, i - 1), unique=True)) if i)) if i else node("n0")
        for i in range(count)
    ]
    return draw(st.permutations(nodes))


@settings(max_examples=60, deadline=None)
@given(graphs())
def test_each_node_stands_after_its_teachers_once_and_is_drawn_once(nodes):
    plan = Plan(nodes)
    names = plan.names
    assert sorted(names) == sorted(n.name for n in nodes)
    assert all(names.index(teacher) < names.index(n.name) for n in plan for teacher in n.learns_from)
    drawn = plan.drawn()
    assert len(drawn) == len(nodes)
    assert all(sum(f"{name}: " in line for line in drawn) == 1 for name in names)


@settings(max_examples=60, deadline=None)
@given(graphs(), st.randoms(), st.integers(0, 8))
def test_a_queue_gives_each_node_once_after_its_teachers_also_while_the_plan_grows(nodes, dice, later):
    whole = list(Plan(nodes))
    plan, done, taken = Plan(whole[: len(whole) - later] if later < len(whole) else []), [], []
    queue = Queue(plan, done)
    grown = False
    while True:
        while (name := queue.take(free=True)) is not None:
            assert all(teacher in done for teacher in plan[name].learns_from)
            taken.append(name)
        running = [name for name in taken if name not in done]
        if not running:
            if grown:
                break
            grown = True
            for one in whole:
                plan.add(one)
            continue
        chosen = dice.choice(running)
        done.append(chosen)
        queue.completed(chosen)
    assert sorted(taken) == sorted(one.name for one in whole)


def test_a_queue_puts_back_what_waits():
    plan = Plan([node("a"), node("b"), node("c")])
    queue = Queue(plan, ["c"])
    assert queue.take(free=True) == "a"
    queue.wait("a")
    assert queue.take(free=False) == "b"
    queue.wait_behind("b", "key")
    assert queue.take(free=False) is None
    assert queue.take(free=True) == "a"
    queue.again("a")
    queue.ended("key")
    assert [queue.take(free=False) for _ in range(3)] == ["a", "b", None]
    only = Queue(plan, (), wanted={"b"})
    assert [only.take(free=True) for _ in range(2)] == ["b", None]


@settings(max_examples=60, deadline=None)
@given(graphs())
def test_a_node_comes_back_from_json_as_it_was(nodes):
    for sent in nodes:
        assert Node.model_validate_json(sent.model_dump_json()) == sent


def test_a_node_with_everything_comes_back_as_it_was():
    sent = node("a b", "t", GIVEN, settings={"weights": (1, 2.5), "combine": "logits"}, seed=7, accept_weak=True)
    assert Node.model_validate_json(sent.model_dump_json()) == sent
    assert sent.learns_from == ["t"]
    assert str(sent) == "resnet8 by kd from t, there.pt"


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ([node("a", "b"), node("b", "c"), node("c", "a")], "goes in a circle: "),
        ([node("a", "a")], "goes in a circle: a <- a"),
        ([node("a", "teecher"), node("teacher")], "'a' learns from 'teecher'; did you mean 'teacher'?"),
        ([node("a"), node("a", seed=1)], "two different trainings called 'a'"),
    ],
)
def test_what_is_no_plan_is_told(nodes, said):
    with pytest.raises(UserError, match=said.replace("?", r"\?")):
        Plan(nodes)


def test_a_plan_grows_and_only_by_what_it_can_carry_out():
    plan = Plan([node("a")])
    plan.add(node("b", "a", GIVEN))
    plan.add(node("b", "a", GIVEN))
    assert plan.names == ["a", "b"]
    with pytest.raises(UserError, match="learns from 'c'"):
        plan.add(node("d", "c"))
    with pytest.raises(UserError, match="another training called 'b'"):
        plan.add(node("b"))


def test_a_plan_is_drawn_as_a_tree_with_what_is_said_of_each():
    plan = Plan([node("t"), node("a", "t"), node("b", "a"), node("c", "t"), node("alone")])
    assert plan.drawn({"a": "done", "alone": "to train"}) == [
        "t: resnet8 by kd",
        "├─ a: resnet8 by kd from t     done",
        "│  └─ b: resnet8 by kd from a",
        "└─ c: resnet8 by kd from t",
        "alone: resnet8 by kd           to train",
    ]


@pytest.mark.parametrize("name", ["", "../up", ".hidden", "a/b", "a\\b"])
def test_a_name_is_a_folders_name(name):
    with pytest.raises(ValueError, match="name"):
        node(name)
