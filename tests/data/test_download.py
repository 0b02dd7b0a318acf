"""Downloads: only a whole, right file takes its name."""

import contextlib
import errno
import gzip
import hashlib
import io
import os
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from understudy.data import fetch
from understudy.data.dataset import Access, unpacked
from understudy.data.fetch import Remote, download, provide, provide_members
from understudy.errors import UserError

CONTENT = bytes(range(256)) * 40


def sha256(content):
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/missing":
            self.send_error(404)
            return
        if self.path.startswith("/leads/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/leads/"))
            self.end_headers()
            return
        self.send_response(200)
        if self.path != "/endless":
            self.send_header("Content-Length", "abc" if self.path == "/odd" else str(len(CONTENT)))
        self.end_headers()
        if self.path == "/endless":
            with contextlib.suppress(OSError):
                while True:
                    self.wfile.write(CONTENT)
        self.wfile.write(CONTENT[:1000] if self.path == "/short" else CONTENT)

    def log_message(self, *_):
        pass


@pytest.fixture
def address(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(fetch, "SCHEMES", ("https://", "http://127.0.0.1:"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join(5)


def test_a_good_file_arrives_with_progress(tmp_path, address):
    seen = []
    path = tmp_path / "new" / "file.bin"
    progress = Access(progress=lambda *step: seen.append(step))
    download(Remote(f"{address}/file.bin", sha256(CONTENT)), path, progress)
    assert path.read_bytes() == CONTENT
    assert seen[-1] == ("file.bin", len(CONTENT), len(CONTENT))
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("what", "digest", "words"),
    [
        ("file", "sha256:" + "0" * 64, "answers another file than the published one"),
        ("short", sha256(CONTENT), r"/short cannot be reached \(.*1000 bytes read, 9240 more expected"),
        (
            "missing",
            sha256(CONTENT),
            r"no .*/file.bin, and .*/missing cannot be reached \(Not Found\): get that file",
        ),
    ],
)
def test_a_bad_answer_leaves_nothing(tmp_path, address, what, digest, words):
    with pytest.raises(UserError, match=words) as caught:
        download(Remote(f"{address}/{what}", digest), tmp_path / "file.bin", Access())
    assert list(tmp_path.iterdir()) == []
    assert "\n" not in str(caught.value)


def test_nothing_is_taken_from_a_connection_that_is_not_verified(tmp_path, address, monkeypatch):
    monkeypatch.setattr(fetch, "SCHEMES", ("https://",))
    with pytest.raises(UserError, match="which is no verified connection"):
        download(Remote(f"{address}/file.bin", sha256(CONTENT)), tmp_path / "file.bin", Access())
    assert list(tmp_path.iterdir()) == []


def test_a_verified_address_that_leads_elsewhere_is_refused(tmp_path, address, monkeypatch):
    for place in ("http://localhost:1/file", "file:///etc/passwd", "ftp://localhost/x"):
        with pytest.raises(UserError, match="cannot be reached"):
            download(Remote(f"{address}/leads/{place}", sha256(CONTENT)), tmp_path / "file.bin", Access())
    assert list(tmp_path.iterdir()) == []


def test_an_endless_answer_ends(tmp_path, address, monkeypatch):
    monkeypatch.setattr(fetch, "LARGEST", 5_000_000)
    with pytest.raises(UserError, match="more than the 5,000,000 bytes"):
        download(Remote(f"{address}/endless", sha256(CONTENT)), tmp_path / "file.bin", Access())
    assert list(tmp_path.iterdir()) == []


def test_a_header_that_says_no_number_is_told(tmp_path, address):
    with pytest.raises(UserError, match="no form that can be read"):
        download(Remote(f"{address}/odd", sha256(CONTENT)), tmp_path / "file.bin", Access())


def test_a_small_file_that_unpacks_to_a_large_one_is_refused(tmp_path):
    (tmp_path / "a.gz").write_bytes(gzip.compress(bytes(10_000_000)))
    with pytest.raises(UserError, match="unpacks to more than 1,000,000 bytes"):
        unpacked(tmp_path / "a.gz", most=1_000_000)
    assert len(unpacked(tmp_path / "a.gz")) == 10_000_000


@pytest.mark.parametrize("part", ["MNIST_FILES", "FASHION_MNIST_FILES", "CIFAR10", "CIFAR100", "SVHN"])
def test_published_files_have_a_sha256_and_verified_addresses(part):
    from understudy.data.sets import cifar, mnist, svhn

    if part == "SVHN":
        assert svhn._ADDRESS.startswith("https://")
        assert {len(digest) for digest in svhn._SHA256.values()} == {64}
    elif part.startswith("CIFAR"):
        remote = getattr(cifar, f"{part}_FILES").archive
        assert remote.url.startswith("https://")
        assert remote.hash.startswith("sha256:")
    else:
        form = getattr(mnist, part)
        assert all(address.startswith("https://") for address in form.addresses)
        assert {len(file.packed) for file in form.files} == {64}


def test_refused(tmp_path, address):
    closed = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    port = closed.server_port
    closed.server_close()
    words = r"no .*/in/b.gz, and .*/a.gz cannot be reached \(.*\): get that file elsewhere \(sha256 0+\)"
    with pytest.raises(UserError, match=words):
        download(Remote(f"http://127.0.0.1:{port}/a.gz", "sha256:" + "0" * 64), tmp_path / "in" / "b.gz", Access())
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made(tmp_path, address):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UserError, match="cannot make the folder"):
        download(Remote(f"{address}/file", "sha256:" + "0" * 64), tmp_path / "taken" / "in" / "file", Access())


def test_a_full_disk(tmp_path, address, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("pooch.retrieve", full)
    with pytest.raises(UserError, match=r"cannot write .*/file.bin \(No space left on device\): make room"):
        download(Remote(f"{address}/file", sha256(CONTENT)), tmp_path / "file.bin", Access())


def test_a_mirror_is_asked_where_the_first_address_fails(tmp_path, address):
    remote = Remote(f"{address}/missing", sha256(CONTENT), mirrors=(f"{address}/short", f"{address}/file"))
    download(remote, tmp_path / "file.bin", Access())
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    with pytest.raises(UserError, match=r"/missing cannot be reached \(Not Found\); .*/short cannot be reached"):
        download(Remote(remote.url, remote.hash, remote.mirrors[:1]), tmp_path / "other.bin", Access())
    assert [path.name for path in tmp_path.iterdir()] == ["file.bin"]


def test_a_file_that_is_there_is_left_alone(tmp_path):
    (tmp_path / "file").write_text("mine")
    provide(Remote("file:///nowhere", "sha256:" + "0" * 64), tmp_path / "file", Access())
    assert (tmp_path / "file").read_text() == "mine"


@pytest.fixture
def archive(tmp_path, address, monkeypatch):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name in ("set/a.bin", "set/b.bin", "../outside.bin"):
            member = tarfile.TarInfo(name)
            member.size = len(name)
            tar.addfile(member, io.BytesIO(name.encode()))
    monkeypatch.setattr(f"{__name__}.CONTENT", packed.getvalue())
    return Remote(f"{address}/set.tar.gz", sha256(CONTENT))


def test_an_archive_is_fetched_unpacked_and_removed(tmp_path, archive):
    provide_members(archive, tmp_path / "data" / "set", ["a.bin"], Access(), also=["b.bin", "c.bin"])
    assert (tmp_path / "data" / "set" / "b.bin").read_bytes() == b"set/b.bin"
    assert sorted(p.name for p in (tmp_path / "data").rglob("*")) == ["a.bin", "b.bin", "set"]


def test_an_archive_put_there_by_hand_is_used(tmp_path, archive):
    folder = tmp_path / "data" / "set"
    folder.parent.mkdir()
    place = folder.parent / archive.name
    place.write_bytes(CONTENT)
    provide_members(archive, folder, ["a.bin"], Access(download=False))
    assert (folder / "a.bin").exists()
    assert place.exists()
    place.write_bytes(b"damaged")
    with pytest.raises(UserError, match="is not the published archive"):
        provide_members(archive, folder, ["b.bin"], Access(download=False))


def test_an_archive_without_what_is_wanted(tmp_path, archive):
    with pytest.raises(UserError, match=r"holds no c.bin"):
        provide_members(archive, tmp_path / "data" / "set", ["c.bin"], Access())
