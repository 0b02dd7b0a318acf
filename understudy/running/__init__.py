"""Runs: recipes carried out in a folder, and the plans that they are."""

from understudy.running.run import Run as Run
