"""The examples of files that need one of the libraries."""

import pytest

from tests.test_docstrings import test_the_examples_of_docstrings_are_true as run_examples


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["loops.lightning", "loops.transformers"])
def test_the_examples_are_true(name, tmp_path, monkeypatch) -> None:
    run_examples(f"understudy.{name}", tmp_path, monkeypatch)
