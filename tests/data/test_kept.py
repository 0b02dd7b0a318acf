"""Random crops that are cut out of the files, and images that are decoded once and kept."""

import os
import shutil
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from understudy.data import Augmentation, Crop, kept, load
from understudy.data.content import content
from understudy.data.parts import Repeats
from understudy.data.pictures import Pictures
from understudy.data.sources import InMemory, Streamed
from understudy.errors import UserError
from understudy.tasks import Landmarks

# Python 3.12 and later warn of worker processes forked from a process with threads, which PyTorch always has.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
SIZES = [(60, 40), (40, 70), (50, 50), (90, 45), (300, 200), (41, 43)]
CROP = Augmentation(crop=Crop(scale=(0.2, 0.9)))


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def photos(tmp_path):
    for number, (width, height) in enumerate(SIZES):
        path = tmp_path / "photos" / ("cat", "dog")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        across, down = np.meshgrid(np.linspace(0, 4, width), np.linspace(0, 3 + number, height))
        pixels = np.stack([np.sin(across + down), np.cos(across * down), np.sin(down)], -1)
        Image.fromarray((127 + 120 * pixels).astype(np.uint8)).save(path)
    return tmp_path / "photos"


def opened(root, **settings):
    return load("folder", root, **{"size": 16, "validation": 0, "workers": 0, **settings})


def views(data, batch=2, augmentation=CROP, number=5):
    """The views of all samples by their numbers."""
    task, device = data.task, torch.device("cpu")
    batches = data.train.epoch(number, seed=7, batch=batch, augmentation=augmentation, task=task, device=device)
    return {int(one): x for batch in batches for one, x in zip(batch.ids, batch.inputs, strict=True)}


@pytest.mark.parametrize("decoder", ["pillow", "simplejpeg"])
@pytest.mark.parametrize("channels", [1, 3])
def test_random_crops_are_cut_out_of_the_files(photos, channels, decoder):
    data = opened(photos, resize=20, channels=channels, decoder=decoder)
    seen = views(data)
    for number, path in enumerate(data.train.source.dataset.files):
        image = Image.open(path).convert("L" if channels == 1 else "RGB")
        box = CROP.crop.boxes((image.height, image.width), 7, 5, torch.tensor([number]))
        top, left, height, width = (int(side) for side in box)
        expected = np.asarray(image.crop((left, top, left + width, top + height)).resize((16, 16), 2)) / 255
        expected = torch.from_numpy(expected).reshape(16, 16, channels).permute(2, 0, 1)
        assert (seen[number] - expected).abs().mean() < 0.01, path


def test_views_do_not_depend_on_batches_and_workers(photos):
    mixing = Augmentation(crop=CROP.crop, flip=True, mixup=0.4)
    expected = views(opened(photos, resize=20), augmentation=mixing)
    for data, batch in ((opened(photos, resize=20, workers=2), 3), (opened(photos, resize=20), 6)):
        for number, view in views(data, batch, mixing).items():
            assert torch.equal(view, expected[number])


@pytest.mark.parametrize("workers", [0, 2])
def test_several_views_of_an_image_are_cut_out_of_its_file(photos, monkeypatch, workers):
    monkeypatch.setattr("understudy.data.pictures._AT_ONCE", 2)
    data = opened(photos, resize=20, workers=workers)
    mixing = Augmentation(crop=CROP.crop, flip=True, mixup=0.4)
    for augmentation in (CROP, mixing):
        expected = {number: views(data, augmentation=augmentation, number=number) for number in (3, 4, 5)}
        batches = data.train.epoch(
            1, seed=7, batch=6, augmentation=augmentation, task=data.task, device=torch.device("cpu"),
            repeats=Repeats(0, (3, 4, 5)),
        )  # fmt: skip
        for batch in batches:
            for view, number, image in zip(batch.views.tolist(), batch.ids.tolist(), batch.inputs, strict=True):
                torch.testing.assert_close(image, expected[view][number])


def test_what_is_not_augmented_is_the_centre_and_a_test_part_is_in_memory(photos, tmp_path):
    (tmp_path / "both").mkdir()
    for part in ("train", "test"):
        (tmp_path / "both" / part).symlink_to(photos)
    data = opened(tmp_path / "both", resize=20, validation=2)
    assert isinstance(data.train.source, Streamed)
    assert isinstance(data.test.source, InMemory)
    batch = next(data.validation.in_order(2, torch.device("cpu")))
    assert torch.equal((batch.inputs * 255).round().byte(), data.test.source.samples[data.validation.ids])


