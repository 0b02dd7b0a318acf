"""The networks of a run, by their parts in the recipe: what is checked before it, and measured after it."""

from torch import nn

from understudy.config.stage import Stage
from understudy.data import Data
from understudy.plans import Plan
from understudy.plans.execution import Execution
from understudy.plans.stages import stages_of
from understudy.recipe import Recipe
from understudy.recipe.build import Builder
from understudy.runs.compile import student_node, training_of
from understudy.runs.folder import RunFolder
from understudy.training.callbacks import Callback
from understudy.training.records import TrainingRecord


class RunNetworks:
    """Data, networks and records of a recipe's trainings; `Run` carries the trainings out.

    Attributes:
        recipe: as it is known so far.
        plan: the trainings of the recipe.
        onnx: whether latencies are measured by ONNX Runtime, too.
    """

    recipe: Recipe
    folder: RunFolder
    builder: Builder
    plan: Plan
    execution: Execution
    callback: Callback
    onnx: bool

    @property
    def measuring(self) -> float:
        """Seconds for each measurement of latencies."""
        return 1.0

    @property
    def student_data(self) -> Data:
        """What the students see of the data."""
        return self.builder.seen(self.recipe.data.student_samples)

    def student(self, seed: int) -> nn.Module:
        """A student with the fresh weights of this seed, the same for every method."""
        return self.builder.network(self.recipe.student, seed, "student")

    def trained(self, name: str) -> nn.Module:
        """The network of a training that is done."""
        return self.execution.network(name)

    def record(self, name: str) -> TrainingRecord:
        """The record of a training that is done."""
        return self.execution.done[name]

    def teachers(self, seed: int) -> dict[str, nn.Module]:
        """The teachers of a seed, trained."""
        return {
            name: self.recipe.settings.place(self.builder.teacher(table, seed))
            if table.train is None
            else self.trained(training_of(name, table, self.recipe, seed))
            for name, table in self.recipe.taught_by.items()
        }

    def stages(self, name: str, student: nn.Module, teachers: list[nn.Module]) -> list[Stage]:
        """What a method of the recipe does, between these."""
        return stages_of(student_node(name, self.recipe, self.recipe.seeds[0]), student, teachers, self.builder.data)
