"""results.json: the round trip, and every refusal by the path of the wrong value."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from maskrcnn_benchmark.benchmark.results import load_results, save_results, validate

STAGE_MS = {
    "to_device": 0.1,
    "backbone": 40.0,
    "fpn": 10.0,
    "rpn": 8.0,
    "box_head": 12.0,
    "mask_head": None,
    "post_processing": 1.0,
    "mask_pasting": None,
}


def plain_results() -> dict[str, Any]:
    """A file's content, written by hand from docs/benchmark.md."""
    row = {
        "name": "faster-R-50",
        "implementation": "maskrcnn_benchmark",
        "config": "configs/a.yaml",
        "backbone": "R-50-FPN",
        "detector": "Faster R-CNN",
        "dtype": "float32",
        "computed_in": "float32",
        "status": "ok",
        "reason": "",
        "notes": [],
        "seconds": 12.5,
        "parameters": 41_000_000,
        "macs": {"by_stage": {"backbone": 90, "fpn": 10}, "total": 100, "image_hw": [800, 1216]},
        "load": {"proposals": 1000.0, "detections": 99.5, "how": "random weights"},
        "inference": {
            "median_ms": 71.0,
            "p90_ms": 72.0,
            "num_images": 2,
            "times_ms": [70.0, 72.0],
            "split": STAGE_MS,
        },
        "throughput": [{"batch_size": 4, "images_per_second": None}],
        "training_memory": {
            "label": "peak allocated",
            "allocated_mib": 3000.0,
            "reserved_mib": 3500.0,
            "steps": 20,
            "peak_rss_mib": None,
            "idle_rss_mib": None,
            "breakdown": [{"module": "backbone.body.stem", "mib": 12.0, "tensors": 3}],
            "peak_tensors_mib": None,
        },
        "training_throughput": {
            "per_process": 10.0,
            "total": 20.0,
            "num_processes": 2,
            "step_seconds": [0.2, 0.2],
        },
        "ap": {
            "dataset": "coco_2017_val",
            "num_images": 5000,
            "weights": "a.pth",
            "mask": None,
            "box": {"AP": 0.375, "APs": None},
        },
    }
    environment = {
        "date": "2025-01-01T00:00:00+00:00",
        "commit": "abc",
        "device_type": "cuda",
        "device": "GPU",
        "processor": "CPU",
        "num_cores": 8,
        "num_threads": 8,
        "num_processes": 2,
        "memory_mib": 1000.0,
        "system": "Linux",
        "python": "3.11",
        "torch": "2.11",
        "torchvision": "0.29",
        "cuda": "13.0",
        "cudnn": None,
        "driver": "580",
        "operators": "compiled",
        "state": {"power limit": "700 W"},
    }
    settings = {
        "steps": 20,
        "images": 2,
        "batch_sizes": [4],
        "dtypes": ["float32"],
        "quick": False,
        "images_per_process": 2,
        "short_side": 800,
        "long_side": 1333,
        "dataset": None,
        "peers": [],
        "sizes_from": "COCO statistics",
        "weights_dir": None,
        "memory_breakdown": True,
        "seed": 0,
    }
    return {
        "schema_version": 1,
        "environment": environment,
        "settings": settings,
        "protocol": {"inference": "Batch 1."},
        "rows": [row],
        "peers": [],
    }


def changed(path: str, value: Any) -> dict[str, Any]:
    """The content with the entry at a path (keys and indices joined by dots) set; ... removes it."""
    plain = copy.deepcopy(plain_results())
    *parents, last = path.split(".")
    place: Any = plain
    for step in parents:
        place = place[int(step)] if isinstance(place, list) else place[step]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return plain


def test_round_trip(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    save_results(file, validate(plain_results()))
    assert json.loads(file.read_text()) == plain_results()
    results = load_results(file)
    assert results.rows[0].inference is not None
    assert results.rows[0].inference.times_ms == (70.0, 72.0)
    assert results == validate(plain_results())
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_a_file_from_before_tensors_were_counted_can_be_read() -> None:
    assert validate(changed("rows.0.training_memory.peak_tensors_mib", ...)) == validate(plain_results())


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("schema_version", 7, "schema_version: 7 is not 1"),
        ("schema_version", ..., "schema_version: None is not 1"),
        ("rows.0.inference.median_ms", "fast", r"rows\[0\].inference.median_ms: 'fast' is not a finite"),
        ("rows.0.inference.median_ms", float("nan"), r"rows\[0\].inference.median_ms: nan"),
        ("rows.0.inference.p90_ms", -1.0, r"rows\[0\].inference.p90_ms: -1.0"),
        ("rows.0.inference.num_images", 1.5, r"rows\[0\].inference.num_images: 1.5 is not a whole number"),
        ("rows.0.inference.num_images", True, r"rows\[0\].inference.num_images: True"),
        ("rows.0.inference.split.rpn", None, r"rows\[0\].inference.split.rpn: None"),
        ("rows.0.status", "fine", r"rows\[0\].status: 'fine' is not one of 'ok', 'out_of_memory', 'failed'"),
        ("rows.0.ap.box", {"AP": "high"}, r"rows\[0\].ap.box\['AP'\]: 'high'"),
        ("rows.0.training_memory.peak_tensors_mib", -1, r"rows\[0\].training_memory.peak_tensors_mib: -1"),
        ("rows.0.training_memory.peak_rss_mib", ..., r"rows\[0\].training_memory.peak_rss_mib: missing"),
        ("rows.0.throughput", {}, r"rows\[0\].throughput: \{\} is not a list"),
        ("rows.0.backbone", ..., r"rows\[0\].backbone: missing"),
        ("rows.0.colour", "red", r"rows\[0\].colour: unknown entry"),
        ("environment.device_type", "tpu", "environment.device_type: 'tpu'"),
        ("environment", [], "environment: .* is not an object"),
        ("settings.quick", 0, "settings.quick: 0 is not true or false"),
        ("peers", None, "peers: None is not a list"),
    ],
)
def test_a_wrong_value_is_named_by_its_path(path: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        validate(changed(path, value))


def test_files_that_are_no_results(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        load_results(tmp_path / "absent.json")
    (tmp_path / "text.json").write_text("AP 40")
    with pytest.raises(ValueError, match="is no JSON file"):
        load_results(tmp_path / "text.json")
    (tmp_path / "other.json").write_text("[]")
    with pytest.raises(ValueError, match=r"other.json: schema_version: None is not 1"):
        load_results(tmp_path / "other.json")
