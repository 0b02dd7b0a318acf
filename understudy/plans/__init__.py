"""Plans: trainings as plain data, their dependencies, and the cache of finished ones."""

from understudy.plans.cache import TrainingCache as TrainingCache
from understudy.plans.node import Given as Given
from understudy.plans.node import Node as Node
from understudy.plans.plan import Plan as Plan
