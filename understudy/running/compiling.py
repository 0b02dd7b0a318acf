"""From a recipe to the nodes of a plan: teachers and students, seed by seed."""

from collections.abc import Sequence

from understudy import methods
from understudy.plans import Given, Node, Plan
from understudy.recipe import Recipe
from understudy.recipe.schema import MethodTable, NetworkTable, TeacherTable

TEACHER = "teacher"
Teachers = Sequence[str | Given]


def compiled(recipe: Recipe) -> Plan:
    """The trainings of a recipe, the teachers first where they are to be trained."""
    plan = Plan()
    for seed in recipe.seeds:
        for name, teacher in recipe.taught_by.items():
            if teacher.train is not None and seed == seed_of(teacher, recipe, seed):
                plan.add(teacher_node(name, teacher, recipe, seed))
        for name in recipe.methods:
            if seed in recipe.seeds_of(name):
                plan.add(student_node(name, recipe, seed))
    return plan


def teacher_node(name: str, table: TeacherTable, recipe: Recipe, seed: int) -> Node:
    """A teacher that is trained first, on all of the data."""
    assert table.train is not None
    return Node(
        name=f"{name}-{seed}",
        network=bare(table),
        course=table.train,
        seed=seed,
        role="teacher",
        data=recipe.data.model_copy(update={"student_samples": None}),
        arithmetic=recipe.settings,
    )


def student_node(name: str, recipe: Recipe, seed: int) -> Node:
    """The student by a method of the recipe, on one seed."""
    table = recipe.methods[name]
    reads = methods.find(table.method).reads_teacher
    return link(f"{name}-{seed}", recipe.student, table, recipe, seed, teachers_of(recipe, seed) if reads else ())


def teachers_of(recipe: Recipe, seed: int) -> list[str | Given]:
    """The recipe's teachers for a seed: their trainings, or the files of their weights."""
    return [
        training_of(name, table, recipe, seed)
        if table.weights is None
        else Given(**dict(bare(table)), weights=table.weights, prefix=table.prefix)
        for name, table in recipe.taught_by.items()
    ]


def training_of(name: str, table: TeacherTable, recipe: Recipe, seed: int) -> str:
    return f"{name}-{seed_of(table, recipe, seed)}"


def seed_of(table: TeacherTable, recipe: Recipe, seed: int) -> int:
    """The seed of the teacher from whom the students of a seed learn."""
    return recipe.seeds[0] if table.one_for_all else seed


def link(name: str, network: NetworkTable, learns: MethodTable, recipe: Recipe, seed: int, teachers: Teachers) -> Node:
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
        stored=recipe.stored,
        accept_weak=any(teacher.accept_weak for teacher in recipe.taught_by.values()),
    )


def bare(table: NetworkTable) -> NetworkTable:
    """A network without what else a recipe says of its part."""
    return NetworkTable(network=table.network, settings=table.settings, mean=table.mean, std=table.std)
