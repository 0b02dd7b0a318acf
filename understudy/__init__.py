"""Understudy: train a small, thin, fast network to stand in for a large one, and prove how well it does.

Four levels, each usable without those above it: ``losses`` (pure functions), terms and ``Objective`` (in your own
loop), ``distill`` (any teacher, any student, one call), and recipes on the command line.
"""

__version__ = "0.1.0"

from typing import TYPE_CHECKING, Any

from understudy import data as data
from understudy import losses as losses
from understudy import methods as methods
from understudy import models as models
from understudy import tasks as tasks
from understudy import terms as terms
from understudy.data import Views as Views
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
from understudy.settings import Settings as Settings
from understudy.stage import Stage as Stage
from understudy.stored import Stored as Stored
from understudy.taps import Pair as Pair
from understudy.taps import Tap as Tap
from understudy.taps import TappedNetwork as TappedNetwork
from understudy.training import optimizers as optimizers
from understudy.training import rates as rates
from understudy.training.course import Course as Course
from understudy.training.watch import Lines as Lines
from understudy.training.watch import Watcher as Watcher

if TYPE_CHECKING:
    from understudy.runs.distill import Distilled as Distilled
    from understudy.runs.distill import distill as distill


def __getattr__(name: str) -> Any:
    """``distill`` is imported when it is first used: recipes and plans take longer to import than all the rest."""
    if name in ("distill", "Distilled"):
        from understudy.runs import distill as module

        return getattr(module, name)
    raise AttributeError(f"module 'understudy' has no attribute {name!r}")
