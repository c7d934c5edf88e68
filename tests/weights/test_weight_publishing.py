"""The publishable form: what it holds, that it is enough, and that it is written whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import save_file
from weights.small_detector import small_config, small_detector

from maskrcnn_benchmark.models.loaded_detector import load_detector
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.utils.disk_space import DiskFullError
from maskrcnn_benchmark.weights.checkpoint import Checkpointer, DetectronCheckpointer, save_plain
from maskrcnn_benchmark.weights.provenance import provenance_of
from maskrcnn_benchmark.weights.publish import save_publishable
from maskrcnn_benchmark.weights.sources.read import read_weights

NAMES = ("__background__", "circle", "square", "triangle")
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "image.png"), cv2.GaussianBlur(pixels, (9, 9), 3))
    return tmp_path / "image.png"


def run_folder(folder: Path) -> Checkpointer:
    cfg = small_config(4, "OUTPUT_DIR", str(folder), "MODEL.WEIGHT", "/secret/place/w.pth")
    return DetectronCheckpointer(cfg, small_detector(), save_dir=folder, class_names=NAMES)


def test_what_it_holds(tmp_path: Path) -> None:
    checkpointer = run_folder(tmp_path)
    path = checkpointer.publish("model_final", 7, {"shapes_val/bbox/AP": 0.25})
    with safe_open(path, "pt") as opened:
        metadata = opened.metadata()
        assert set(opened.keys()) == set(checkpointer.model.state_dict())
    assert (metadata["format"], metadata["version"], metadata["iteration"]) == (
        "maskrcnn_benchmark",
        "1",
        "7",
    )
    assert json.loads(metadata["class_names"]) == list(NAMES)
    assert json.loads(metadata["metrics"]) == {"shapes_val/bbox/AP": 0.25}
    assert metadata["row"] == "V-27-slim-FPN Mask R-CNN"
    config = yaml.safe_load(metadata["config"])
    assert config["MODEL"]["BACKBONE"]["CONV_BODY"] == "V-27-slim-FPN"
    # nothing of the machine it was trained on
    assert (config["OUTPUT_DIR"], config["MODEL"]["WEIGHT"], config["MODEL"]["DEVICE"]) == (".", "", "auto")
    assert "secret" not in path.read_bytes().decode("latin1")
    assert str(tmp_path) not in path.read_bytes().decode("latin1")


FRESH = """
import sys, torch
from maskrcnn_benchmark.models.loaded_detector import load_detector
torch.set_num_threads(1)
(boxes,) = load_detector(sys.argv[1], "cpu")(sys.argv[2])
torch.save({name: boxes.get_field(name) for name in boxes.fields()} | {"bbox": boxes.bbox}, sys.argv[3])
"""


def fields_of(boxes: BoxList) -> dict[str, torch.Tensor]:
    return {name: boxes.get_field(name) for name in boxes.fields()} | {"bbox": boxes.bbox}


def test_a_fresh_process_finds_bitwise_the_same(tmp_path: Path, image: Path) -> None:
    """Saved here, stripped, loaded there from that one file: every number of every detection is the same."""
    checkpoint = run_folder(tmp_path).save("model_final", iteration=3)
    assert checkpoint is not None
    detector = load_detector(checkpoint, "cpu")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        (here,) = detector(str(image))
    finally:
        torch.set_num_threads(threads)
    assert len(here) > 0
    assert here.has_field("mask")
    stripped = tmp_path / "published.safetensors"
    tool = Path(__file__).parents[2] / "tools" / "weights.py"
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    for command in (
        [sys.executable, str(tool), "strip", str(checkpoint), str(stripped)],
        [sys.executable, "-c", FRESH, str(stripped), str(image), str(tmp_path / "there.pth")],
    ):
        subprocess.run(command, check=True, env=environment, timeout=300, capture_output=True)
    there = torch.load(tmp_path / "there.pth", weights_only=True)
    mine = fields_of(here)
    assert mine.keys() == there.keys()
    assert all(torch.equal(mine[name], there[name]) for name in mine)


def test_a_loaded_detector(tmp_path: Path, image: Path) -> None:
    checkpointer = run_folder(tmp_path)
    path = checkpointer.publish("model_final")
    assert path is not None
    detector = load_detector(path, "cpu")
    assert detector.class_names == NAMES
    assert detector.cfg.MODEL.ROI_BOX_HEAD.NUM_CLASSES == 4
    pixels = cv2.imread(str(image))
    from_path, from_array = detector([str(image), pixels])
    (from_tensor,) = detector(torch.from_numpy(pixels).permute(2, 0, 1))
    for boxes in (from_array, from_tensor):
        assert torch.equal(boxes.bbox, from_path.bbox)
    assert from_path.size == (120, 90)
    # by hand: short side 64, normalised, in the image's own frame again
    model = checkpointer.model
    small = torch.nn.functional.interpolate(
        torch.from_numpy(pixels).permute(2, 0, 1)[None], size=(64, 85), mode="bilinear", antialias=True
    )
    with torch.no_grad():
        (expected,) = model([small[0]])
    expected = expected.resize((120, 90))
    torch.testing.assert_close(from_path.bbox, expected.bbox, rtol=1e-4, atol=1e-3)
    assert torch.equal(from_path.get_field("labels"), expected.get_field("labels"))
    with pytest.raises(ValueError, match=r"shape \(90, 120\) and dtype uint8: give an array \[H, W, 3\]"):
        detector(pixels[:, :, 0])
    with pytest.raises(ValueError, match="cannot be read"):
        detector("nowhere.png")
    fewer = load_detector(path, "cpu", ["MODEL.ROI_HEADS.DETECTIONS_PER_IMG", "3"])
    assert len(fewer(pixels)[0]) == 3


def test_a_file_without_config_says_so(tmp_path: Path) -> None:
    torch.save({"model": small_detector().state_dict()}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match="holds no config"):
        load_detector(tmp_path / "w.pth")


def test_a_checkpoint_holds_what_the_published_file_does(tmp_path: Path) -> None:
    path = run_folder(tmp_path).save("model_final", iteration=3)
    content = read_weights(path).content
    assert (content["format"], content["version"], content["iteration"]) == ("maskrcnn_benchmark", 1, 3)
    assert content["class_names"] == list(NAMES)
    assert yaml.safe_load(content["config"])["MODEL"]["BACKBONE"]["CONV_BODY"] == "V-27-slim-FPN"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("class_names", "3"),
        ("class_names", '["a",'),
        ("config", "a: [b"),
        ("config", "3"),
        ("requires", "[1]"),
        ("requires", "3"),
    ],
)
def test_a_damaged_description_is_refused(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"a": torch.ones(1)}, path, {"format": "maskrcnn_benchmark", "version": "1", name: text})
    with pytest.raises(ValueError, match=rf"w\.safetensors': its {name} is damaged"):
        provenance_of(read_weights(path))


def test_one_tensor_under_two_names_is_written_once(tmp_path: Path) -> None:
    weight = torch.arange(4.0)
    part = torch.arange(8.0)
    state = {"a": weight, "b": weight, "c": part[:4], "d": part[4:], "e": torch.empty(0)}
    save_publishable(tmp_path / "w.safetensors", state)
    found = read_weights(tmp_path / "w.safetensors").state
    assert set(found) == {"a", "c", "d", "e"}
    assert found["d"].tolist() == [4, 5, 6, 7]


# A full disk.


@pytest.mark.parametrize("form", ["pth", "safetensors"])
def test_no_room_is_seen_before_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    checkpointer = run_folder(tmp_path)
    write = checkpointer.save if form == "pth" else checkpointer.publish
    write("model_final")
    before = (tmp_path / f"model_final.{form}").read_bytes()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9 - 2**20, 2**20))
    with pytest.raises(DiskFullError, match=r"needs [\d.]+ MiB, 1\.0 MiB are free, [\d.]+ MiB are missing"):
        write("model_final")
    assert (tmp_path / f"model_final.{form}").read_bytes() == before
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("form", ["pth", "safetensors"])
def test_a_disk_that_fills_while_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, code: int
) -> None:
    """The system refuses in the middle of the file: the previous one stays, and it is still the last."""
    checkpointer = run_folder(tmp_path)
    write = checkpointer.save if form == "pth" else checkpointer.publish
    write("model_final")
    before = (tmp_path / f"model_final.{form}").read_bytes()
    monkeypatch.setattr("builtins.open", full_disk(open, 100_000, code))
    with pytest.raises(
        DiskFullError, match=r"the disk is full: .* needs .* what was there before is unharmed"
    ):
        write("model_final" if form == "safetensors" else "model_0000009")
    monkeypatch.undo()
    assert (tmp_path / f"model_final.{form}").read_bytes() == before
    assert not list(tmp_path.glob("*.tmp"))
    assert not (tmp_path / "model_0000009.pth").exists()
    if form == "pth":
        assert (tmp_path / "last_checkpoint").read_text() == "model_final.pth"
        assert checkpointer.get_checkpoint_file() == str(tmp_path / "model_final.pth")


def full_disk(really_open: object, room: int, code: int) -> object:
    """An `open` whose binary files take `room` bytes and then fail as the system's do."""

    def opened(path: object, mode: str = "r", *args: object, **kwargs: object) -> object:
        file = really_open(path, mode, *args, **kwargs)  # type: ignore[operator]
        if mode != "wb":
            return file
        written = 0
        write = file.write

        def limited(data: bytes) -> int:
            nonlocal written
            written += len(data)
            if written > room:
                raise OSError(code, os.strerror(code))
            return int(write(data))

        return WriteStandIn(file, limited)

    return opened


class WriteStandIn:
    """A file with another write."""

    def __init__(self, file: object, write: object) -> None:
        self.file, self.write = file, write

    def __getattr__(self, name: str) -> object:
        return getattr(self.file, name)

    def __enter__(self) -> WriteStandIn:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()  # type: ignore[attr-defined]


def test_other_errors_of_writing_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        save_plain(tmp_path / "nowhere" / "x.pth", {"a": 1})
