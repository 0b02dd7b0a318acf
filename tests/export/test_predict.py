"""Predictions are the same from a folder and from every file, and an image that is none does not stop the others."""

import json
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import pictures
from understudy.cli import main
from understudy.errors import UserError
from understudy.export import FORMATS, export
from understudy.models import NetworkSpec, OwnTokens, build
from understudy.models import student as product
from understudy.shipping import hub
from understudy.shipping.predict import predict
from understudy.tasks import Classification, Landmarks, Text
from understudy.tasks.words import SPECIAL


@pytest.fixture
def photos(tmp_path):
    """Nine pictures of the three classes in all sizes, and their labels by name."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    images, labels = pictures(9, 7)
    named = {}
    for number, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        path = folder / ("more" if number % 2 else ".") / f"{number}.png"
        large = np.kron(image.permute(1, 2, 0).numpy(), np.ones((1 + number, 1 + number, 1), np.uint8))
        Image.fromarray(large).save(path)
        named[str(path)] = str(label)
    return folder, named


def firsts(found):
    return {prediction.image: prediction.classes[0][0] for prediction in found}


@pytest.fixture
def understudy(monkeypatch, capsys):
    """Runs a command; answers with exit code, stdout and stderr."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["understudy", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            main()
        shown = capsys.readouterr()
        assert "Traceback" not in shown.err
        return caught.value.code or 0, shown.out, shown.err

    return run


@pytest.fixture
def of_rows(tmp_path):
    """A student of four numbers, whose larger half says the class."""
    spec = NetworkSpec("torch.nn:Linear", {"in_features": 4, "out_features": 2})
    network = spec.build(trusted=["torch"])
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[1.0, 1, 0, 0], [0, 0, 1, 1]]))
        network.bias.zero_()
    product.save(tmp_path / "rows", network, product.describe(network, spec, (4,), Classification(("a", "b"))))
    return tmp_path / "rows"


@pytest.mark.parametrize("dtype", ["float32", "float64", ">f4", "int16"])
def test_the_rows_of_an_array_are_samples(of_rows, tmp_path, dtype):
    np.save(tmp_path / "x.npy", np.array([[2, 1, 0, 0], [0, 0, 2, 1], [5, 0, 0, 0]]).astype(dtype))
    found = predict(of_rows, tmp_path / "x.npy", trust=["torch"], batch=2)
    assert firsts(found) == {f"{tmp_path / 'x.npy'}[{row}]": label for row, label in enumerate("aba")}


def test_arrays_that_do_not_fit_are_told_and_the_others_are_answered(of_rows, tmp_path, understudy, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("good.npy", np.float32([[2, 1, 0, 0]]))
    np.save("wide.npy", np.zeros((3, 5), np.float32))
    np.save("words.npy", np.array(["some", "word"]))
    np.save("objects.npy", np.array([{}, None]))
    np.savez("pair.npz", x=np.zeros((1, 4)))
    shutil.copy("pair.npz", "pair.npy")
    names = "good.npy", "wide.npy", "words.npy", "objects.npy", "pair.npy", "pair.npz", "missing.npy"
    code, shown, said = understudy("predict", of_rows, *names, "--trust", "torch")
    assert code == 2
    assert shown.startswith("good.npy[0]: a ")
    for words in (
        "wide.npy is an array of shape (3, 5) and type float32, and the student takes rows of shape (4,)",
        "words.npy is an array of shape (2,) and type <U4",
        "objects.npy is no array of numbers",
        "pair.npy is no array of numbers",
        "pair.npz: the student takes no images, but arrays (.npy) with rows of shape (4,)",
        "missing.npy cannot be read: No such file or directory",
    ):
        assert words in said


def test_rows_that_are_no_numbers_have_no_answer_and_the_others_have(of_rows, tmp_path, understudy, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.float32([[2, 1, 0, 0], [0, np.nan, 0, 0], [0, 0, 1, 1]]))
    np.save("none.npy", np.zeros((0, 4), np.float32))
    code, shown, said = understudy("predict", of_rows, "x.npy", "none.npy", "--trust", "torch")
    assert code == 2
    assert [line[:10] for line in shown.splitlines()] == ["x.npy[0]: ", "x.npy[2]: "]
    assert "x.npy[1] holds NaN or infinity" in said
    assert "none.npy has no rows" in said


def test_images_in_an_array_with_other_values_than_those_of_files_are_a_warning(shipped, tmp_path):
    images = np.full((1, 8, 8, 3), 200, np.uint8)
    np.save(tmp_path / "bytes.npy", images)
    np.save(tmp_path / "floats.npy", images.astype(np.float32))
    assert len(predict(shipped.folder, tmp_path / "bytes.npy")) == 1
    with pytest.warns(UserWarning, match="values go from 200 to 200, and those of images from 0 to 1"):
        predict(shipped.folder, tmp_path / "floats.npy")


def test_rows_of_whole_numbers_stay_whole_where_the_student_learned_from_such(tmp_path):
    spec = NetworkSpec("torch.nn:EmbeddingBag", {"num_embeddings": 4, "embedding_dim": 2, "mode": "sum"})
    network, ids = spec.build(trusted=["torch"]), torch.tensor([[0, 1], [2, 3]])
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]]))
    task = Classification(("a", "b"))
    described = product.describe(network, spec, (2,), task, example=ids)
    assert described["input"] == {"shape": [2], "dtype": "int64"}
    product.save(tmp_path / "bags", network, described)
    np.save(tmp_path / "ids.npy", ids.numpy().astype("int16"))
    found = predict(tmp_path / "bags", tmp_path / "ids.npy", trust=["torch"])
    assert [one.classes[0][0] for one in found] == ["a", "b"]


