"""Understudy: train a small, thin, fast network to stand in for a large one, and prove how well it does.

Four levels, each usable without those above it: ``losses`` (pure functions), terms and ``Objective`` (in your own
loop), ``distill`` (any teacher, any student, one call), and recipes on the command line.
"""

__version__ = "0.1.0"

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what the names are; each is imported when it is first used
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
    from understudy.runs.distill import Distilled as Distilled
    from understudy.runs.distill import distill as distill
    from understudy.taps import Pair as Pair
    from understudy.taps import Tap as Tap
    from understudy.taps import TappedNetwork as TappedNetwork
    from understudy.training.callbacks import Callback as Callback
    from understudy.training.callbacks import PrintEpochs as PrintEpochs
else:
    _HOMES = {
        "understudy.answers": "StoredAnswers",
        "understudy.config": "optimizers schedules",
        "understudy.config.settings": "Settings",
        "understudy.config.stage": "Stage",
        "understudy.config.train": "TrainConfig",
        "understudy.data": "Augmentation",
        "understudy.errors": "UserError",
        "understudy.models.student": "load",
        "understudy.objective": "Objective Outcome",
        "understudy.objective.balance": "balanced",
        "understudy.objective.term": "Reading Reads Term",
        "understudy.objective.weights": "auto linear step",
        "understudy.runs.distill": "Distilled distill",
        "understudy.taps": "Pair Tap TappedNetwork",
        "understudy.training.callbacks": "Callback PrintEpochs",
    }
    _HOME = {name: home for home, names in _HOMES.items() for name in names.split()}
    _PACKAGES = ("data", "losses", "methods", "models", "tasks", "terms")

    def __getattr__(name: str) -> object:
        """A public name, or a package below this one, imported now: PyTorch alone takes a second."""
        from importlib import import_module, util

        if name in _HOME:
            home = import_module(_HOME[name])
            value = getattr(home, name, None)
            value = import_module(f"{home.__name__}.{name}") if value is None else value
        elif not name.startswith("__") and util.find_spec(f"{__name__}.{name}"):
            value = import_module(f"{__name__}.{name}")
        else:
            raise AttributeError(f"module 'understudy' has no attribute {name!r}")
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *_HOME, *_PACKAGES})
