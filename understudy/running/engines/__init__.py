"""Engines: where trainings are carried out, and how many at once. The plan and its results are the same in all."""

from understudy.running.engines.base import Ended as Ended
from understudy.running.engines.base import Engine as Engine
from understudy.running.engines.here import Here as Here
from understudy.running.engines.processes import Processes as Processes
from understudy.running.engines.together import Together as Together
