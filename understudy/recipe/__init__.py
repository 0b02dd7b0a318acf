"""Recipes: runs described in TOML, checked completely before any training."""

from understudy.recipe.read import parse as parse
from understudy.recipe.read import read as read
from understudy.recipe.read import write as write
from understudy.recipe.schema import Recipe as Recipe
from understudy.recipe.search import Searched as Searched
from understudy.recipe.search import parse_searched as parse_searched
from understudy.recipe.search import read_searched as read_searched
