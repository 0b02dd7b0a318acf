"""Data: sets known by name or brought along, their three parts, and views drawn on whole batches.

Order and views are functions of (seed, epoch, sample id): the same on every machine, with any number of workers.
"""

from understudy.data.augmentation import Augmentation
from understudy.data.catalogue import as_data, load, names
from understudy.data.dataset import Access, Contents, DataSet
from understudy.data.own import from_datasets, from_tensors
from understudy.data.parts import Batch, Data, Part
from understudy.data.triples import from_triples

__all__ = [
    "Access",
    "Augmentation",
    "Batch",
    "Contents",
    "Data",
    "DataSet",
    "Part",
    "as_data",
    "from_datasets",
    "from_tensors",
    "from_triples",
    "load",
    "names",
]
