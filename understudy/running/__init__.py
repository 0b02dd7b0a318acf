"""Runs: recipes carried out in a folder, and the plans that they are."""

from understudy.running.planned import carry_out as carry_out
from understudy.running.run import Run as Run
