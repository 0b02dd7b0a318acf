"""Data: named data sets and data of the user, their three parts, and augmentation of whole batches.

Order and augmentation are functions of (seed, epoch, sample id): equal on every machine, for any number of workers.
"""

from understudy.data.augmentation import Augmentation, Crop
from understudy.data.catalogue import as_data, load, names
from understudy.data.clouds import clouds
from understudy.data.colour import Blur, Erase, Jitter
from understudy.data.dataset import Access, Contents, DataSet
from understudy.data.numbered import Stream
from understudy.data.own import from_datasets, from_inputs, from_tensors
from understudy.data.parts import Batch, Data, Part
from understudy.data.policies import RandAugment, TrivialAugment
from understudy.data.token_noise import TokenNoise
from understudy.data.triples import from_triples
from understudy.data.turns import Turn

__all__ = [
    "Access",
    "Augmentation",
    "Batch",
    "Blur",
    "Contents",
    "Crop",
    "Data",
    "DataSet",
    "Erase",
    "Jitter",
    "Part",
    "RandAugment",
    "Stream",
    "TokenNoise",
    "TrivialAugment",
    "Turn",
    "as_data",
    "clouds",
    "from_datasets",
    "from_inputs",
    "from_tensors",
    "from_triples",
    "load",
    "names",
]
