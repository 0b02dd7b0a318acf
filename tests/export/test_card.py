"""The model card: the Hub can read it, it tells what is known, and a hand's changes are kept; pushing is asked for."""

import hashlib
import json
import shutil
from pathlib import Path

import huggingface_hub
import pytest
import torch
import yaml
from huggingface_hub import ModelCard, errors

import understudy
from tests.conftest import RECIPE_ALONE
from understudy.cli.card import card
from understudy.errors import UserError
from understudy.files import sealed
from understudy.models import NetworkSpec
from understudy.models import student as product
from understudy.shipping import hub
from understudy.shipping.card import files, write_card


@pytest.fixture
def run(make_run, tmp_path):
    make_run(text=RECIPE_ALONE.replace("smallnets:student", "resnet8").replace("[0]", "[0, 1]")).execute()
    return tmp_path / "run"


def test_the_hub_reads_the_card_of_a_run(run):
    result = json.loads((run / "result.json").read_text())
    card = ModelCard.load(write_card(run))
    assert card.data.library_name == "understudy"
    assert card.data.pipeline_tag == "image-classification"
    assert {"understudy", "knowledge-distillation", "alone"} <= set(card.data.tags)
    assert card.data.license is None
    (measured,) = card.data.eval_results
    kept = next(row for row in result["methods"]["alone"]["trainings"] if row["training"] == result["kept"])
    assert (measured.metric_type, measured.metric_value) == ("accuracy", kept["figures"]["accuracy"])
    assert (measured.dataset_name, measured.dataset_split, measured.task_type) == (
        "folder",
        "test",
        "image-classification",
    )
    for told in (
        "resnet8",
        f"seed {kept['seed']}",
        "over 2 seeds",
        "a, b, c",
        "understudy.load",
        "Licence",
        result["command"],
    ):
        assert told in card.content, told


def test_one_trainings_card_is_its_own(run):
    for seed in (0, 1):
        assert f"seed {seed}," in write_card(run / "trainings" / f"alone-{seed}").read_text()


def test_the_card_of_a_call_and_of_a_bare_folder(shipped, tmp_path):
    folder = shutil.copytree(shipped.folder, tmp_path / "student")
    text = write_card(folder).read_text()
    assert "standard deviation" not in text  # of one seed there is none
    assert "It was trained on a single seed" in text
    assert ModelCard.load(folder / "README.md").data.eval_results
    for name in ("student.onnx", "student.int8.onnx", "student.pt2"):
        assert f"| `{name}` |" in text
    for name in ("recipe.toml", "result.json", "proof.json"):
        (folder / name).unlink()
    assert "not known" in write_card(folder).read_text()
    assert ModelCard.load(folder / "README.md").data.eval_results is None


@pytest.mark.parametrize(
    ("task", "shelf", "told"),
    [
        (understudy.tasks.Classification(("a", "b")), "image-classification", "It chooses among 2 answers"),
        (understudy.tasks.MultiLabel(("a", "b")), None, "It knows 2 answers, and nothing else: a, b."),
        (understudy.tasks.Regression(("width", "height")), None, ""),
    ],
)
def test_a_card_tells_of_the_task(tmp_path, task, shelf, told):
    network = understudy.models.build("resnet8", classes=2, channels=3, size=8)
    product.save(tmp_path, network, product.describe(network, network.built_as, (3, 8, 8), task))
    card = ModelCard.load(write_card(tmp_path))
    assert card.data.pipeline_tag == shelf
    assert told in card.content
    assert told or "answers" not in card.content


@pytest.mark.parametrize(
    ("task", "shape", "example", "shelf"),
    [
        (understudy.tasks.Classification(("a", "b")), (4,), torch.zeros(1, 4), "tabular-classification"),
        (understudy.tasks.Regression(("a", "b")), (4,), torch.zeros(1, 4), "tabular-regression"),
        (understudy.tasks.Classification(("a", "b")), (4,), torch.zeros(1, 4, dtype=torch.int64), None),
        (understudy.tasks.Classification(("a", "b")), (4,), {"left": torch.zeros(1, 4)}, None),
        (understudy.tasks.Classification(("a", "b")), (2, 4), torch.zeros(1, 2, 4), None),
    ],
)
def test_a_card_calls_images_only_what_takes_some(tmp_path, task, shape, example, shelf):
    spec = NetworkSpec("torch.nn:Linear", {"in_features": 4, "out_features": 2})
    network = spec.build(trusted=["torch"])
    product.save(tmp_path, network, product.describe(network, spec, shape, task, example=example))
    assert ModelCard.load(write_card(tmp_path)).data.pipeline_tag == shelf


def test_what_a_hand_wrote_is_kept(run):
    path = write_card(run)
    assert write_card(run) == path
    edited = path.read_text().replace("## Licence", "## Licence: Apache-2.0")
    for mine in (edited, "mine", ""):
        path.write_text(mine)
        with pytest.raises(UserError, match="move it away"):
            write_card(run)
        assert path.read_text() == mine


def test_a_folder_takes_a_card_that_a_hand_changed(run, tmp_path, capsys):
    write_card(run).write_text("mine")
    card(run, into=tmp_path / "shipped")
    assert (tmp_path / "shipped" / "README.md").read_text() == (run / "README.md").read_text() == "mine"
    assert (tmp_path / "shipped" / "student.safetensors").is_file()


