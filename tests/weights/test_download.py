"""Downloads against a real server that is slow, breaks off, lies, refuses, and sends the wrong bytes."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest
from weights.file_server import FileServer, Served, running_server

from maskrcnn_benchmark.weights.sources.cache_folder import Digest, Source, Wanted, cache_folder
from maskrcnn_benchmark.weights.sources.download import download
from maskrcnn_benchmark.weights.sources.transfer import PartFile, TransferFailed, transfer

CONTENT = Random(1).randbytes(200_000)
OTHER = Random(2).randbytes(200_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
DIGEST = Digest("sha256", SHA256[:8])


@pytest.fixture
def server() -> Iterator[FileServer]:
    with running_server() as running:
        yield running


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of this test's own, no mirror, and no proxy between the test and its server."""
    monkeypatch.setenv("MASKRCNN_BENCHMARK_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MASKRCNN_BENCHMARK_MIRROR", raising=False)
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path / "cache"


def wanted(*urls: str, digest: Digest | None = DIGEST, member: str | None = None) -> Wanted:
    return Wanted("catalog://it", tuple(Source(url, member) for url in urls), "it/it.pth", digest)


def left_over(cache: Path) -> list[str]:
    """Files beside the wanted one and its lock."""
    folder = cache / "weights/it"
    return sorted({path.name for path in folder.iterdir()} - {"it.pth", "it.pth.lock"})


def no_sleep(seconds: float) -> None:
    pass


def no_pause(seconds: float) -> None:
    pytest.fail("tried again where that is in vain")


def test_a_file_arrives_whole_once(server: FileServer, cache: Path) -> None:
    server.files["/a"] = Served(CONTENT)
    path = download(wanted(server.url("/a")))
    assert path == cache / "weights/it/it.pth"
    assert path.read_bytes() == CONTENT
    assert download(wanted(server.url("/a"))) == path
    assert server.paths() == ["/a"]
    assert left_over(cache) == []


def test_a_slow_server(server: FileServer) -> None:
    server.files["/a"] = Served(CONTENT, pause=0.02)
    assert download(wanted(server.url("/a"))).read_bytes() == CONTENT


def test_a_silent_server_is_given_up(server: FileServer, tmp_path: Path) -> None:
    server.files["/a"] = Served(CONTENT, gate=threading.Event())
    with pytest.raises(TransferFailed, match=r"broke off.*timed out") as caught:
        transfer(server.url("/a"), PartFile(tmp_path / "a.part"), timeout=0.2)
    assert caught.value.again


def test_a_broken_download_is_continued(server: FileServer, cache: Path) -> None:
    server.files["/a"] = Served(CONTENT, cuts=[70_000, 30_000])
    sleeps: list[float] = []
    assert download(wanted(server.url("/a")), sleeps.append).read_bytes() == CONTENT
    assert [asked.status for asked in server.asked] == [200, 206, 206]
    assert [asked.headers.get("Range") for asked in server.asked] == [None, "bytes=70000-", "bytes=100000-"]
    assert [asked.headers.get("If-Range") for asked in server.asked] == [None, '"1"', '"1"']
    assert sum(asked.sent for asked in server.asked) == len(CONTENT)
    assert sleeps == [0.5, 0.5]
    assert left_over(cache) == []


def test_the_date_of_the_last_change_serves_as_well(server: FileServer) -> None:
    date = "Wed, 21 Oct 2015 07:28:00 GMT"
    server.files["/a"] = Served(CONTENT, etag='W/"weak"', last_modified=date, cuts=[70_000])
    assert download(wanted(server.url("/a")), no_sleep).read_bytes() == CONTENT
    assert server.asked[1].headers["If-Range"] == date
    assert server.asked[1].status == 206


@pytest.mark.parametrize("how", ["refuses Range", "tells no versions apart"])
def test_what_cannot_be_continued_starts_over(server: FileServer, how: str) -> None:
    served = Served(CONTENT, cuts=[70_000])
    if how == "refuses Range":
        served.ranges = False
    else:
        served.etag = None
    server.files["/a"] = served
    assert download(wanted(server.url("/a"), digest=None), no_sleep).read_bytes() == CONTENT
    assert [asked.status for asked in server.asked] == [200, 200]


