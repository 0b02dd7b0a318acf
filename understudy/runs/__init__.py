"""Runs: recipes carried out in a folder, and the plans that they are."""

from understudy.runs.from_plan import carry_out as carry_out
from understudy.runs.run import Run as Run
