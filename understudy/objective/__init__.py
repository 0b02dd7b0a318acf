"""Objectives: terms and their sum, weights, and the module that computes their loss on a student and its teachers."""

from understudy.objective.objective import Asker as Asker
from understudy.objective.objective import Objective as Objective
from understudy.objective.objective import Outcome as Outcome
from understudy.taps import evaluating as evaluating