def test_only_what_was_proved_of_these_weights_is_told_and_pushed(shipped, tmp_path):
    folder = shutil.copytree(shipped.folder, tmp_path / "student")
    proved = {"student.onnx", "student.pt2", "student.int8.onnx"}
    always = {"README.md", "student.safetensors", "student.json"}
    assert set(files(folder)) == always | proved
    (folder / "student.onnx").unlink()
    assert set(files(folder)) == always | proved - {"student.onnx"}
    weights = (folder / "student.safetensors").read_bytes()
    (folder / "student.safetensors").write_bytes(weights + b"\0")
    with pytest.raises(UserError, match=r"student\.safetensors is damaged"):
        files(folder)
    description = json.loads((folder / "student.json").read_text())
    description["sha256"] = hashlib.sha256(weights + b"\0").hexdigest()
    (folder / "student.json").write_text(json.dumps(sealed(description)))
    assert set(files(folder)) == always
    with pytest.raises(UserError, match=r"result\.json is not of the student beside it"):
        write_card(folder)
    (folder / "result.json").unlink()
    (folder / "proof.json").write_text("[]")
    with pytest.raises(UserError, match=r"proof\.json is damaged"):
        write_card(folder)


class Hub:
    """Stands in for ``HfApi``: remembers, or fails as it would."""

    def __init__(self, error=None):
        self.error, self.made, self.uploaded = error, [], []

    def __call__(self):
        return self

    def create_repo(self, repository, *, exist_ok):
        if self.error is not None:
            raise self.error
        self.made.append((repository, exist_ok))
        return f"https://hub/{repository}"

    def upload_folder(self, **settings):
        names = {path.name for path in Path(settings["folder_path"]).iterdir()}
        self.uploaded.append({**settings, "names": names})


def test_a_push_uploads_the_student_and_nothing_else(run, monkeypatch):
    api = Hub()
    monkeypatch.setattr(huggingface_hub, "HfApi", api)
    write_card(run)
    assert hub.push(run, "anna/small", files(run)) == "https://hub/anna/small"
    assert api.made == [("anna/small", True)]
    (upload,) = api.uploaded
    assert upload["repo_id"] == "anna/small"
    assert upload["names"] == {"README.md", "student.safetensors", "student.json"}
    assert set(upload["delete_patterns"]) == {  # what an earlier push of another student may have left
        "student.onnx", "student.int8.onnx", "student.pt2", "student.pte",
        "config.json", "model.safetensors", "preprocessor_config.json",
    }  # fmt: skip


def test_a_student_of_the_hub_is_two_files_with_digests(run, monkeypatch):
    asked = []
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda name, **settings: asked.append((name, settings)) or str(run)
    )
    understudy.load("hf:anna/small@v2")
    two = ["student.safetensors", "student.json"]
    assert asked == [("anna/small", {"revision": "v2", "allow_patterns": two})]
    weights = run / "student.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match="damaged"):
        understudy.load("hf:anna/small")
    for wrong in ("hf:small", "hf:anna/small/x", "hf:"):
        with pytest.raises(UserError, match="write hf:USER/NAME"):
            understudy.load(wrong)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", raises)
    with pytest.raises(UserError, match="hf:anna/small cannot be fetched from the Hub: no network"):
        understudy.load("hf:anna/small")


def raises(*args, **settings):
    raise ConnectionError("no network\nmore")


def test_the_figures_are_those_of_the_hubs_own_metadata(run):
    data = ModelCard.load(write_card(run)).data
    (figure,) = data.eval_results
    kept = json.loads((run / "result.json").read_text())
    again = huggingface_hub.ModelCardData(
        library_name="understudy",
        tags=data.tags,
        pipeline_tag=data.pipeline_tag,
        model_name=run.name,
        eval_results=[figure],
    )
    assert yaml.safe_load(data.to_yaml()) == yaml.safe_load(again.to_yaml())
    rows = [row for method in kept["methods"].values() for row in method["trainings"]]
    assert figure.metric_value in [row["figures"][figure.metric_type] for row in rows]


def refused(status):
    import httpx2

    request = httpx2.Request("POST", "https://hub")
    return errors.HfHubHTTPError(f"{status} refused\nmore", response=httpx2.Response(status, request=request))


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (errors.LocalTokenNotFoundError("no"), "needs a token: hf auth login"),
        (refused(401), "needs a token"),
        (refused(403), "the Hub refused anna/small: 403 refused"),
        (ConnectionError("no network"), "cannot push to anna/small: no network"),
        (errors.OfflineModeIsEnabled("offline"), "offline"),
        (errors.HTTPError("no answer"), "no answer"),
        (errors.HFValidationError("bad name"), "bad name"),
    ],
)
def test_a_push_that_fails_is_one_line(tmp_path, monkeypatch, error, told):
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub(error))
    with pytest.raises(UserError, match=told) as caught:
        hub.push(tmp_path, "anna/small", [])
    assert "\n" not in str(caught.value)


def test_a_place_on_the_hub_is_user_and_name(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "HfApi", None)
    for place in ("small", "anna/small/1", "anna/", "an na/small"):
        with pytest.raises(UserError, match="write USER/NAME"):
            hub.push(tmp_path, place, [])
