"""What a run's files hold, as far as the page tells it: one file for each of them."""

from understudy.report.record._part import Values
from understudy.report.record.calls import Call, CallRecipe, CallStage
from understudy.report.record.landscapes import Landscapes, Surface
from understudy.report.record.result import (
    Bin,
    Latency,
    Method,
    Network,
    PathSearch,
    Result,
    Row,
    Sample,
    Similarity,
    Verdict,
)
from understudy.report.record.search import Search
from understudy.report.record.trainings import Ended, Epoch, Trained

__all__ = [
    "Bin",
    "Call",
    "CallRecipe",
    "CallStage",
    "Ended",
    "Epoch",
    "Landscapes",
    "Latency",
    "Method",
    "Network",
    "PathSearch",
    "Result",
    "Row",
    "Sample",
    "Search",
    "Similarity",
    "Surface",
    "Trained",
    "Values",
    "Verdict",
]
