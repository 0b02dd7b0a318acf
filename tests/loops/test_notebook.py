"""The notebook runs in a kernel of its own, as a person would run it, on a small part of the images."""

import nbformat
import pytest
from nbclient import NotebookClient

from tests.docs.pages import ROOT

SMALL = f"""
import sys; sys.path.insert(0, {str(ROOT)!r})
from tests.docs.test_docs import small
from understudy import data as datasets
from understudy.training import preflight
whole, check = datasets.load, preflight.check_teacher
datasets.load = lambda *args, **settings: small(whole(*args, **settings))
preflight.check_teacher = lambda *args, **also: check(*args, **also | {{"accept_weak": True}})
"""


@pytest.mark.filterwarnings("ignore")
def test_the_notebook_runs_in_a_kernel(tmp_path) -> None:
    notebook = nbformat.read(ROOT / "examples" / "first_student.ipynb", as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(SMALL))
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    assert "epoch 3" in shown  # progress is lines in a notebook, without being asked for
    assert "student, kd" in shown
