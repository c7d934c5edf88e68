"""Addresses outside the catalogue, and files of Hugging Face repositories, from a server on this machine."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from weights.file_server import FileServer, Served, running_server

from maskrcnn_benchmark.weights.sources.cache_folder import Source, Wanted
from maskrcnn_benchmark.weights.sources.download import download
from maskrcnn_benchmark.weights.sources.hub import fetch_from_hub, in_hub_cache
from maskrcnn_benchmark.weights.sources.resolve import resolve_weights

CONTENT = b"weights" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def server() -> Iterator[FileServer]:
    with running_server() as running:
        yield running


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MASKRCNN_BENCHMARK_CACHE", str(tmp_path))
    monkeypatch.delenv("MASKRCNN_BENCHMARK_MIRROR", raising=False)
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path


def test_an_address_is_downloaded_once(server: FileServer, cache: Path) -> None:
    server.files |= {"/x/my%20model.pth?dl=1": Served(CONTENT), "/y/my%20model.pth?dl=1": Served(b"other")}
    path = resolve_weights(server.url("/x/my%20model.pth?dl=1"))
    assert path.name == "my_model.pth"
    assert cache in path.parents
    assert path.read_bytes() == CONTENT
    assert resolve_weights(server.url("/x/my%20model.pth?dl=1")) == path
    assert len(server.asked) == 1
    assert resolve_weights(server.url("/y/my%20model.pth?dl=1")).read_bytes() == b"other"


def test_an_address_with_its_hash(server: FileServer) -> None:
    server.files["/a.pth"] = Served(CONTENT)
    with pytest.raises(ValueError, match="sha256 begins"):
        resolve_weights(server.url(f"/a.pth#sha256={'0' * 64}"))
    assert resolve_weights(server.url(f"/a.pth#sha256={SHA256}")).read_bytes() == CONTENT
    with pytest.raises(ValueError, match="after # write sha256="):
        resolve_weights(server.url("/a.pth#md5=00"))


def test_without_huggingface_hub_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match=r'pip install "maskrcnn-benchmark\[hub\]"'):
        resolve_weights("hf://timm/resnet18/model.safetensors")
    assert in_hub_cache("hf://timm/resnet18/model.safetensors") is None


def test_without_huggingface_hub_the_next_address_is_taken(
    server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    server.files["/a"] = Served(CONTENT)
    sources = (Source("hf://timm/resnet18/model.safetensors"), Source(server.url("/a")))
    assert download(Wanted("it", sources, "it/model.safetensors")).read_bytes() == CONTENT


@pytest.mark.parametrize(
    "address", ["hf://timm", "hf://timm/resnet18", "hf://timm/resnet18/", "hf://a b/c/d"]
)
def test_half_a_hub_address(address: str) -> None:
    with pytest.raises(ValueError, match="write hf://owner/name/file"):
        fetch_from_hub(address)


HUB_PROCESS = """
import sys
from maskrcnn_benchmark.weights.sources.hub import fetch_from_hub, in_hub_cache
try:
    path = fetch_from_hub(sys.argv[1])
    assert in_hub_cache(sys.argv[1]) == path
    print(path)
except ValueError as error:
    print("ValueError", error)
"""


def ask_hub(address: str, folder: Path, **environment: str) -> str:
    """What a fresh process with its own Hub cache prints; huggingface_hub reads its variables at import."""
    variables = os.environ | {"HF_HOME": str(folder), "HF_HUB_DISABLE_XET": "1"} | environment
    command = [sys.executable, "-c", HUB_PROCESS, address]
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=True).stdout.strip()


class _Hub(BaseHTTPRequestHandler):
    """As much of the Hub as a download of one file needs."""

    def do_HEAD(self) -> None:
        wanted = self.path == "/timm/net/resolve/v1/model.safetensors"
        self.send_response(200 if wanted else 404)
        self.send_header("Content-Length", str(len(CONTENT) if wanted else 0))
        self.send_header("ETag", '"abc"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        self.wfile.write(CONTENT)

    def log_message(self, *arguments: object) -> None:
        """Nothing on the screen."""


def test_a_hub_file_lies_in_the_hubs_own_cache_and_is_found_offline(tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    address, folder = "hf://timm/net@v1/model.safetensors", tmp_path / "hub"
    offline = ask_hub(address, folder, HF_HUB_OFFLINE="1")
    assert offline.startswith(f"ValueError {address}: ")
    assert "`hf download timm/net model.safetensors`" in offline
    assert str(folder / "hub") in offline
    with ThreadingHTTPServer(("127.0.0.1", 0), _Hub) as hub:
        Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        path = ask_hub(address, folder, HF_ENDPOINT=f"http://127.0.0.1:{hub.server_port}")
        hub.shutdown()
    assert folder in Path(path).parents
    assert Path(path).read_bytes() == CONTENT
    assert ask_hub(address, folder, HF_HUB_OFFLINE="1") == path
