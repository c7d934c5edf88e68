"""The predictions for one image in its own frame: what evaluators score, processes send and pictures show.

A detector predicts in the frame of the resized image that it was given, with masks at the network's own
resolution. `image_predictions` takes one image's predictions to the frame of the original image and encodes
the masks at once, so that nothing of the size of the image is kept or sent between processes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypedDict

import numpy as np
from torch import Tensor

from maskrcnn_benchmark.layers import paste_masks_rle
from maskrcnn_benchmark.structures.bounding_box import BoxList

MASK_THRESH = 0.5
MASK_PADDING = 1


class RLE(TypedDict):
    """COCO's compressed run-length code of a binary mask; `size` is (height, width)."""

    size: list[int]
    counts: bytes


class ImagePredictions(NamedTuple):
    """D detections of one image in the frame of the original image; small enough to send around.

    boxes: [D, 4] float32, x, y, width, height; scores: [D] float32; category_ids: [D] int64, the keys of the
    dataset's `categories`; rles: D masks, or None where the detector has no masks; fields: D entries each of
    what heads of a user's own predict, as far as the evaluator asked for them.
    """

    image_id: int
    boxes: np.ndarray
    scores: np.ndarray
    category_ids: np.ndarray
    rles: list[RLE] | None
    fields: Mapping[str, Any] = {}


def image_predictions(
    prediction: BoxList,
    image_id: int,
    image_hw: tuple[int, int],
    label_to_category_id: Callable[[int], int],
    with_masks: bool,
    fields: Sequence[str] = (),
) -> ImagePredictions:
    """Takes the detections of one image from the network's frame to that of the original image.

    Args:
        prediction: boxes with "scores" and "labels" and, for `with_masks`, "mask" [D, 1, M, M] probabilities.
        image_hw: height and width of the original image.
        label_to_category_id: from the detector's labels (1, 2, ...) to the dataset's category ids.
        fields: names of other fields to take along; tensors become arrays, floating point in float32.

    Raises:
        ValueError: masks or fields are asked for and the detector gave none.
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
        fields={name: _own_field(prediction, name) for name in fields},
    )


def _own_field(prediction: BoxList, name: str) -> Any:
    if not prediction.has_field(name):
        known = ", ".join(prediction.fields())
        raise ValueError(f"the evaluator asks for the field {name!r}; the detector's are: {known}")
    values = prediction.get_field(name)
    if not isinstance(values, Tensor):
        return values
    return (values.float() if values.is_floating_point() else values).numpy()


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
