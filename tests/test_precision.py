"""Apple's GPUs have no float64: wherever it is used, the tensor is on the CPU, or the one place that knows is asked."""

import re
from pathlib import Path

import torch

import understudy
from understudy.precision import exact, exact_dtype

ON_THE_CPU = {  # files whose tensors of float64 are on the CPU
    "precision.py",
    "training/tensor_file.py",  # a name of the format
    "training/preflight/teacher.py",  # places of samples
    "models/preprocessing.py",
    "data/parts.py",
    "data/own.py",
    "data/sources.py",
    "measure/similarity.py",
    "taps/taps.py",  # a docstring
    "training/averaged.py",
    "recipe/build.py",  # places of samples
    "answers/packed.py",  # what files hold
    "data/encoded.py",  # places of samples
    "data/lengths.py",  # of texts
    "data/sets/glue.py",
    "data/sets/numpy_files.py",
    "data/turns.py",  # numbers of samples
    "export/exporter.py",  # a copy on the CPU
    "tasks/average_precision.py",  # NumPy
    "tasks/centre_precision.py",  # NumPy
    "tasks/detected.py",  # NumPy
}


def test_float64_is_used_where_it_is_known_to_exist():
    package = Path(understudy.__file__).parent
    using = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if re.search(r"\.double\(\)|float64", path.read_text())
    }
    assert using == ON_THE_CPU


def test_exact_sums_take_what_the_device_has():
    assert exact_dtype(torch.device("mps")) == torch.float32
    assert exact_dtype(torch.device("cuda", 1)) == exact_dtype(torch.device("cpu")) == torch.float64
    assert exact(torch.ones(2)).dtype == torch.float64
