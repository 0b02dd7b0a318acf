"""The pre-flight check: data, networks, teachers and stages are tried before anything trains, one line per finding.

It finds mistakes that raise no error: a teacher without its weights, a loss without a gradient.
"""

from understudy.training.preflight.data import check_data
from understudy.training.preflight.findings import (
    ABOUT_ANSWERS,
    ABOUT_IMAGES,
    ABOUT_INPUTS,
    ABOUT_STORED,
    ABOUT_UNLABELLED,
    Finding,
    duration,
    passes,
)
from understudy.training.preflight.networks import check_network, misfit
from understudy.training.preflight.stage import check_budget, check_schedule, check_stage
from understudy.training.preflight.teacher import check_teacher

__all__ = [
    "ABOUT_ANSWERS",
    "ABOUT_IMAGES",
    "ABOUT_INPUTS",
    "ABOUT_STORED",
    "ABOUT_UNLABELLED",
    "Finding",
    "check_budget",
    "check_data",
    "check_network",
    "check_schedule",
    "check_stage",
    "check_teacher",
    "duration",
    "misfit",
    "passes",
]
