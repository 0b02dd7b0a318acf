"""The recipe of a command line with ``--teacher A --student B --data C``."""

from collections.abc import Mapping
from pathlib import Path

import tomli_w

from understudy.errors import UserError, did_you_mean

NORMALISATION = ("mean", "std", "size", "interpolation")  # what a network's table says as its description does
SOURCE = "the command line"  # the file name in messages about such a recipe
OPTIONS: Mapping[tuple[str, ...], str] = {
    ("teacher",): "--teacher",
    ("student",): "--student",
    ("data", "unlabelled"): "--unlabelled",
    ("data",): "--data",
    ("methods",): "--method",
}


def unwritten(
    teacher: str | None, student: str | None, data: str | None, method: str | None, unlabelled: str | None = None
) -> str:
    """The recipe as text. It trains the student by one method, and alone if the data have labels, for a verdict.

    Args:
        teacher: a network by name, which is trained first, or the folder of a run or student.
        student: a network by name.
        data: a folder of images, a file with arrays or another that is read as data, or a data set by name.
        method: by default ``kd``; ``alone`` needs no teacher.
        unlabelled: a folder of further training images, without labels.
    """
    method = method or "kd"
    missing = [
        option
        for option, value in (("--teacher", teacher or method == "alone"), ("--student", student), ("--data", data))
        if not value
    ]
    if missing:
        raise UserError(f"without a recipe, name teacher, student and data: {' and '.join(missing)} is missing")
    assert student is not None
    assert data is not None
    table = _data(data)
    methods = [method] if _has_no_labels(table) else dict.fromkeys(("alone", method))
    if unlabelled is not None:
        table["unlabelled"] = unlabelled
    return tomli_w.dumps(
        {
            "title": f"{student} learns from {teacher}" if teacher and method != "alone" else f"{student} alone",
            "data": table,
            **({"teacher": _teacher(teacher)} if teacher and method != "alone" else {}),
            "student": {"network": student},
            "methods": {name: {} for name in methods},
        }
    )


def _has_no_labels(table: Mapping[str, str]) -> bool:
    """Whether data at a path hold no labels, such as images that lie in no folder of a class."""
    from understudy import data as datasets
    from understudy.data.sets.folder import has_classes

    if "root" not in table:
        return False
    root = Path(table["root"]).expanduser()
    if table["name"] == "folder":
        return not has_classes(root)
    try:
        return not datasets.load(table["name"], root, validation=0).task.labelled
    except UserError:  # the run says what is missing
        return False


def _data(data: str) -> dict[str, str]:
    """The table of data at a path, of a data set by its name, or of MODULE:FUNCTION."""
    from understudy.data.catalogue import at_path
    from understudy.data.sets import DATASETS

    if (found := at_path(data)) is not None:
        return {"name": found, "root": data}
    if data not in DATASETS and ":" not in data:
        near = did_you_mean(data, DATASETS.names())
        raise UserError(f"--data {data}: there is no folder, no file and no data set of that name{near}")
    return {"name": data}


def _teacher(name: str) -> Mapping[str, object]:
    """The table of a teacher. A student from a folder keeps its weights and its normalisation."""
    from understudy.models import student as product

    folder = Path(name).expanduser()
    if not folder.is_dir():
        return {"network": name, "train": {}, "one_for_all": True}
    described = product.read(folder)
    front = described.front or {}
    if described.graft is not None or front.get("front", "normalized") != "normalized":
        raise UserError(f"--teacher {name}: it has more than a network and its normalisation: write a recipe")
    normalisation: dict[str, object] = {key: front[key] for key in NORMALISATION if key in front}
    settings = described.network.settings if described.network else {}
    weights = str(folder / product.WEIGHTS)
    return {"network": described.path, "settings": settings, "weights": weights, **normalisation}
