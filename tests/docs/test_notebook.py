"""The notebook runs from its first cell to its last, on a small part of the demo's images."""

import json

import pytest

from tests.docs.pages import ROOT
from tests.docs.test_docs import _small  # noqa: F401 - a fixture

NOTEBOOK = ROOT / "examples" / "first_student.ipynb"


@pytest.mark.usefixtures("_small")
@pytest.mark.filterwarnings("ignore:.*stored answers:UserWarning")
def test_the_notebook_runs(capsys) -> None:
    namespace: dict[str, object] = {"__name__": "__main__"}
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    for cell in cells:
        assert not cell.get("outputs")
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), str(NOTEBOOK), "exec"), namespace)
    assert "student, kd" in capsys.readouterr().out
