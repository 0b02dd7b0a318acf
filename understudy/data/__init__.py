"""Data: sets known by name or brought along, their three parts, and views drawn on whole batches.

Order and views are functions of (seed, epoch, sample id): the same on every machine, with any number of workers.
"""

from understudy.data.catalogue import as_data, load, names
from understudy.data.dataset import Access, Contents, DataSet
from understudy.data.given import from_datasets, from_tensors
from understudy.data.parts import Batch, Data, Part
from understudy.data.views import Views

__all__ = [
    "Access",
    "Batch",
    "Contents",
    "Data",
    "DataSet",
    "Part",
    "Views",
    "as_data",
    "from_datasets",
    "from_tensors",
    "load",
    "names",
]
