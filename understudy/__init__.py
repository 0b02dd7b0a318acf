"""Understudy: train a small, thin, fast network to stand in for a large one, and prove how well it does.

Four levels, each usable without the later ones: ``losses`` (pure functions), terms and ``Objective`` (in your own
loop), ``distill`` (any teacher, any student, one call), and recipes on the command line.

Every name is imported when it is first used, so ``import understudy`` does not import PyTorch.
"""

__version__ = "0.1.0"

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from understudy import data as data
    from understudy import losses as losses
    from understudy import methods as methods
    from understudy import models as models
    from understudy import tasks as tasks
    from understudy import terms as terms
    from understudy import trackers as trackers
    from understudy.answers import StoredAnswers as StoredAnswers
    from understudy.config import optimizers as optimizers
    from understudy.config import schedules as schedules
    from understudy.config.settings import Settings as Settings
    from understudy.config.stage import Stage as Stage
    from understudy.config.train import TrainConfig as TrainConfig
    from understudy.data import Augmentation as Augmentation
    from understudy.errors import UserError as UserError
    from understudy.models.student import load as load
    from understudy.objective import Objective as Objective
    from understudy.objective import Outcome as Outcome
    from understudy.objective.balance import balanced as balanced
    from understudy.objective.term import Reading as Reading
    from understudy.objective.term import Reads as Reads
    from understudy.objective.term import Term as Term
    from understudy.objective.weights import auto as auto
    from understudy.objective.weights import linear as linear
    from understudy.objective.weights import step as step
    from understudy.runs.distill import Distilled as Distilled
    from understudy.runs.distill import distill as distill
    from understudy.taps import Pair as Pair
    from understudy.taps import Tap as Tap
    from understudy.taps import TappedNetwork as TappedNetwork
    from understudy.training.callbacks import Callback as Callback
    from understudy.training.callbacks import PrintEpochs as PrintEpochs
else:
    from understudy.lazy import lazily

    _PLACES = {  # the same names: a module, or a name of it
        "Augmentation": "understudy.data:Augmentation",
        "Callback": "understudy.training.callbacks:Callback",
        "Distilled": "understudy.runs.distill:Distilled",
        "Objective": "understudy.objective:Objective",
        "Outcome": "understudy.objective:Outcome",
        "Pair": "understudy.taps:Pair",
        "PrintEpochs": "understudy.training.callbacks:PrintEpochs",
        "Reading": "understudy.objective.term:Reading",
        "Reads": "understudy.objective.term:Reads",
        "Settings": "understudy.config.settings:Settings",
        "Stage": "understudy.config.stage:Stage",
        "StoredAnswers": "understudy.answers:StoredAnswers",
        "Tap": "understudy.taps:Tap",
        "TappedNetwork": "understudy.taps:TappedNetwork",
        "Term": "understudy.objective.term:Term",
        "TrainConfig": "understudy.config.train:TrainConfig",
        "UserError": "understudy.errors:UserError",
        "auto": "understudy.objective.weights:auto",
        "balanced": "understudy.objective.balance:balanced",
        "data": "understudy.data",
        "distill": "understudy.runs.distill:distill",
        "linear": "understudy.objective.weights:linear",
        "load": "understudy.models.student:load",
        "losses": "understudy.losses",
        "methods": "understudy.methods",
        "models": "understudy.models",
        "optimizers": "understudy.config.optimizers",
        "schedules": "understudy.config.schedules",
        "step": "understudy.objective.weights:step",
        "tasks": "understudy.tasks",
        "terms": "understudy.terms",
        "trackers": "understudy.trackers",
    }
    __all__ = sorted(_PLACES)
    __getattr__ = lazily(__name__, _PLACES)

    def __dir__() -> list[str]:
        return sorted({*globals(), *_PLACES})