@pytest.mark.parametrize("if_range", [True, False])
def test_two_versions_are_never_glued(server: FileServer, if_range: bool) -> None:
    """Whether the server heeds If-Range or sends 206 with the rest of the new version."""
    server.files["/a"] = Served(OTHER, cuts=[70_000] * 9)
    with pytest.raises(TransferFailed):
        transfer(server.url("/a"), PartFile(_part()))
    server.files["/a"] = Served(CONTENT, etag='"2"', if_range=if_range)
    assert download(wanted(server.url("/a"), digest=None), no_sleep).read_bytes() == CONTENT
    assert [asked.status for asked in server.asked] == ([200, 200] if if_range else [200, 206, 200])


def test_a_reply_that_starts_elsewhere_is_not_glued(server: FileServer) -> None:
    server.files["/a"] = Served(CONTENT, cuts=[70_000], ignores_start=True)
    assert download(wanted(server.url("/a"), digest=None), no_sleep).read_bytes() == CONTENT
    assert [asked.status for asked in server.asked] == [200, 206, 200]


def test_a_server_that_gives_two_versions_one_name(server: FileServer) -> None:
    """The hash finds out, and the file is fetched anew."""
    server.files["/a"] = Served(OTHER, cuts=[70_000])
    with pytest.raises(TransferFailed):
        transfer(server.url("/a"), PartFile(_part()))
    server.files["/a"] = Served(CONTENT)
    assert download(wanted(server.url("/a")), no_sleep).read_bytes() == CONTENT
    assert [asked.status for asked in server.asked] == [200, 206, 200]


def test_a_part_of_another_address_is_not_continued(server: FileServer) -> None:
    server.files |= {"/a": Served(OTHER, cuts=[70_000]), "/b": Served(CONTENT)}
    with pytest.raises(TransferFailed):
        transfer(server.url("/a"), PartFile(_part()))
    assert download(wanted(server.url("/b"), digest=None)).read_bytes() == CONTENT
    assert "Range" not in server.asked[1].headers


def test_a_part_without_its_note_is_not_continued(server: FileServer) -> None:
    server.files["/a"] = Served(CONTENT)
    _part().write_bytes(OTHER[:70_000])
    assert download(wanted(server.url("/a"), digest=None)).read_bytes() == CONTENT
    assert "Range" not in server.asked[0].headers


def test_a_part_that_is_longer_than_the_file_starts_over(server: FileServer) -> None:
    server.files["/a"] = Served(OTHER, cuts=[70_000])
    with pytest.raises(TransferFailed):
        transfer(server.url("/a"), PartFile(_part()))
    server.files["/a"] = Served(CONTENT[:50_000])
    assert download(wanted(server.url("/a"), digest=None), no_sleep).read_bytes() == CONTENT[:50_000]
    assert [asked.status for asked in server.asked] == [200, 416, 200]


def test_a_server_that_promises_more_than_it_sends(server: FileServer) -> None:
    server.files["/a"] = Served(CONTENT, lie=1000, ranges=False)
    with pytest.raises(ValueError, match=r"broke off after 200000 of 201000 bytes \(4 attempts\)"):
        download(wanted(server.url("/a"), digest=None), no_sleep)


def test_a_server_that_promises_less_than_the_file(server: FileServer, cache: Path) -> None:
    server.files["/a"] = Served(CONTENT, lie=-1000)
    with pytest.raises(ValueError, match="sent other bytes: sha256 begins"):
        download(wanted(server.url("/a")), no_sleep)
    assert left_over(cache) == []


def test_errors_of_the_server_are_tried_again_with_growing_pauses(server: FileServer) -> None:
    server.files["/a"] = Served(CONTENT, statuses=[500, 502, 503])
    sleeps: list[float] = []
    assert download(wanted(server.url("/a")), sleeps.append).read_bytes() == CONTENT
    assert sleeps == [1.0, 2.0, 4.0]


def test_the_pause_a_server_asks_for(server: FileServer) -> None:
    server.files["/a"] = Served(CONTENT, statuses=[503, 429], headers={"Retry-After": "7"})
    sleeps: list[float] = []
    download(wanted(server.url("/a")), sleeps.append)
    assert sleeps == [7.0, 7.0]
    server.files["/b"] = Served(CONTENT, statuses=[503], headers={"Retry-After": "86400"})
    sleeps.clear()
    transferred = Wanted("another", (Source(server.url("/b")),), "another/it.pth", DIGEST)
    download(transferred, sleeps.append)
    assert sleeps == [60.0]


