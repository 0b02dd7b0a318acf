"""The named data sets: one file each, and those of other packages.

Adding one is adding a file with a ``DataSet`` at its top level.
"""

from typing import Any

from understudy import plugins
from understudy.data.dataset import DataSet

DATASETS: plugins.Registry[DataSet[Any]] = plugins.Registry(
    "data set", plugins.DATASETS, plugins.defined_in(__name__, DataSet), plugins.of_type(DataSet)
)
