"""Trainings of a recipe for the pre-flight check and measurements; they are not kept."""

from collections.abc import Sequence

from torch import nn

from understudy.answers import StoredAnswers
from understudy.models import from_teacher
from understudy.plans import Given, Node
from understudy.plans.stages import stages_of
from understudy.recipe import Recipe
from understudy.recipe.build import Builder
from understudy.runs.compile import chain, compiled
from understudy.teacher.stand_in import StandIns
from understudy.training.loop import Training


class Preview:
    """The trainings of a recipe on its first seed, made from the nodes of the run and not started.

    Each has as many teachers as in the run, and of the same kind: with their weights if these are
    given, else with fresh weights. Each is made once.

    If the assistants are not chosen yet (``"auto"``), they have no nodes: the recipe's own teacher is
    used in their place.
    """

    def __init__(self, recipe: Recipe, builder: Builder, stand_ins: StandIns | None = None):
        methods = {name: table.model_copy(update={"seeds": None}) for name, table in recipe.methods.items()}
        first = {"seeds": recipe.seeds[:1], "methods": methods, "settings": recipe.settings}
        self.recipe, self.builder = recipe.model_copy(update=first), builder
        self.plan = compiled(self.recipe)
        self.stand_ins = stand_ins or StandIns()
        self._made: dict[str, nn.Module] = {}

    def chain(self, name: str) -> list[Node]:
        """The trainings of a method: its assistants in order, then the student."""
        return chain(name, self.recipe.methods[name], self.recipe, self.recipe.seeds[0])

    def student(self, name: str, stored: StoredAnswers | None = None) -> Training:
        """The training of a method's student."""
        return self.training(self.chain(name)[-1], stored)

    def training(self, node: Node, stored: StoredAnswers | None = None) -> Training:
        """A node's training, of a fresh network."""
        student = self.builder.network(node.network, node.seed, node.role)
        if node.start is not None:
            from_teacher(student, self._network(node.start.teacher), node.start.layers.layers, at=node.start.layers.at)
        teachers = self.networks(node.teachers)
        stages = stages_of(node, student, teachers, self.builder.data)
        data = self.builder.seen(node.data)
        return Training(
            student,
            teachers,
            stages,
            data,
            seed=node.seed,
            settings=node.arithmetic,
            stored=stored,
            stand_ins=self.stand_ins,
        )

    def networks(self, teachers: Sequence[str | Given]) -> list[nn.Module]:
        """The teachers of a node."""
        return [self._network(teacher) for teacher in teachers]

    def _network(self, teacher: str | Given) -> nn.Module:
        name = teacher if isinstance(teacher, str) else teacher.model_dump_json()
        if name not in self._made:
            self._made[name] = self._fresh(teacher) if isinstance(teacher, str) else self._given(teacher)
        return self._made[name]

    def _fresh(self, name: str) -> nn.Module:
        node = self.plan[name]
        return self.stand_ins.untrained(self.builder.network(node.network, node.seed, node.role))

    def _given(self, teacher: Given) -> nn.Module:
        return self.builder.given(teacher)
