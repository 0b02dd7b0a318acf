"""Networks that learn one from the other: a method with its assistants, as nodes of a plan."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from understudy import methods
from understudy.plans import Given, Node
from understudy.proposals import PROPOSALS
from understudy.recipe import Recipe
from understudy.recipe.schema import Learning, MethodTable, NetworkTable

Teachers = Sequence[str | Given]


def chain(name: str, table: MethodTable, recipe: Recipe, seed: int, teachers: Teachers) -> list[Node]:
    """The trainings of a method on a seed: its assistants in their order, then the student."""
    nodes: list[Node] = []
    for place, assistant in enumerate(table.assistants if table.assistants != "auto" else (), start=1):
        learns = assistant.learns or as_the_student(table)
        called = f"{name}-by-{place}-{_plain(assistant.network)}-{seed}"
        nodes.append(link(called, assistant, learns, recipe, seed, guides(learns, teachers, nodes)))
    nodes.append(link(f"{name}-{seed}", recipe.student, table, recipe, seed, guides(table, teachers, nodes)))
    return nodes


def link(name: str, network: NetworkTable, learns: Learning, recipe: Recipe, seed: int, teachers: Teachers) -> Node:
    """One training of the recipe's data, arithmetic and seed."""
    return Node(
        name=name,
        network=bare(network),
        method=learns.method,
        settings=learns.settings,
        balance=learns.balance,
        course=learns.train,
        seed=seed,
        teachers=tuple(teachers),
        data=recipe.data,
        arithmetic=recipe.settings,
        accept_weak=any(teacher.accept_weak for teacher in recipe.taught_by.values()),
    )


def guides(learns: Learning, teachers: Teachers, before: Sequence[Node]) -> Teachers:
    """Whom a network learns from: the last one before it, or all of them, as its method has it."""
    method = methods.find(learns.method)
    if not method.reads_teacher:
        return ()
    names = [node.name for node in before]
    return [*teachers, *names] if method.guides == "all" else names[-1:] or teachers


def as_the_student(table: Learning) -> Learning:
    """How an assistant learns of which nothing else is said; taps that were named are the student's alone."""
    changes: Mapping[str, Any] = methods.find(table.method).of_assistants
    settings = {key: value for key, value in table.settings.items() if key not in PROPOSALS}
    return Learning(method=table.method, settings={**settings, **changes}, train=table.train, balance=table.balance)


def bare(table: NetworkTable) -> NetworkTable:
    """A network without what else a recipe says of its part."""
    return NetworkTable(network=table.network, settings=table.settings, mean=table.mean, std=table.std)


def _plain(network: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", network).strip("-")