def test_a_student_of_several_tensors_takes_no_files(tmp_path):
    network = NetworkSpec("torch.nn:Bilinear", {"in1_features": 4, "in2_features": 3, "out_features": 2})
    built, both = network.build(trusted=["torch"]), {"input1": torch.zeros(1, 4), "input2": torch.zeros(1, 3)}
    described = product.describe(built, network, (4,), Classification(("a", "b")), example=both)
    product.save(tmp_path / "pair", built, described)
    with pytest.raises(UserError, match=r"takes several tensors \(input1, input2\), and no files"):
        predict(tmp_path / "pair", "rows.npy", trust=["torch"])


def test_images_in_an_array_are_those_of_files(shipped, photos, tmp_path):
    _, labels = photos
    files = sorted(labels)
    small = np.stack(
        [np.asarray(Image.open(file).convert("RGB").resize((8, 8), Image.Resampling.BOX)) for file in files]
    )
    np.save(tmp_path / "images.npy", small)  # bytes, channels last
    found = predict(shipped.folder, [tmp_path / "images.npy", files[0]])
    assert [one.classes[0][0] for one in found] == [*(labels[file] for file in files), labels[files[0]]]
    with pytest.raises(UserError, match="task 'classification' have none: no --draw"):
        predict(shipped.folder, tmp_path / "images.npy", draw=tmp_path)


@pytest.mark.parametrize("name", [None, "student.onnx", "student.int8.onnx", "student.pt2"])
def test_a_folder_and_a_lone_file_tell_the_same(shipped, photos, tmp_path, name):
    folder, labels = photos
    student = shipped.folder
    if name is not None:  # nothing but the file
        (tmp_path / "alone").mkdir()
        student = shutil.copy(shipped.folder / name, tmp_path / "alone" / name)
    found = predict(student, [folder], trust=[str(student)], batch=4)
    assert firsts(found) == labels
    for prediction in found:
        shares = [share for _, share in prediction.classes]
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) == pytest.approx(1)


def test_a_file_of_the_student_before_is_told(shipped, photos, tmp_path):
    folder, labels = photos
    run = shutil.copytree(shipped.folder, tmp_path / "run")
    assert firsts(predict(run / "student.onnx", folder)) == labels
    (run / "student.safetensors").write_bytes(b"of another run")
    with pytest.warns(UserWarning, match=r"student.onnx was made of another student than .*: export it again"):
        predict(run / "student.onnx", folder)


def test_landmarks_are_in_the_pixels_of_the_file(tmp_path):
    task = Landmarks(names=("eye x", "eye y"), scales=(1.0, 1.0))
    network = build("resnet8", widths=(4, 4, 4), classes=2, size=8)
    with torch.no_grad():
        head = [layer for layer in network.modules() if isinstance(layer, torch.nn.Linear)][-1]
        head.weight.zero_()
        head.bias.copy_(torch.tensor([3.0, 4.0]))  # whatever it is shown
    product.save(tmp_path, network, product.describe(network, network.built_as, (3, 8, 8), task))
    for size, expected in (((8, 8), (3, 4)), ((32, 16), (14.5, 8.5))):  # half as large, 4 pixels cut off on the left
        Image.new("RGB", size).save(tmp_path / "face.png")
        (answer,) = predict(tmp_path, tmp_path / "face.png")
        assert answer.record["values"] == {"eye x": expected[0], "eye y": expected[1]}
        assert answer.text == f"eye x {expected[0]:g}, eye y {expected[1]:g}"