@pytest.mark.parametrize("resize", [None, 20])
@pytest.mark.parametrize("workers", [0, 2])
def test_images_are_decoded_once(photos, monkeypatch, resize, workers):
    monkeypatch.setattr("understudy.data.dataset.memory_for_samples", lambda gigabytes: 10)
    monkeypatch.setattr("understudy.data.kept.FEW", 1)
    plain = opened(photos, resize=resize)
    opened(photos, resize=resize, cache=1, workers=workers)
    monkeypatch.setattr(Pictures, "kept", lambda *_: pytest.fail("decoded again"))
    again = opened(photos, resize=resize, cache=1, workers=workers)
    ids = [torch.tensor([4, 1, 3])]
    (expected,) = plain.train.source.batches(ids, torch.device("cpu"))
    (found,) = again.train.source.batches(ids, torch.device("cpu"))
    assert torch.equal(found, expected)
    assert (content(again.train.source) == content(plain.train.source)) == (resize is None)
    for number, view in views(again).items():
        assert (view - views(plain)[number]).abs().mean() < (1e-6 if resize is None else 0.15)


def folder_of(tmp_path):
    (folder,) = (tmp_path / "cache" / "understudy" / "images").iterdir()
    return folder


def test_another_image_or_form_is_another_cache(photos, tmp_path):
    opened(photos, cache=1)
    assert folder_of(tmp_path).is_dir()
    opened(photos, cache=1, size=12)
    Image.new("RGB", (30, 30)).save(photos / "cat" / "0.png")
    data = opened(photos, cache=1)
    assert len(list((tmp_path / "cache" / "understudy" / "images").iterdir())) == 3
    both = opened(photos, cache=1, resize=20), opened(photos, cache=1, resize=20, decoder="simplejpeg")
    assert len(list((tmp_path / "cache" / "understudy" / "images").iterdir())) == 5
    first, second = (views(one) for one in both)
    assert all((first[number] - second[number]).abs().mean() < 0.01 for number in first)
    assert int(data.train.source.samples[0].max()) == 0


