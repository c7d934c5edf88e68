"""From a detector's `BoxList` to what COCO's result files hold.

A detector answers in the frame of the resized image it was given, with masks at the network's own
resolution. `image_predictions` brings one image's answer into the frame of the original image and
encodes its masks at once, so that nothing of the size of the image is kept or sent between processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, TypedDict

import numpy as np

from maskrcnn_benchmark.layers import paste_masks_rle
from maskrcnn_benchmark.structures.bounding_box import BoxList

MASK_THRESH = 0.5
MASK_PADDING = 1


class RLE(TypedDict):
    """COCO's compressed run-length code of a binary mask; `size` is (height, width)."""

    size: list[int]
    counts: bytes


class ImagePredictions(NamedTuple):
    """n detections of one image in the frame of the original image; small enough to send around.

    boxes: [n, 4] float32, x, y, width, height; scores: [n] float32; category_ids: [n] int64, the ids of
    the annotation file; rles: n masks, or None where the detector has no masks.
    """

    image_id: int
    boxes: np.ndarray
    scores: np.ndarray
    category_ids: np.ndarray
    rles: list[RLE] | None


def image_predictions(
    prediction: BoxList,
    image_id: int,
    image_hw: tuple[int, int],
    label_to_category_id: Callable[[int], int],
    with_masks: bool,
) -> ImagePredictions:
    """Detections of one image, taken from the network's frame to the original image's.

    Args:
        prediction: boxes with "scores" and "labels" and, for `with_masks`, "mask" [n, 1, M, M] probabilities.
        image_hw: height and width of the original image.
        label_to_category_id: from the detector's labels (1...) to the annotation file's category ids.

    Raises:
        ValueError: masks are asked for and the detector gave none.
    """
    height, width = image_hw
    prediction = prediction.to("cpu").resize((width, height))
    rles: list[RLE] | None = None
    if with_masks:
        rles = _encode_masks(prediction.convert("xyxy"), image_hw)
    labels = prediction.get_field("labels").tolist()
    return ImagePredictions(
        image_id=image_id,
        boxes=prediction.convert("xywh").bbox.float().numpy(),
        scores=prediction.get_field("scores").float().numpy(),
        category_ids=np.array([label_to_category_id(label) for label in labels], dtype=np.int64),
        rles=rles,
    )


def _encode_masks(prediction: BoxList, image_hw: tuple[int, int]) -> list[RLE]:
    if len(prediction) == 0:
        return []
    if not prediction.has_field("mask"):
        raise ValueError(
            "iou_types names 'segm' and the detector gave no masks; "
            "use ('bbox',), or a model with MODEL.MASK_ON True"
        )
    masks = prediction.get_field("mask").float()
    rles: list[RLE] = paste_masks_rle(masks, prediction.bbox.float(), image_hw, MASK_THRESH, MASK_PADDING)
    return rles


def coco_records(predictions: Iterable[ImagePredictions], iou_type: str) -> Iterator[dict[str, Any]]:
    """The records of COCO's result files: with a "bbox", or with a "segmentation", never both.

    A record with both would be scored by its box's area instead of its mask's.
    """
    for image in predictions:
        if iou_type == "bbox":
            shapes: list[Any] = image.boxes.tolist()
        else:
            assert image.rles is not None, "predictions without masks asked for their masks"
            shapes = [{"size": rle["size"], "counts": rle["counts"].decode("ascii")} for rle in image.rles]
        key = "bbox" if iou_type == "bbox" else "segmentation"
        for category_id, score, shape in zip(
            image.category_ids.tolist(), image.scores.tolist(), shapes, strict=True
        ):
            yield {"image_id": image.image_id, "category_id": category_id, key: shape, "score": score}
