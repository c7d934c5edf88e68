"""Time of COCO's evaluation: the compiled evaluator beside pycocotools, on the same detections.

    python benchmarks/coco_eval.py                                  # drawn data: 500 images, 80 classes
    python benchmarks/coco_eval.py --annotations instances.json     # a file, its objects moved as detections

Timed is what follows the loading of the ground truth: loading the detections, matching, accumulating.
Ends with an error where a number differs.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import hotcoco
import numpy as np
from common import report, table
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

DETECTIONS_PER_IMAGE = 100


def ellipse(centre: np.ndarray, radii: np.ndarray) -> list[float]:
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    return (centre + radii * np.stack([np.cos(angle), np.sin(angle)], axis=1)).round(2).flatten().tolist()


def draw_annotations(rng: np.random.Generator, num_images: int) -> dict[str, Any]:
    """Ellipses on images of 640 x 480, 7 an image as in COCO, one in fifty a crowd."""
    images, annotations = [], []
    for image_id in range(1, num_images + 1):
        images.append({"id": image_id, "file_name": f"{image_id}.jpg", "width": 640, "height": 480})
        for _ in range(7):
            radii = np.exp(rng.uniform(np.log(5), np.log(110), size=2))
            centre = rng.uniform((110, 110), (530, 370))
            polygon = ellipse(centre, radii)
            annotation = {
                "id": len(annotations) + 1,
                "image_id": image_id,
                "category_id": int(rng.integers(1, 81)),
                "bbox": [*(centre - radii).tolist(), *(2 * radii).tolist()],
                "area": float(np.pi * radii.prod()),
                "iscrowd": int(rng.random() < 0.02),
                "segmentation": [polygon],
            }
            if annotation["iscrowd"]:
                rle = coco_mask.frPyObjects([polygon], 480, 640)[0]
                annotation["segmentation"] = {"size": rle["size"], "counts": rle["counts"].decode()}
            annotations.append(annotation)
    categories = [{"id": i, "name": f"class {i}"} for i in range(1, 81)]
    return {"images": images, "annotations": annotations, "categories": categories}


def draw_records(rng: np.random.Generator, content: dict[str, Any], iou_type: str) -> list[dict[str, Any]]:
    """Per image 100 detections: its objects moved a little or a lot, four in five with the right class."""
    sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    category_ids = [category["id"] for category in content["categories"]]
    objects: dict[int, list[dict[str, Any]]] = {}
    for annotation in content["annotations"]:
        objects.setdefault(annotation["image_id"], []).append(annotation)
    records = []
    for image_id, present in objects.items():
        for number in range(DETECTIONS_PER_IMAGE):
            chosen = present[number % len(present)]
            x, y, w, h = chosen["bbox"]
            moved = np.array([x, y, w, h]) + rng.normal(
                scale=0.03 * (1 + number // len(present)), size=4
            ) * max(w, h)
            moved[2:] = np.maximum(moved[2:], 2)
            category_id = chosen["category_id"] if rng.random() < 0.8 else int(rng.choice(category_ids))
            record = {"image_id": image_id, "category_id": category_id, "score": float(rng.random())}
            if iou_type == "bbox":
                record["bbox"] = moved.tolist()
            else:
                polygon = ellipse(moved[:2] + moved[2:] / 2, moved[2:] / 2)
                rle = coco_mask.frPyObjects([polygon], *sizes[image_id])[0]
                record["segmentation"] = {"size": rle["size"], "counts": rle["counts"].decode()}
            records.append(record)
    return records


def with_pycocotools(path: str, records: list[dict[str, Any]], iou_type: str) -> tuple[np.ndarray, float]:
    with contextlib.redirect_stdout(io.StringIO()):
        ground_truth = COCO(path)
        detections = copy.deepcopy(records)
        start = time.perf_counter()
        evaluator = COCOeval(ground_truth, ground_truth.loadRes(detections), iou_type)
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return evaluator.stats, time.perf_counter() - start


def with_hotcoco(path: str, records: list[dict[str, Any]], iou_type: str) -> tuple[np.ndarray, float]:
    ground_truth = hotcoco.COCO(path)
    start = time.perf_counter()
    evaluator = hotcoco.COCOeval(ground_truth, ground_truth.load_res(records), iou_type)
    evaluator.evaluate()
    evaluator.accumulate()
    evaluator.summary_lines()
    return np.asarray(evaluator.stats), time.perf_counter() - start


def repeated(run: Callable[[], tuple[np.ndarray, float]], times: int) -> tuple[np.ndarray, float]:
    outcomes = [run() for _ in range(times)]
    return outcomes[0][0], statistics.median(seconds for _, seconds in outcomes)


def compare(path: str, content: dict[str, Any], rng: np.random.Generator, times: int) -> list[list[object]]:
    """A row for boxes and one for masks; SystemExit where one of the twelve numbers differs."""
    rows: list[list[object]] = []
    for iou_type in ("bbox", "segm"):
        records = draw_records(rng, content, iou_type)
        expected, slow = repeated(lambda r=records, t=iou_type: with_pycocotools(path, r, t), times)
        stats, fast = repeated(lambda r=records, t=iou_type: with_hotcoco(path, r, t), times)
        if stats.tolist() != expected.tolist():
            raise SystemExit(f"{iou_type}: the numbers differ:\n{expected}\n{stats}")
        counts = [iou_type, len(content["images"]), len(records)]
        rows.append([*counts, f"{slow:.2f}", f"{fast:.3f}", f"{slow / fast:.0f}", f"{stats[0]:.4f}"])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--annotations", help="a COCO instance file instead of drawn data")
    parser.add_argument("--images", type=int, default=500, help="drawn images")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each evaluator; the median counts")
    parser.add_argument("--output", help="path without suffix for the .md and .json")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = args.annotations or os.path.join(folder, "drawn.json")
        if not args.annotations:
            with open(path, "w", encoding="utf-8") as file:
                json.dump(draw_annotations(rng, args.images), file)
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
        rows = compare(path, content, rng, args.repeat)
    header = ["IoU type", "images", "detections", "pycocotools s", "hotcoco s", "ratio", "AP"]
    note = f"hotcoco {hotcoco.__version__} beside pycocotools; all twelve numbers equal."
    report("COCO evaluation", [note], table(header, rows), {"rows": rows}, args.output)


if __name__ == "__main__":
    main()
