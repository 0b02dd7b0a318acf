"""A node of a plan: one training as plain data, so that any process on any machine can carry it out."""

import json
from collections.abc import Mapping
from typing import Literal

from pydantic import Field, field_validator

from understudy.answers import StoredAnswers
from understudy.bounds import Seed
from understudy.config.settings import Settings
from understudy.config.train import TrainConfig
from understudy.recipe.schema import DataTable, MethodName, NetworkTable, Table


class Given(NetworkTable):
    """A teacher that nobody trains here: its weights lie in a file, or come from its library."""

    @property
    def source(self) -> str:
        """Where its weights come from."""
        return self.weights or f"{self.network}, pretrained"


class Node(Table):
    """One training: which network, by which method, on which data, taught by whom.

    >>> large = Node(name="large", network={"network": "plain10"}, role="teacher", data={"name": "cifar10"})
    >>> small = Node(name="small", network={"network": "plain2"}, method="kd", teachers=["large"], data=large.data)

    A teacher is another node's name, or ``Given``; there may be any number of them, in an order that methods may heed.
    """

    name: str = Field(pattern=r"^[^./\\][^/\\]*$")  # of its folder, too; what it is called changes no result
    network: NetworkTable
    method: MethodName = "alone"
    settings: Mapping[str, object] = Field(default_factory=dict)  # the method's own
    balance: bool = False  # weigh the terms by their gradients, not by the method's numbers
    config: TrainConfig = Field(default_factory=TrainConfig)
    seed: Seed = 0
    role: Literal["student", "teacher"] = "student"  # each begins with fresh weights of its own
    teachers: tuple[str | Given, ...] = ()
    data: DataTable
    arithmetic: Settings = Field(default_factory=Settings)
    answers: StoredAnswers | None = None  # whether teachers' answers are kept
    accept_weak: bool = False  # learn from a teacher that was trained here and answers at chance level

    @field_validator("settings", mode="after")
    @classmethod
    def _plain(cls, settings: Mapping[str, object]) -> Mapping[str, object]:
        """As JSON gives them back, so that a node that went to a worker is equal to the one that was sent."""
        plain: Mapping[str, object] = json.loads(json.dumps(settings))
        return plain

    @property
    def learns_from(self) -> list[str]:
        """The nodes that must be done first."""
        return [teacher for teacher in self.teachers if isinstance(teacher, str)]

    def __str__(self) -> str:
        taught = ", ".join(teacher if isinstance(teacher, str) else teacher.source for teacher in self.teachers)
        return f"{self.network.network} by {self.method}" + (f" from {taught}" if taught else "")