def test_files_folders_and_patterns_in_their_order(shipped, photos):
    folder, _ = photos
    words = [folder / "2.png", folder / "more", str(folder / "[04].png")]
    found = predict(shipped.folder, words, top=1)
    assert [p.image for p in found] == [
        str(folder / name)
        for name in ("2.png", "more/1.png", "more/3.png", "more/5.png", "more/7.png", "0.png", "4.png")
    ]
    assert all(len(p.classes) == 1 for p in found)


def test_a_single_file_is_taken_as_a_list_of_one(shipped, photos):
    folder, labels = photos
    path = folder / "0.png"
    assert [firsts(predict(shipped.folder, one)) for one in (path, str(path))] == [{str(path): labels[str(path)]}] * 2


def test_texts_are_texts_and_files_are_read_line_by_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    task = Text(("bad", "good"), (*SPECIAL, "fine"))
    network = OwnTokens(build("text-encoder", classes=2, channels=5, size=64, width=8, depth=1, heads=2))
    product.save(tmp_path / "student", network, product.describe(network, network.module.built_as, (64,), task))

    def answered(*texts):
        return [one.image for one in predict(tmp_path / "student", texts)]

    (tmp_path / "with.txt").write_bytes("\ufeffone\x85line\u2028only\r\n\r\nthe third\n".encode())
    (tmp_path / "empty.txt").write_text("")
    assert answered("with.txt", "good", "empty.txt") == ["one\x85line\u2028only", "", "the third", "good"]
    japanese = "\u826f\u3044" * 100  # longer than a file's name, in bytes
    assert answered(japanese, "see with.txt") == [japanese, "see with.txt"]
    assert [one.image for one in predict(tmp_path / "student", "a fine film")] == ["a fine film"]
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    for name, told in (("latin.txt", "is no text in UTF-8: byte 3"), ("wiht.txt", "no file is called wiht.txt")):
        with pytest.raises(UserError, match=told):
            answered(name)


def test_a_student_of_token_ids_alone_takes_no_texts(tmp_path):
    """It answered as if every word were unknown, whatever the text said."""
    task = Text(("bad", "good"), (*SPECIAL, "[MASK]"))
    network = build("text-encoder", classes=2, channels=9, size=64, width=8, depth=1, heads=2)
    product.save(tmp_path, network, product.describe(network, network.built_as, (64,), task))
    with pytest.raises(UserError, match="the task has no vocabulary, and every word of a text would be unknown"):
        predict(tmp_path, "a fine film")


def test_what_is_no_image_is_told_and_the_others_are_answered(shipped, photos, tmp_path, understudy):
    folder, labels = photos
    (folder / "bad.png").write_text("no picture")
    (folder / "half.png").write_bytes((folder / "8.png").read_bytes()[:200])
    (tmp_path / "empty").mkdir()
    code, out, err = understudy(
        "predict", shipped.folder / "student.onnx", folder, "nowhere.png", tmp_path / "empty", "x*.png"
    )
    assert code == 2
    assert len(out.splitlines()) == len(labels)
    assert [line.split()[1] for line in err.splitlines()] == [
        str(folder / "bad.png"), str(folder / "half.png"), "nowhere.png", str(tmp_path / "empty"), "no",
    ]  # fmt: skip
    assert all(line.startswith("understudy: ") for line in err.splitlines())
    code, out, _ = understudy("predict", shipped.folder, folder / "0.png", folder / "bad.png", "--json", "--top", 2)
    assert code == 2
    good, bad = json.loads(out)
    assert next(guess["label"] for guess in good["classes"]) == labels[good["image"]]
    assert (good["problem"], bad["classes"]) == (None, [])
    assert "is not an image" in bad["problem"]
    assert understudy("predict", shipped.folder, folder / "0.png")[0] == 0


