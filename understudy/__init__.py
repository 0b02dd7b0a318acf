"""Understudy: train a small, thin, fast network to stand in for a large one, and prove how well it does.

Four levels, each usable without those above it: ``losses`` (pure functions), terms and ``Objective`` (in your own
loop), ``distill`` (any teacher, any student, one call), and recipes on the command line.
"""

__version__ = "0.1.0"

from typing import TYPE_CHECKING

from understudy import data as data
from understudy import losses as losses
from understudy import methods as methods
from understudy import models as models
from understudy import tasks as tasks
from understudy import terms as terms
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
from understudy.taps import Pair as Pair
from understudy.taps import Tap as Tap
from understudy.taps import TappedNetwork as TappedNetwork
from understudy.training.callbacks import Callback as Callback
from understudy.training.callbacks import PrintEpochs as PrintEpochs

if TYPE_CHECKING:
    from understudy.runs.distill import Distilled as Distilled
    from understudy.runs.distill import distill as distill


def __getattr__(name: str) -> object:
    """``distill`` is imported when it is first used: recipes and plans take longer to import than all the rest."""
    if name in ("distill", "Distilled"):
        from understudy.runs import distill as module

        return getattr(module, name)
    raise AttributeError(f"module 'understudy' has no attribute {name!r}")
