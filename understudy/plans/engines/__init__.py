"""Engines: where trainings run, and how many at once. Plan and results are the same with each of them."""

import importlib
import pkgutil
from functools import cache

from understudy.plans.engines.base import Ended as Ended
from understudy.plans.engines.base import Engine as Engine
from understudy.plans.engines.base import EngineEntry as EngineEntry
from understudy.plans.engines.base import MakeEngine as MakeEngine
from understudy.plans.engines.base import Request as Request
from understudy.plans.engines.here import Here as Here
from understudy.plans.engines.processes import Processes as Processes
from understudy.plans.engines.together import Together as Together
from understudy.plugins import ENGINES, Registry, of_type


@cache
def engines() -> Registry[EngineEntry]:
    """The engines by their names: every module of this package with an ``ENGINE``, and those of other packages.

    >>> engines().find("local").summary
    'worker processes of this machine'
    """
    modules = (importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__))
    entries = [module.ENGINE for module in modules if hasattr(module, "ENGINE")]
    return Registry("engine", ENGINES, {entry.name: entry for entry in entries}, of_type(EngineEntry))