def test_predict_names_what_is_no_student(shipped, photos, tmp_path, understudy, monkeypatch):
    folder, _ = photos
    for student, told in ((tmp_path, "holds no student"), (tmp_path / "no.onnx", "there is no student")):
        code, out, err = understudy("predict", student, folder)
        assert (code, out) == (2, "")
        assert told in err
    assert "--trust" in understudy("predict", shipped.folder / "student.pt2", folder)[2]
    described = folder / "student"
    shutil.copytree(shipped.folder, described)
    content = json.loads((described / "student.json").read_text())
    content["input"] = {"shape": [2, 8, 8], "range": [0, 1]}
    (described / "student.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="does not"):
        predict(described, [folder])


def test_export_and_card_as_commands(folder, plain_format, small, understudy, monkeypatch, tmp_path):
    from understudy import data as datasets
    from understudy.export import exporter as exporting

    plain_format()
    timed = exporting.timed

    def disturbed(networks, data, seconds):
        times = timed(networks, data, 0.0)
        return [{name: replace(latency, others=1.3) for name, latency in found.items()} for found in times]

    monkeypatch.setattr(exporting, "timed", disturbed)
    monkeypatch.setattr(datasets, "load", lambda name, root: small.data())
    words = ["export", folder, "--to", "plain", "--data", "cifar10", "--teacher", "resnet14"]
    code, out, err = understudy(*words)
    assert code == 0, err
    assert "agrees with PyTorch on 100.00 % of 30 test samples" in " ".join(out.split())
    assert "times as fast as the teacher" in " ".join(out.split())
    assert "Other programs took 1.3 cores meanwhile" in " ".join(out.split())
    assert "student.plain" in (folder / "README.md").read_text()
    code, out, _ = understudy(*words, "--json")
    assert json.loads(out)["file"] == str(folder / "student.plain")
    (folder / "README.md").write_text("mine")
    code, _, err = understudy(*words)
    assert code == 0
    assert "was changed since" in " ".join(err.split())
    assert (folder / "README.md").read_text() == "mine"
    assert understudy("card", folder)[0] == 2
    for more, told in (
        (["--tolerance", "agreement"], "write KEY=VALUE"),
        (["--tolerance", "agreement=x"], "write KEY=VALUE"),
        (["--out", tmp_path / "x.onnx"], "ends in .plain"),
    ):
        code, _, err = understudy(*words, *more)
        assert (code, told in err) == (2, True)
    assert "name the data set" in understudy("export", folder, "--to", "plain", "--root", tmp_path)[2]
    assert set(FORMATS) == {"onnx", "torch", "int8", "executorch", "plain"}


def test_a_push_takes_the_card_of_this_student(folder, plain_format, small, understudy, monkeypatch):
    plain_format()
    pushed = []
    monkeypatch.setattr(hub, "push", lambda folder, repository, files: pushed.append(files) or "https://hub")
    assert understudy("card", folder)[0] == 0
    export(folder, "plain", data=small.data(), seconds=0.0)
    code, _, err = understudy("card", folder, "--push", "anna/small")
    assert (code, err) == (0, "")
    path, (files,) = folder / "README.md", pushed
    assert "student.plain" in files
    assert "| `student.plain` |" in path.read_text()
    path.write_text(path.read_text().replace("## Licence", "## Licence: MIT"))
    assert understudy("card", folder, "--push", "anna/small")[::2] == (0, "")
    (folder / "result.json").unlink()
    other = build("resnet8", widths=(4, 4, 4), classes=3, size=8)
    product.save(folder, other, product.describe(other, other.built_as, (3, 8, 8), ("0", "1", "2")))
    code, _, err = understudy("card", folder, "--push", "anna/small")
    assert (code, len(pushed)) == (0, 3)
    assert "was written for another student" in " ".join(err.split())
    assert "## Licence: MIT" in path.read_text()


def test_at_a_terminal_trust_is_asked_for(shipped, photos, understudy, monkeypatch):
    import typer

    folder, labels = photos
    asked = []
    monkeypatch.setattr("understudy.cli._shared.at_a_terminal", lambda: True)
    for answer in (True, False):
        monkeypatch.setattr(typer, "confirm", lambda text, err, answer=answer: asked.append(text) or answer)
        code, out, _ = understudy("predict", shipped.folder / "student.pt2", folder)
        assert (code, len(out.splitlines())) == ((0, len(labels)) if answer else (2, 0))
    assert len(asked) == 2
    assert understudy("predict", shipped.folder, folder)[0] == 0
    assert len(asked) == 2
