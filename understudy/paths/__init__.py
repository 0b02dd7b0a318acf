"""Paths: the sizes of the assistants between teacher and student, and how the best path is searched.

Nothing here trains. A strategy returns the trainings that it needs next and receives their figures.
"""

from understudy.paths.answer import Answer as Answer
from understudy.paths.answer import answer as answer
from understudy.paths.budget import Budget as Budget
from understudy.paths.budget import allowed as allowed
from understudy.paths.budget import beside as beside
from understudy.paths.edges import Edge as Edge
from understudy.paths.edges import Sizes as Sizes
from understudy.paths.edges import arrows as arrows
from understudy.paths.sharing import shared as shared
from understudy.paths.strategies import STRATEGIES as STRATEGIES
from understudy.paths.strategies import BestFirst as BestFirst
from understudy.paths.strategies import Every as Every
from understudy.paths.strategies import Limited as Limited
from understudy.paths.strategies import Rule as Rule
from understudy.paths.strategies import Strategy as Strategy
from understudy.paths.strategies import strategy as strategy
from understudy.paths.strategies import with_failures as with_failures
