"""The data, networks and records of a run."""

from collections.abc import Sequence

from torch import nn

from understudy.config.settings import Settings
from understudy.config.stage import Stage
from understudy.data import Data
from understudy.plans import Given, Plan
from understudy.plans.execution import Execution
from understudy.plans.group import Group
from understudy.plans.stages import stages_of
from understudy.plans.training import Measurement
from understudy.recipe import Recipe
from understudy.recipe.build import Builder
from understudy.runs.compile import student_node, training_of
from understudy.runs.folder import RunFolder
from understudy.training.callbacks import Callback
from understudy.training.evaluate import Measured, measured
from understudy.training.records import TrainingRecord


class RunNetworks:
    """Data, networks and records of a recipe's trainings; `Run` carries the trainings out.

    Attributes:
        recipe: the recipe, with the choices made so far.
        plan: the trainings of the recipe.
        group: the processes that measure together, if there are several.
        onnx: whether latencies are measured by ONNX Runtime, too.
    """

    recipe: Recipe
    folder: RunFolder
    builder: Builder
    plan: Plan
    execution: Execution
    callback: Callback
    onnx: bool
    group: Group | None = None

    @property
    def measuring(self) -> float:
        """Seconds for each measurement of latencies."""
        return 1.0

    @property
    def student_data(self) -> Data:
        """The data of the students, as far as they have labels."""
        return self.builder.seen(self.recipe.data.with_labels)

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

    def measured(
        self, network: nn.Module | Sequence[nn.Module], trainings: Sequence[str | Given], settings: Settings
    ) -> Measured:
        """One or several networks as one on the part that is measured, by all processes that there are.

        ``trainings`` are where the other processes find these networks.
        """
        _, part = self.builder.data.measured
        task = self.builder.data.task

        def measure() -> Measured:
            with settings.in_force():
                return measured(network, part, task, settings)

        if self.group is None:
            return measure()
        networks = [self.execution.as_teacher(one) if isinstance(one, str) else one for one in trainings]
        return self.group.measured(
            Measurement(networks=tuple(networks), data=self.recipe.data, settings=settings), measure
        )

    def stages(self, name: str, student: nn.Module, teachers: list[nn.Module]) -> list[Stage]:
        """The stages of a method between these networks."""
        return stages_of(student_node(name, self.recipe, self.recipe.seeds[0]), student, teachers, self.builder.data)
