"""Data: named data sets and data of the user, their three parts, and augmentation of whole batches.

Order and augmentation are functions of (seed, epoch, sample id): equal on every machine, for any number of workers.
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
