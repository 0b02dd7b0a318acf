"""The student without a teacher: the baseline of every method."""

from understudy.bounds import ShareBelowOne
from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.methods.method import Method
from understudy.objective.labels import CE


def alone(config: TrainConfig, *, label_smoothing: ShareBelowOne = 0.0) -> list[Stage]:
    """The labels alone, no teacher: the baseline at equal budget."""
    return [Stage("labels", CE(label_smoothing), config)]


METHOD = Method("alone", alone, family="baseline", year=1986, paper="plain training", reads_teacher=False)
