"""The folders of a plan's trainings."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

TRAININGS = "trainings"


@dataclass(frozen=True)
class TrainingFolders:
    """The folders of a plan's trainings, below one path.

    >>> TrainingFolders(Path("runs/mine")).training("kd-0").as_posix()
    'runs/mine/trainings/kd-0'

    Args:
        borrowed: the folders of trainings elsewhere, by name.
    """

    path: Path
    borrowed: Mapping[str, Path] = field(default_factory=dict)

    def training(self, name: str) -> Path:
        """The folder of one training: its metrics, its result, its student."""
        return self.borrowed.get(name) or self.path / TRAININGS / name

    def checkpoints(self, name: str) -> Path:
        """The folder of the checkpoints of a training that is under way."""
        return self.path / "checkpoints" / name
