"""The ``>>>`` examples of the package's docstrings are true, and every public name has one.

An example sees the names of its module, ``torch`` and ``understudy``, and runs in an empty folder with seed 0.
"""

import doctest
import importlib
import inspect
import pkgutil
import types
from collections.abc import Iterator

import pytest
import torch

import understudy
from understudy.errors import OptionalPackageError

OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL
PACKAGES = ["data", "losses", "methods", "models", "optimizers", "schedules", "tasks", "terms", "trackers"]
MODULES = [
    module.name for module in pkgutil.walk_packages(understudy.__path__, "understudy.") if "__main__" not in module.name
]


def examples(module: types.ModuleType) -> Iterator[doctest.DocTest]:
    found = doctest.DocTestFinder(exclude_empty=True).find(
        module, extraglobs={"torch": torch, "understudy": understudy}
    )
    return (test for test in found if test.examples)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_docstrings_are_true(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runner = doctest.DocTestRunner(optionflags=OPTIONS, verbose=False)
    report: list[str] = []
    try:
        module = importlib.import_module(name)
    except OptionalPackageError:  # its examples run in `make test-loops`
        return
    for test in examples(module):
        torch.manual_seed(0)
        runner.run(test, out=report.append)
    assert not runner.failures, "".join(report)


def public() -> dict[str, object]:
    """The public functions and classes, by the path by which users import them."""
    names = {}
    for package in (understudy, *(getattr(understudy, name) for name in PACKAGES)):
        listed = getattr(package, "__all__", None) or [name for name in vars(package) if not name.startswith("_")]
        for name in listed:
            value = getattr(package, name)
            of_this_package = value.__module__.startswith("understudy") if hasattr(value, "__module__") else False
            if package in (understudy.optimizers, understudy.schedules):
                of_this_package = of_this_package and value.__module__ == package.__name__
            if of_this_package and (inspect.isclass(value) or inspect.isfunction(value)):
                names[f"{package.__name__}.{name}"] = value
    return names


def test_every_public_name_has_an_example():
    assert [path for path, value in public().items() if ">>>" not in (value.__doc__ or "")] == []
