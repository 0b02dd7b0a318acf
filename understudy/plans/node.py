"""A node of a plan: one training as plain data, which any process on any machine can run."""

import json
from collections.abc import Mapping
from typing import Literal

from pydantic import Field, field_validator

from understudy.answers import StoredAnswers
from understudy.bounds import Epochs, Seed
from understudy.config.settings import Settings
from understudy.config.train import TrainConfig
from understudy.models.from_teacher import FromTeacher
from understudy.recipe.schema import DataTable, MethodName, NetworkTable, Table


class Given(NetworkTable):
    """A teacher that is not trained here. Its weights are in a file, or come from its library."""

    @property
    def source(self) -> str:
        """Where its weights come from."""
        return self.weights or f"{self.network}, pretrained"


class Start(Table):
    """A network that starts from layers of a teacher, another node or ``Given``."""

    layers: FromTeacher
    teacher: str | Given


class Node(Table):
    """One training: a network, a method, data and teachers.

    >>> large = Node(name="large", network={"network": "plain10"}, role="teacher", data={"name": "cifar10"})
    >>> small = Node(name="small", network={"network": "plain2"}, method="kd", teachers=["large"], data=large.data)

    A teacher is the name of another node, or ``Given``. There may be several; their order may matter to a method.
    """

    name: str = Field(pattern=r"^[^./\\][^/\\]*$")  # also of its folder; it has no influence on the result
    network: NetworkTable
    method: MethodName = "alone"
    settings: Mapping[str, object] = Field(default_factory=dict)  # the method's settings
    balance: bool = False  # weight the terms by their gradients instead of the method's weights
    config: TrainConfig = Field(default_factory=TrainConfig)
    seed: Seed = 0
    role: Literal["student", "teacher"] = "student"  # each begins with its own fresh weights
    teachers: tuple[str | Given, ...] = ()
    ends: tuple[Epochs, ...] = ()  # the epochs after which its stages end, whatever their schedules; (): their configs'
    start: Start | None = None  # whose layers the first weights are; None: they are drawn
    data: DataTable
    arithmetic: Settings = Field(default_factory=Settings)
    answers: StoredAnswers | None = None  # whether teachers' answers are stored
    accept_weak: bool = False  # accept a teacher that was trained here and is at chance level

    @field_validator("settings", mode="after")
    @classmethod
    def _plain(cls, settings: Mapping[str, object]) -> Mapping[str, object]:
        """Convert values as JSON does, so that a node that was sent to a worker is equal to the original."""
        plain: Mapping[str, object] = json.loads(json.dumps(settings))
        return plain

    @property
    def learns_from(self) -> list[str]:
        """The nodes that must be finished first."""
        start = (self.start.teacher,) if self.start else ()
        return list(dict.fromkeys(teacher for teacher in (*self.teachers, *start) if isinstance(teacher, str)))

    def __str__(self) -> str:
        taught = ", ".join(teacher if isinstance(teacher, str) else teacher.source for teacher in self.teachers)
        return f"{self.network.network} by {self.method}" + (f" from {taught}" if taught else "")
