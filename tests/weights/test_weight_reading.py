"""Files of every kind and every kind of bad file: known by content, nothing executed, one line that helps."""

from __future__ import annotations

import os
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from maskrcnn_benchmark.weights.sources.read import PICKLE, SAFETENSORS, TORCH_LEGACY, TORCH_ZIP, read_weights
from maskrcnn_benchmark.weights.sources.restricted_pickle import encode

STATE = {"conv.weight": torch.arange(6.0).reshape(2, 3), "conv.bias": torch.ones(2)}


def write_zip(path: Path) -> None:
    torch.save({"model": STATE, "iteration": 3}, path)


def write_legacy(path: Path) -> None:
    torch.save({"state_dict": STATE}, path, _use_new_zipfile_serialization=False)


def write_safetensors(path: Path) -> None:
    save_file(STATE, path)


def write_blobs(path: Path) -> None:
    path.write_bytes(pickle.dumps({"blobs": {k: v.numpy() for k, v in STATE.items()}}, protocol=2))


WRITERS = {
    TORCH_ZIP: write_zip,
    TORCH_LEGACY: write_legacy,
    SAFETENSORS: write_safetensors,
    PICKLE: write_blobs,
}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("name", ["w.pth", "w.pkl", "w.safetensors", "w"])
def test_the_content_decides_not_the_name(tmp_path: Path, kind: str, name: str) -> None:
    WRITERS[kind](tmp_path / name)
    raw = read_weights(tmp_path / name)
    assert raw.kind == kind
    assert raw.state.keys() == STATE.keys()
    assert all(torch.equal(raw.state[key], STATE[key]) for key in STATE)


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_of_every_protocol(tmp_path: Path, protocol: int) -> None:
    """Also those that Python 2 wrote, with text for bytes, and Fortran order, and big-endian numbers."""
    array = np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3))
    content = {
        "a": array,
        "big": array.astype(">f4"),
        "int": np.arange(3),
        "none": np.zeros((0, 2)),
        "scalar": np.float32(3),
    }
    (tmp_path / "w.pkl").write_bytes(pickle.dumps({"blobs": content, "cfg": "text"}, protocol=protocol))
    raw = read_weights(tmp_path / "w.pkl")
    assert raw.content["cfg"] == "text"
    assert raw.content["blobs"]["scalar"] == 3
    for name in ("a", "big"):
        assert raw.state[name].tolist() == array.tolist()
    assert (raw.state["int"].tolist(), raw.state["none"].shape) == ([0, 1, 2], (0, 2))
    raw.state["a"][0, 0] = 7  # of its own, not a view of the file


def test_a_pickle_of_python_2(tmp_path: Path) -> None:
    """Bytes as Python 2's numpy wrote them: protocol 2, the array's content as a byte string of its own."""
    content = (
        b"\x80\x02}q\x00U\x06conv_wq\x01cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nq\x03K\x00"
        b"\x85q\x04U\x01bq\x05\x87q\x06Rq\x07(K\x01K\x02\x85q\x08cnumpy\ndtype\nq\tU\x02f4q\nK\x00K\x01\x87q\x0b"
        b"Rq\x0c(K\x03U\x01<q\rNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x0eb\x89U\x08"
        + np.array([1.5, -200.25], "<f4").tobytes()
        + b"q\x0ftq\x10bs."
    )
    (tmp_path / "R-50.pkl").write_bytes(content)
    assert read_weights(tmp_path / "R-50.pkl").state["conv_w"].tolist() == [1.5, -200.25]


class Bait:
    """Calls something with the path of a file when it is unpickled."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("function", [os.mkdir, eval, exec, getattr, np.load])
def test_a_malicious_pickle_does_not_run(
    tmp_path: Path, protocol: int, function: Callable[..., object]
) -> None:
    bait = tmp_path / "executed"
    arguments = (f"open({str(bait)!r}, 'w')",) if function in (eval, exec) else (str(bait),)
    trap = Bait(function, *arguments)
    path = tmp_path / "w.pkl"
    path.write_bytes(pickle.dumps({"blobs": {"a": np.ones(2), "b": trap}}, protocol=protocol))
    with pytest.raises(ValueError, match=r"it asks to call .*; nothing in it was executed"):
        read_weights(path)
    for zipped in (True, False):
        torch.save({"model": STATE, "b": trap}, path, _use_new_zipfile_serialization=zipped)
        with pytest.raises(ValueError, match="nothing in it was executed"):
            read_weights(path)
    assert not bait.exists()


def test_a_pickle_leaves_no_trace_in_the_functions_it_may_call(tmp_path: Path) -> None:
    before = encode.__defaults__
    path = tmp_path / "w.pkl"
    path.write_bytes(b"\x80\x02c_codecs\nencode\nN}U\x0c__defaults__U\x05utf-8\x85s\x86b0}.")
    with pytest.raises(ValueError, match="sets attributes of a function; nothing in it was executed"):
        read_weights(path)
    assert encode.__defaults__ == before == ("latin1",)


def test_the_message_names_what_is_asked_for_and_does_not_advise_to_run_it(tmp_path: Path) -> None:
    for function, name in ((os.mkdir, r"(posix|nt)\.mkdir"), (eval, "eval")):
        torch.save({"model": STATE, "b": Bait(function, "1")}, tmp_path / "w.pth")
        with pytest.raises(ValueError, match=rf"executed\. It asks for {name}$"):
            read_weights(tmp_path / "w.pth")


def test_a_program_is_no_weights_file(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, of a format that it no longer develops
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "w.pt")
        with pytest.raises(ValueError, match="is a TorchScript archive, a program"):
            read_weights(tmp_path / "w.pt")


def test_arrays_of_objects_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pkl"
    path.write_bytes(pickle.dumps({"a": np.array([{}, None], dtype=object)}, protocol=2))
    with pytest.raises(ValueError, match="no dtype of numbers"):
        read_weights(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty, a truncated download; download it again"),
        (b"<!DOCTYPE html><html><body>403</body></html>", r"is a web page \(HTML\) saved under this name"),
        (b"\n  <html lang='en'>", r"is a web page \(HTML\)"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n",
            "fetch it with: git lfs pull",
        ),
        (b"\x1f\x8b\x08\x00rest", "compressed with gzip; unpack it"),
        (b'{"error": "not found"}', "no weights file at all"),
        (b"just text", "truncated, damaged, or no weights file at all"),
        (pickle.dumps([1, 2]), "holds a list instead of a dictionary"),
    ],
)
def test_what_is_no_weights_file(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=words) as caught:
        read_weights(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", WRITERS)
def test_truncated_anywhere(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "w.pth"
    WRITERS[kind](path)
    whole = path.read_bytes()
    for length in {1, 7, 9, 20, len(whole) // 3, len(whole) // 2, len(whole) - 20, len(whole) - 1}:
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"w\.pth.*(truncated|damaged)") as caught:
            read_weights(path)
        assert "\n" not in str(caught.value)


def test_a_folder_and_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is a directory; name a file in it"):
        read_weights(tmp_path)
    with pytest.raises(ValueError, match=r"does not exist \(searched from "):
        read_weights(tmp_path / "none.pth")


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused by the system, which does not refuse the superuser: by a stand-in."""
    path = tmp_path / "w.pth"
    write_zip(path)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ValueError, match=r"may not be read by this user; mend it with: chmod u\+r"):
        read_weights(path)
