"""Runs: the execution of recipes in a run folder."""

from understudy.runs.from_plan import carry_out as carry_out
from understudy.runs.run import Run as Run
