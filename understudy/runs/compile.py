"""From a recipe to the nodes of a plan: teachers, assistants, students, seed by seed."""

import re
from collections.abc import Collection, Sequence

from understudy import methods
from understudy.plans import Given, Node, Plan
from understudy.plans.node import Start
from understudy.recipe import Recipe
from understudy.recipe.objects import OBJECT
from understudy.recipe.schema import Learning, MethodTable, NetworkTable, TeacherTable

TEACHER = "teacher"
Teachers = Sequence[str | Given]


def compiled(recipe: Recipe, names: Collection[str] | None = None) -> Plan:
    """The trainings of a recipe (or of some of its methods), the teachers first where they are to be trained."""
    plan = Plan()
    for seed in recipe.seeds:
        for name, teacher in recipe.taught_by.items():
            if teacher.train is not None and seed == seed_of(teacher, recipe, seed):
                plan.add(teacher_node(name, teacher, recipe, seed))
        for name, method in recipe.methods.items():
            if seed in recipe.seeds_of(name) and (names is None or name in names):
                for node in chain(name, method, recipe, seed):
                    plan.add(node)
    return plan


def teacher_node(name: str, table: TeacherTable, recipe: Recipe, seed: int) -> Node:
    """A teacher that is trained first, on all of the data."""
    assert table.train is not None
    return Node(
        name=f"{name}-{seed}",
        network=bare(table),
        method="terms" if table.terms else "alone",
        settings={"terms": table.terms} if table.terms else {},
        config=table.train,
        seed=seed,
        role="teacher",
        data=recipe.data.model_copy(update={"student_samples": None, "unlabelled": None}),
        arithmetic=recipe.settings,
    )


def student_node(name: str, recipe: Recipe, seed: int) -> Node:
    """The student of a method and a seed. Its assistants may not be chosen yet."""
    return chain(name, recipe.methods[name], recipe, seed)[-1]


def chain(name: str, table: MethodTable, recipe: Recipe, seed: int) -> list[Node]:
    """The trainings of a method on a seed: its assistants in their order, then the student."""
    nodes: list[Node] = []
    teachers = teachers_of(recipe, seed)
    for place, assistant in enumerate(table.assistants if table.assistants != "auto" else (), start=1):
        learns = assistant.learns or as_the_student(table)
        called = assistant_of(name, place, assistant.network, seed)
        taught_by = guides(learns, teachers, [node.name for node in nodes])
        nodes.append(link(called, assistant, learns, recipe, seed, taught_by))
    taught_by = guides(table, teachers, [node.name for node in nodes])
    student = link(student_of(name, seed), recipe.student, table, recipe, seed, taught_by)
    begins = recipe.student.from_teacher
    start = Start(layers=begins, teacher=teachers[0]) if begins else None
    return [*nodes, student.model_copy(update={"start": start, "ends": table.ends.get(str(seed), ())})]


def student_of(method: str, seed: int) -> str:
    """The name of the training of a method's student; assistants have other names."""
    return f"{method}-{seed}"


def assistant_of(method: str, place: int, network: str, seed: int) -> str:
    """The name of the training of a method's assistant, counted from 1."""
    return f"{method}-by-{place}-{plain(network)}-{seed}"


def guides(learns: Learning, teachers: Teachers, before: Sequence[str]) -> Teachers:
    """The teachers of a network: the last of those before it, or all of them, depending on its method."""
    method = methods.find(learns.method)
    if not method.is_taught(learns.settings):
        return ()
    return [*teachers, *before] if method.guides == "all" else before[-1:] or teachers


def as_the_student(table: Learning) -> Learning:
    """How an assistant trains by default: with the student's method, settings and training configuration."""
    settings = methods.find(table.method).for_assistants(table.settings)
    return Learning(method=table.method, settings=settings, train=table.train, balance=table.balance)


def teachers_of(recipe: Recipe, seed: int) -> list[str | Given]:
    """The recipe's teachers for a seed: their trainings, or the files of their weights."""
    return [
        training_of(name, table, recipe, seed) if table.train is not None else Given(**dict(bare(table)))
        for name, table in recipe.taught_by.items()
    ]


def training_of(name: str, table: TeacherTable, recipe: Recipe, seed: int) -> str:
    return f"{name}-{seed_of(table, recipe, seed)}"


def seed_of(table: TeacherTable, recipe: Recipe, seed: int) -> int:
    """The seed of the teacher for the students of a seed."""
    return recipe.seeds[0] if table.one_for_all else seed


def link(name: str, network: NetworkTable, learns: Learning, recipe: Recipe, seed: int, teachers: Teachers) -> Node:
    """One training of the recipe's data, arithmetic and seed."""
    return Node(
        name=name,
        network=bare(network),
        method=learns.method,
        settings=learns.settings,
        balance=learns.balance,
        config=learns.train,
        seed=seed,
        teachers=tuple(teachers),
        data=recipe.data if teachers else recipe.data.with_labels,
        arithmetic=recipe.settings,
        answers=recipe.answers,
        accept_weak=any(teacher.accept_weak for teacher in recipe.taught_by.values()),
    )


def bare(table: NetworkTable) -> NetworkTable:
    """The table of a network without the further keys of its role."""
    return NetworkTable(**{name: getattr(table, name) for name in NetworkTable.model_fields})


def plain(network: str) -> str:
    """A name that can be part of a folder name."""
    return re.sub(r"[^A-Za-z0-9]+", "-", network.removeprefix(OBJECT)).strip("-")
