"""Masks of a very large image are encoded one after the other, never as a stack of full images."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = """
import torch
from maskrcnn_benchmark.data.datasets.coco.result_files import coco_records
from maskrcnn_benchmark.structures.image_predictions import image_predictions
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.utils.device import peak_rss

torch.set_num_threads(1)
n, height, width = 100, 4000, 8000
generator = torch.Generator().manual_seed(0)
corners = torch.rand(n, 2, generator=generator) * 200
boxes = torch.cat([corners, corners + torch.tensor([1100.0, 450.0])], dim=1)
masks = torch.nn.functional.interpolate(torch.rand(n, 1, 7, 7, generator=generator), size=28, mode="bilinear")

def encode(count, image_hw):
    prediction = BoxList(boxes[:count], (1333, 667), mode="xyxy")
    prediction.add_field("scores", torch.ones(count))
    prediction.add_field("labels", torch.ones(count, dtype=torch.int64))
    prediction.add_field("mask", masks[:count])
    return list(coco_records([image_predictions(prediction, 1, image_hw, int, True)], "segm"))

encode(2, (100, 100))
before = peak_rss()
records = encode(n, (height, width))
assert [record["segmentation"]["size"] for record in records] == [[height, width]] * n
print(peak_rss() - before)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="peak memory is read from /proc")
def test_large_image_stays_small() -> None:
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=300, check=False
    )
    assert run.returncode == 0, run.stderr
    grown = float(run.stdout.split()[-1])
    stack = 100 * 4000 * 8000 / 2**20
    assert grown < stack / 8, f"{grown:.0f} MiB for masks that take {stack:.0f} MiB as full images"
