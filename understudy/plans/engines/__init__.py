"""Engines: where trainings are carried out, and how many at once. The plan and its results are the same in all."""

from understudy.plans.engines.base import Ended as Ended
from understudy.plans.engines.base import Engine as Engine
from understudy.plans.engines.here import Here as Here
from understudy.plans.engines.processes import Processes as Processes
from understudy.plans.engines.together import Together as Together