@pytest.mark.parametrize(
    ("bad", "requests"),
    [
        (Served(CONTENT, statuses=[403]), 1),
        (Served(CONTENT, statuses=[404]), 1),
        (Served(CONTENT, statuses=[410]), 1),
        (Served(CONTENT, statuses=[500] * 9), 4),
        (Served(OTHER), 1),
        (Served(b""), 4),
        (Served(b"<html>Sign in</html>", headers={"Content-Type": "text/html; charset=utf-8"}), 1),
        (Served(CONTENT, headers={"Content-Encoding": "gzip"}), 1),
    ],
    ids=["403", "404", "410", "500 for ever", "wrong bytes", "nothing", "a web page", "compressed"],
)
def test_a_bad_address_gives_way_to_the_next(
    server: FileServer, cache: Path, bad: Served, requests: int
) -> None:
    server.files |= {"/bad": bad, "/good": Served(CONTENT)}
    assert download(wanted(server.url("/bad"), server.url("/good")), no_sleep).read_bytes() == CONTENT
    assert server.paths() == ["/bad"] * requests + ["/good"]
    assert left_over(cache) == []


def test_when_all_fail_a_person_can_do_it(server: FileServer, cache: Path) -> None:
    """The error names every address with its own failure and the place; a file put there is found."""
    server.files |= {"/a": Served(CONTENT, statuses=[403]), "/b": Served(OTHER)}
    gone = "http://127.0.0.1:9/c"  # the discard port: nobody listens
    with pytest.raises(ValueError) as caught:
        download(wanted(server.url("/a"), server.url("/b"), gone), no_sleep)
    lines = [line.strip() for line in str(caught.value).splitlines()]
    assert lines[lines.index(server.url("/a")) + 1].startswith("HTTP 403")
    assert lines[lines.index(server.url("/b")) + 1].startswith("sent other bytes")
    assert "Connection refused" in lines[lines.index(gone) + 1]
    place = Path(lines[next(i for i, line in enumerate(lines) if "by hand" in line) + 1])
    place.write_bytes(CONTENT)
    server.asked.clear()
    assert download(wanted(server.url("/a"))) == place
    assert server.asked == []


def test_a_file_put_there_by_hand_is_verified(server: FileServer, cache: Path) -> None:
    path = cache / "weights/it/it.pth"
    path.parent.mkdir(parents=True)
    path.write_bytes(OTHER)
    with pytest.raises(
        ValueError, match=rf"it\.pth is not catalog://it as published.*{DIGEST.value}; remove it"
    ):
        download(wanted(server.url("/a")))


