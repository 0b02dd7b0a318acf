"""Published methods as functions from a config to stages: one file each, found by its name."""

from understudy.methods.method import Method as Method
from understudy.methods.method import one_stage as one_stage
from understudy.methods.registry import METHODS as METHODS
from understudy.methods.registry import find as find
from understudy.methods.registry import fitting as fitting