def test_a_file_with_the_size_and_time_of_another_is_another(photos, tmp_path):
    """As ``cp -p`` and archives leave them: the time of the last change of the content is copied with it."""
    path = photos / "cat" / "0.bmp"
    Image.new("RGB", (30, 30), "red").save(path)
    before = path.stat()
    assert opened(photos, cache=1).train.source.samples[0, :, 0, 0].tolist() == [255, 0, 0]
    known = content(opened(photos, resize=20).train.source)
    Image.new("RGB", (30, 30), "blue").save(path)
    os.utime(path, ns=(before.st_mtime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert opened(photos, cache=1).train.source.samples[0, :, 0, 0].tolist() == [0, 0, 255]
    assert content(opened(photos, resize=20).train.source) != known


def test_a_hash_that_is_cut_short_is_made_again(photos, tmp_path):
    whole = content(opened(photos, resize=20).train.source)
    for place in (tmp_path / "cache" / "understudy" / "content").iterdir():
        place.write_text(place.read_text()[:8])
    assert content(opened(photos, resize=20).train.source) == whole


def test_two_processes_decode_once(photos, monkeypatch):
    """The second one waits; a lock of a file is held against another opening of it, in this process, too."""
    plain, looked, decoded, found = Pictures.kept, threading.Event(), [], []
    is_there = kept._is_there

    def second():
        found.append(opened(photos, cache=1))

    thread = threading.Thread(target=second)

    def looks(folder, count):
        answer = is_there(folder, count)
        if threading.current_thread() is thread:
            looked.set()
        return answer

    def decodes(pictures, index):
        if not decoded:
            decoded.append(index)
            thread.start()
            assert looked.wait(60)
        else:
            decoded.append(index)
        return plain(pictures, index)

    monkeypatch.setattr(kept, "_is_there", looks)
    monkeypatch.setattr(Pictures, "kept", decodes)
    first = opened(photos, cache=1)
    thread.join()
    assert decoded == list(range(len(SIZES)))
    assert torch.equal(found[0].train.source.samples, first.train.source.samples)


def test_files_that_are_written_while_they_are_decoded(photos, tmp_path, monkeypatch):
    plain = Pictures.kept

    def decodes(pictures, index):
        if index == 3:
            Image.new("RGB", (30, 30)).save(photos / "cat" / "0.png")
        return plain(pictures, index)

    with monkeypatch.context() as patch:
        patch.setattr(Pictures, "kept", decodes)
        with pytest.raises(UserError, match="image files were written while they were decoded"):
            opened(photos, cache=1)
    assert not list(tmp_path.glob("cache/understudy/images/*"))
    assert int(opened(photos, cache=1).train.source.samples[0].max()) == 0


def test_a_cache_that_is_deleted_while_it_is_read(photos, tmp_path):
    data = opened(photos, cache=1, resize=20)
    data.train.source.dataset._pixels = None  # as in a worker process that starts
    shutil.rmtree(folder_of(tmp_path))
    with pytest.raises(UserError, match=r"the decoded images cannot be read .*run the same command again"):
        views(data)


def test_the_mean_does_not_depend_on_the_memory(photos, monkeypatch):
    """Neither where the samples are few, nor where only a sample of them counts."""
    monkeypatch.setattr("understudy.data.parts._STREAMED_SAMPLE", 2)
    options = [{"memory": 1}, {"memory": 1e-8}, {"memory": 1, "cache": 1}, {"memory": 1e-8, "cache": 1}]
    few = [opened(photos, **each) for each in options]
    assert {(data.mean, data.std) for data in few} == {(few[0].mean, few[0].std)}
    assert {type(data.train.source) for data in few} == {InMemory, Streamed}
    monkeypatch.setattr("understudy.data.dataset.MODEST", 10)
    many = [opened(photos, **each) for each in options]
    assert {(data.mean, data.std) for data in many} == {(many[0].mean, many[0].std)}
    assert many[0].mean != few[0].mean
    assert opened(photos, resize=20).mean == opened(photos, resize=20, cache=1).mean


def test_targets_that_move_cannot_follow_crops_of_the_files(photos):
    data = opened(photos, resize=20)
    task = Landmarks.of(torch.zeros(len(SIZES), 2, 2) + torch.arange(2)[:, None])
    data.train.source.targets = torch.zeros(len(SIZES), 2, 2)
    with pytest.raises(UserError, match="the targets of task 'landmarks' move with their images"):
        views(replace(data, task=task))


def test_damage_is_noticed(photos, tmp_path):
    opened(photos, cache=1, resize=20)
    pixels = folder_of(tmp_path) / kept.PIXELS
    whole = bytearray(pixels.read_bytes())
    whole[1000] ^= 1
    pixels.write_bytes(whole)
    with pytest.raises(UserError, match="the decoded image 0 is damaged: remove this folder"):
        views(opened(photos, cache=1, resize=20))
    for name, content_ in ((kept.PIXELS, b"cut"), (kept.INDEX, b"x"), (kept.DESCRIPTION, b"{}")):
        (folder_of(tmp_path) / name).write_bytes(content_)  # what is not whole is made again
        views(opened(photos, cache=1, resize=20))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cache": 1e-6}, r"6 decoded images take 0.00 GB, and cache = 1e-06 \(gigabytes\) is less"),
        ({"cache": 1e-6, "resize": 16}, "6 decoded images take about 0.00 GB"),
        ({"cache": 0}, "cache: input should be greater than 0"),
        ({"resize": 8}, "resize = 8: no 16 x 16 pixels"),
        ({"loader": "pil"}, "loader: input should be 'upright' or 'torchvision'"),
    ],
)
def test_limits(photos, tmp_path, settings, message):
    with pytest.raises(UserError, match=message):
        opened(photos, **settings)
    assert not list(tmp_path.glob("cache/**/*.bin"))


def test_no_room_and_a_broken_image(photos, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(kept.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
        with pytest.raises(UserError, match=r"has 0.00 GB left: make room"):
            opened(photos, cache=1)
    (photos / "dog" / "3.png").write_text("no image")
    with pytest.raises(UserError, match=r"dog/3.png is not an image"):
        opened(photos, cache=1)
    assert not list(tmp_path.glob("cache/understudy/images/*"))


def test_how_far_it_is_is_told(photos):
    told = []
    opened(photos, cache=1, progress=lambda *report: told.append(report))
    size = len(SIZES) * 3 * 16 * 16
    assert told == [("6 decoded images", 0, size), ("6 decoded images", size, size)]
