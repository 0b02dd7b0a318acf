"""What trainings log, in experiment trackers: one callback each, and none of them can end a training."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from understudy.trackers.mlflow import MLflow as MLflow
    from understudy.trackers.tensorboard import TensorBoard as TensorBoard
    from understudy.trackers.tracker import Tracker as Tracker
    from understudy.trackers.trackio import Trackio as Trackio
    from understudy.trackers.wandb import WandB as WandB
else:
    from understudy.lazy import lazily

    _PLACES = {
        "MLflow": "understudy.trackers.mlflow:MLflow",
        "TensorBoard": "understudy.trackers.tensorboard:TensorBoard",
        "Tracker": "understudy.trackers.tracker:Tracker",
        "Trackio": "understudy.trackers.trackio:Trackio",
        "WandB": "understudy.trackers.wandb:WandB",
    }
    __all__ = sorted(_PLACES)
    __getattr__ = lazily(__name__, _PLACES)

TrackerName = Literal["mlflow", "tensorboard", "trackio", "wandb"]
_CLASSES: Mapping[TrackerName, str] = {
    "mlflow": "MLflow",
    "tensorboard": "TensorBoard",
    "trackio": "Trackio",
    "wandb": "WandB",
}


def by_name(name: TrackerName, folder: Path) -> "Tracker":
    """The tracker that a recipe names, for the run in ``folder``.

    >>> by_name("tensorboard", Path("runs/kd")).package
    'tensorboard'
    """
    module = importlib.import_module(f"{__name__}.{name}")
    tracker: Tracker = getattr(module, _CLASSES[name])(folder)
    return tracker