@pytest.mark.parametrize("kind", ["server", "folder", "file://"])
def test_a_mirror_of_ones_own_comes_first(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A server or a folder with the layout of the cache's weights folder."""
    server.files |= {"/mine/it/it.pth": Served(CONTENT), "/a": Served(CONTENT)}
    folder = tmp_path / "my files"
    (folder / "it").mkdir(parents=True)
    (folder / "it/it.pth").write_bytes(CONTENT)
    mirror = {"server": server.url("/mine/"), "folder": str(folder), "file://": folder.as_uri()}[kind]
    monkeypatch.setenv("MASKRCNN_BENCHMARK_MIRROR", mirror)
    assert download(wanted(server.url("/a"))).read_bytes() == CONTENT
    assert server.paths() == (["/mine/it/it.pth"] if kind == "server" else [])


@pytest.mark.parametrize("kind", ["server", "folder"])
def test_a_mirror_that_lacks_the_file(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    server.files["/a"] = Served(CONTENT)
    mirror = server.url("/mine") if kind == "server" else str(tmp_path / "nothing")
    monkeypatch.setenv("MASKRCNN_BENCHMARK_MIRROR", mirror)
    assert download(wanted(server.url("/a")), no_pause).read_bytes() == CONTENT


def test_a_mirror_of_another_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKRCNN_BENCHMARK_MIRROR", "ftp://somewhere")
    with pytest.raises(ValueError, match=r"MASKRCNN_BENCHMARK_MIRROR='ftp://somewhere'"):
        download(wanted())


def test_a_file_inside_an_archive(server: FileServer, cache: Path) -> None:
    archive = BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("model.pth", CONTENT)
    server.files |= {"/no.zip": Served(CONTENT), "/a.zip": Served(archive.getvalue(), cuts=[70_000])}
    path = download(wanted(server.url("/no.zip"), server.url("/a.zip"), member="model.pth"), no_sleep)
    assert path.read_bytes() == CONTENT
    assert left_over(cache) == []
    path.unlink()
    with pytest.raises(ValueError, match="is no zip archive with 'other' in it"):
        download(wanted(server.url("/a.zip"), member="other"), no_sleep)


def test_a_full_disk_says_how_much_is_missing(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files["/a"] = Served(bytes(3 << 20))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1 << 20))
    with pytest.raises(
        ValueError, match=r"3\.0 MiB more are needed, 1\.0 MiB are free: 2\.0 MiB are missing"
    ):
        download(wanted(server.url("/a"), digest=None))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_disk_that_fills_up_meanwhile(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files["/a"] = Served(CONTENT)
    monkeypatch.setattr(PartFile, "discard", lambda self: None)
    _part().symlink_to("/dev/full")
    with pytest.raises(ValueError, match=r"no room on the disk of .*weights/it: 0\.2 MiB more are needed"):
        download(wanted(server.url("/a")))


def test_a_cache_folder_that_cannot_be_written_to(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a file").touch()
    monkeypatch.setenv("MASKRCNN_BENCHMARK_CACHE", str(tmp_path / "a file"))
    with pytest.raises(ValueError, match=r"cannot write to the cache folder .*set MASKRCNN_BENCHMARK_CACHE"):
        download(wanted(server.url("/a")))


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("MASKRCNN_BENCHMARK_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg/maskrcnn_benchmark"
    for unset in ("", "relative/is/not/allowed"):
        monkeypatch.setenv("XDG_CACHE_HOME", unset)
        assert cache_folder() == tmp_path / ".cache/maskrcnn_benchmark"


PROCESS = """
import logging, sys
from maskrcnn_benchmark.weights.sources.download import download
from maskrcnn_benchmark.weights.sources.cache_folder import Digest, Source, Wanted
logging.basicConfig(level="INFO", filename=sys.argv[3])
wanted = Wanted("catalog://it", (Source(sys.argv[1]),), "it/it.pth", Digest("sha256", sys.argv[2]))
print(download(wanted))
"""


def start_process(url: str, log: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROCESS, url, SHA256, str(log)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_killed_download_is_continued(server: FileServer, cache: Path, tmp_path: Path) -> None:
    """SIGKILL in the middle: the lock is free again, and what had come is kept."""
    served = server.files["/a"] = Served(CONTENT, gate=threading.Event())
    process = start_process(server.url("/a"), tmp_path / "log")
    part = PartFile(_part())
    wait_until(lambda: part.size >= len(CONTENT) // 2)
    process.kill()
    process.communicate()
    assert not (cache / "weights/it/it.pth").exists()
    came = part.size
    served.gate = None
    assert download(wanted(server.url("/a"))).read_bytes() == CONTENT
    assert server.asked[-1].headers["Range"] == f"bytes={came}-"
    assert server.asked[-1].sent == len(CONTENT) - came
    assert left_over(cache) == []


def test_two_processes_download_once(server: FileServer, cache: Path, tmp_path: Path) -> None:
    """The server holds back the second half until the other process waits; that one finds the file then."""
    served = server.files["/a"] = Served(CONTENT, gate=threading.Event())
    logs = [tmp_path / "first", tmp_path / "second"]
    processes = [start_process(server.url("/a"), log) for log in logs]
    waits = "Waiting for another process"
    wait_until(
        lambda: any(log.exists() and waits in log.read_text() for log in logs) or len(server.asked) > 1
    )
    assert served.gate is not None
    served.gate.set()
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    path = cache / "weights/it/it.pth"
    assert outputs == [f"{path}\n"] * 2
    assert path.read_bytes() == CONTENT
    assert [(asked.path, asked.sent) for asked in server.asked] == [("/a", len(CONTENT))]


def _part() -> Path:
    """The partial file of the wanted one."""
    path = cache_folder() / "weights/it/it.pth.part"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
