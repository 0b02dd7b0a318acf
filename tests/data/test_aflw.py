"""AFLW's reader, on a small database of the upstream form; the set itself is not at hand."""

import sqlite3

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from tests.data.test_boxes import RECIPES
from understudy.cli._app import app
from understudy.data import load
from understudy.errors import UserError

FACES = [((20, 10, 30, 30), 0), ((60, 40, 20, 24), 0), ((-5, -5, 25, 25), 1), ((200, 0, 9, 9), 1)]  # x, y, w, h


@pytest.fixture
def aflw(tmp_path):
    """Photographs of 100 x 80 that are dark but for their faces, two or one in each."""
    folder = tmp_path / "aflw/data"
    (folder / "flickr/0").mkdir(parents=True)
    with sqlite3.connect(folder / "aflw.sqlite") as base:
        base.execute("CREATE TABLE FaceImages (image_id, db_id, file_id, filepath, width, height)")
        base.execute("CREATE TABLE Faces (face_id INTEGER, file_id, db_id)")
        base.execute("CREATE TABLE FaceRect (face_id INTEGER, x, y, w, h, annot_type_id)")
        for number in range(24):
            pixels = np.zeros((80, 100, 3), np.uint8)
            name = f"0/image{number:05d}.png"
            base.execute("INSERT INTO FaceImages VALUES (?, 'AFLW', ?, ?, 100, 80)", (number, f"f{number}", name))
            for place, ((x, y, w, h), kind) in enumerate(FACES):
                if kind == number % 2:
                    pixels[max(0, y) : max(0, y + h), max(0, x) : max(0, x + w)] = 255
                    base.execute("INSERT INTO Faces VALUES (?, ?, 'AFLW')", (10 * number + place, f"f{number}"))
                    base.execute("INSERT INTO FaceRect VALUES (?, ?, ?, ?, ?, 1)", (10 * number + place, x, y, w, h))
            Image.fromarray(pixels).save(folder / "flickr" / name)
    base.close()
    return tmp_path


def test_aflw_is_read_in_its_upstream_form(aflw):
    data = load("aflw", aflw, validation=4)
    assert data.task.name == "binary"
    assert data.shape == (3, 16, 16)
    assert data.facts["faces"] == 36
    assert data.facts["faces outside of their images, left out"] == 12
    assert data.facts["faces without a rectangle, left out"] == 0
    count = 0
    for part in (data.train, data.validation, data.test):
        samples, faces = part.source.samples[part.ids], part.targets.flatten().bool()
        assert (samples[faces] == 255).all()
        assert (samples[~faces] == 0).all()
        count += len(faces)
    assert 36 + 30 <= count <= 72
    assert 4 <= len(data.test) <= 20
    again = load("aflw", aflw, validation=4)
    assert (again.train.source.samples == data.train.source.samples).all()
    assert not data.problems()


def test_other_patches_come_from_a_folder(aflw):
    folder = aflw / "scenes"
    folder.mkdir()
    for number in range(3):
        Image.new("RGB", (40, 30 + number), (9, 9, 9)).save(folder / f"{number}.png")
    data = load("aflw", aflw, others=str(folder), validation=0, size=8)
    samples, faces = data.train.source.samples, data.train.targets.flatten().bool()
    assert data.shape == (3, 8, 8)
    assert (samples[~faces] == 9).all()
    assert len(data.train) + len(data.test) == 72
    with pytest.raises(UserError, match="holds no images"):
        load("aflw", aflw, others=str(aflw / "nowhere"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: (root / "aflw/data/aflw.sqlite").unlink(), "holds no AFLW"),
        (lambda root: (root / "aflw/data/aflw.sqlite").write_bytes(b"no database" * 99), "not in the form of AFLW"),
        (lambda root: edit(root, "DROP TABLE FaceRect"), "no such table: FaceRect"),
        (lambda root: edit(root, "DELETE FROM FaceRect"), "names no face"),
        (lambda root: edit(root, "UPDATE FaceImages SET filepath = '../x.png'"), "is outside"),
        (lambda root: edit(root, "UPDATE FaceImages SET width = 'x'"), "not in the form of AFLW"),
        (
            lambda root: edit(root, "UPDATE FaceImages SET width = 300"),
            "has 100 x 80 pixels, .* says 300 x 80",
        ),
        (lambda root: edit(root, "UPDATE FaceImages SET height = 79"), "has 100 x 80 pixels, and the database says"),
        (lambda root: (root / "aflw/data/flickr/0/image00002.png").unlink(), "image00002.png"),
    ],
)
def test_what_is_wrong_with_aflws_files_is_told(change, message, aflw):
    change(aflw)
    with pytest.raises(UserError, match=message):
        _ = load("aflw", aflw).test


def test_faces_without_a_rectangle_are_counted(aflw):
    edit(aflw, "DELETE FROM FaceRect WHERE face_id < 2")
    assert load("aflw", aflw).facts["faces without a rectangle, left out"] == 2
    edit(aflw, "DELETE FROM FaceImages WHERE image_id = 7")
    with pytest.warns(UserWarning, match="2 faces are left out, whose images the table FaceImages does not have"):
        load("aflw", aflw)


def edit(root, words):
    with sqlite3.connect(root / "aflw/data/aflw.sqlite") as base:
        base.execute(words)
    base.close()


def test_fitnets_recipe_for_faces_takes_it(aflw):
    changes = {"data.name": "'aflw'", "data.root": f"'{aflw}'", "data.validation": 8, "seeds": "[0]", "train.batch": 8,
               "teacher.train.batch": 8}  # fmt: skip
    words = [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]
    called = CliRunner().invoke(app, ["check", str(RECIPES / "fitnets_people.toml"), *words])
    assert called.exit_code == 0, called.output + called.stderr
