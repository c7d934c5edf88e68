"""What files hold beside tensors: numbers of numpy are read, harmless objects skipped; nothing runs."""

from __future__ import annotations

import argparse
import collections
import datetime
import decimal
import pickle
import types
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from weights.small_detector import small_detector

from maskrcnn_benchmark.weights.checkpoint import Checkpointer
from maskrcnn_benchmark.weights.load import Purpose
from maskrcnn_benchmark.weights.sources.read import RawFile, read_weights
from maskrcnn_benchmark.weights.sources.restricted_pickle import ADMITTED_BESIDE_TENSORS

STATE = {"conv.weight": torch.arange(6.0).reshape(2, 3)}
SKIPPED = {
    "argparse.Namespace": argparse.Namespace(lr=1, nested=argparse.Namespace(names=["a"])),
    "types.SimpleNamespace": types.SimpleNamespace(a=1),
    "pathlib.PosixPath": Path("/x/y"),
    "datetime.datetime": datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC),
    "datetime.timedelta": datetime.timedelta(1),
    "uuid.UUID": uuid.UUID(int=5),
    "decimal.Decimal": decimal.Decimal("1.5"),
    "builtins.slice": slice(1, 2),
    "builtins.frozenset": frozenset([1]),
    "numpy.float32": np.float32,
    "numpy.random._pickle.__randomstate_ctor": np.random.RandomState(0),
    "numpy.random._pickle.__generator_ctor": np.random.default_rng(0),
    "numpy.dtype": np.dtype("f4"),
    "numpy array of dtype U2": np.array(["a", "bc"]),
    "numpy array of dtype M8": np.datetime64("2024-01-01"),
}


def zipped(path: Path, content: dict[str, Any]) -> RawFile:
    torch.save({"model": STATE} | content, path)
    return read_weights(path)


def legacy(path: Path, content: dict[str, Any]) -> RawFile:
    torch.save({"model": STATE} | content, path, _use_new_zipfile_serialization=False)
    return read_weights(path)


def pickled(path: Path, content: dict[str, Any]) -> RawFile:
    arrays = {name: tensor.numpy() for name, tensor in STATE.items()}
    path.write_bytes(pickle.dumps({"model": arrays} | content, protocol=2))
    return read_weights(path)


Read = Callable[[Path, dict[str, Any]], RawFile]
EVERY_KIND = pytest.mark.parametrize("read", [zipped, legacy, pickled])


@EVERY_KIND
def test_numbers_of_numpy_are_read(tmp_path: Path, read: Read) -> None:
    array = np.arange(4, dtype=">i2").reshape(2, 2)
    content = {"best": np.float64(0.3), "good": np.bool_(True), "list": [np.int64(3)], "array": array}
    raw = read(tmp_path / "w.pth", content)
    assert (raw.content["best"], raw.content["good"], raw.content["list"]) == (0.3, True, [3])
    assert type(raw.content["best"]) is float
    assert raw.content["array"].tolist() == [[0, 1], [2, 3]]
    assert raw.skipped == ()
    assert torch.equal(raw.state["conv.weight"], STATE["conv.weight"])


@EVERY_KIND
@pytest.mark.parametrize("name", SKIPPED)
def test_harmless_objects_are_skipped_by_name(tmp_path: Path, read: Read, name: str) -> None:
    raw = read(tmp_path / "w.pth", {"extra": SKIPPED[name], "epoch": 3})
    assert "extra" not in raw.content
    assert raw.content["epoch"] == 3
    assert raw.skipped == (f"extra ({name})",)
    assert torch.equal(raw.state["conv.weight"], STATE["conv.weight"])


@EVERY_KIND
def test_dictionaries_and_lists_of_other_classes(tmp_path: Path, read: Read) -> None:
    history = collections.defaultdict(list, {"loss": [1.0, np.float32(0.5)]})
    content = {"history": history, "last": collections.deque([1, 2], 5), "count": collections.Counter("aab")}
    raw = read(tmp_path / "w.pth", content)
    assert raw.content["history"] == {"loss": [1.0, 0.5]}
    assert raw.content["last"] == [1, 2]
    assert raw.content["count"] == {"a": 2, "b": 1}


