"""Plans: trainings as plain data, what depends on what, and the cache of those that are done."""

from understudy.plans.cache import TrainingCache as TrainingCache
from understudy.plans.node import Given as Given
from understudy.plans.node import Node as Node
from understudy.plans.plan import Plan as Plan