def test_what_torch_admits_comes_as_it_was(tmp_path: Path) -> None:
    content = {
        "size": torch.Size([2, 3]),
        "set": {1, 2},
        "dtype": torch.float16,
        "device": torch.device("cpu"),
    }
    nested = {"tuple": (1, [torch.ones(2)]), "none": None, "complex": 1j, "bytes": b"a"}
    raw = zipped(tmp_path / "w.pth", content | {"nested": nested})
    assert {key: raw.content[key] for key in content} == content
    assert raw.content["nested"].pop("tuple")[1][0].tolist() == [1, 1]
    assert raw.content["nested"] == {"none": None, "complex": 1j, "bytes": b"a"}
    assert (raw.skipped, type(raw.content["size"])) == ((), torch.Size)


@EVERY_KIND
def test_skipped_in_lists_and_keys(tmp_path: Path, read: Read) -> None:
    content = {"runs": [Path("/a"), 2], "by_path": {Path("/b"): 1, "c": 2}}
    raw = read(tmp_path / "w.pth", content)
    assert raw.content["runs"] == [None, 2]
    assert raw.content["by_path"] == {"c": 2}
    assert raw.skipped == ("runs[0] (pathlib.PosixPath)", "by_path, a key (pathlib.PosixPath)")


def test_a_detector_with_extras_loads_and_the_report_names_them(tmp_path: Path) -> None:
    first, model = small_detector(), small_detector(seed=1)
    torch.save({"model": first.state_dict(), "args": argparse.Namespace(lr=1)}, tmp_path / "w.pth")
    report = Checkpointer(model).load(tmp_path / "w.pth", Purpose.USE)
    assert any("skipped: 1 (args (argparse.Namespace))" in note for note in report.notes)
    assert "args" not in report.extra
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), first.parameters(), strict=True))


def test_weights_as_arrays_in_a_torch_file(tmp_path: Path) -> None:
    torch.save({"model": {"conv.weight": np.ones((2, 3), np.float32)}}, tmp_path / "w.pth")
    assert torch.equal(read_weights(tmp_path / "w.pth").state["conv.weight"], torch.ones(2, 3))


class Method:
    """A bound class method is written as a call of getattr."""

    def __init__(self, owner: object, name: str) -> None:
        self.call = (getattr, (owner, name))

    def __reduce__(self) -> Any:
        return self.call


@EVERY_KIND
def test_getattr_reaches_into_stand_ins_alone(tmp_path: Path, read: Read) -> None:
    raw = read(tmp_path / "w.pth", {"method": Method(datetime.datetime, "now")})
    assert raw.skipped == ("method (datetime.datetime)",)
    for owner in ("text", STATE["conv.weight"] if read is not pickled else 3, collections.OrderedDict):
        with pytest.raises(ValueError, match="nothing in it was executed"):
            read(tmp_path / "w.pth", {"method": Method(owner, "__class__")})


@EVERY_KIND
def test_nothing_of_a_skipped_object_runs(tmp_path: Path, read: Read) -> None:
    """Its arguments are read by the same rules: a trap in them is refused."""

    class Trap:
        def __reduce__(self) -> Any:
            return eval, (f"open({str(tmp_path / 'executed')!r}, 'w')",)

    with pytest.raises(ValueError, match="nothing in it was executed"):
        read(tmp_path / "w.pth", {"args": argparse.Namespace(trap=Trap())})
    assert not (tmp_path / "executed").exists()


def test_the_stand_ins_do_not_stay_with_torch(tmp_path: Path) -> None:
    """Another's torch.load sees the names that it saw before."""
    before = set(torch.serialization.get_safe_globals())
    zipped(tmp_path / "w.pth", {"args": argparse.Namespace(lr=1)})
    assert set(torch.serialization.get_safe_globals()) == before
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "w.pth", weights_only=True)


def test_no_stand_in_is_the_thing_itself() -> None:
    """What a file may name is never what it would run: only plain containers and classes of this project."""
    for name, value in ADMITTED_BESIDE_TENSORS.items():
        assert value is collections.OrderedDict or value.__module__.startswith("maskrcnn_benchmark."), name
