"""What an annotation file is if it is no COCO instance file, and the numbers of those that are."""

from __future__ import annotations

from typing import Any

Record = dict[str, Any]
LOOKED_AT = 50  # records of a kind
WHOLE = {  # values that exports also write as 96.0
    "images": ("id", "width", "height"),
    "annotations": ("id", "image_id", "category_id"),
    "categories": ("id",),
}


def other_kind(content: object) -> str:
    """What a file that cannot be trained on is, and what to give instead; "" where that is not known."""
    if isinstance(content, list):
        first = content[0] if content else None
        if isinstance(first, dict) and "image_id" in first and ("score" in first or "category_id" in first):
            return (
                "a list of detections (a results file), not annotations; give the annotation file that "
                "holds 'images', 'annotations' and 'categories'"
            )
        return ""
    if not isinstance(content, dict):
        return ""
    without_box = [record for record in _records(content, "annotations") if "bbox" not in record]
    for key, what, instead in (
        ("segments_info", "a panoptic file, whose masks are pictures", "give the instance file of this data"),
        ("caption", "a file of captions", "give the instance file of this data"),
        ("keypoints", "a file of key points without boxes", "add a bbox to every annotation"),
    ):
        if without_box and all(key in record for record in without_box):
            return f"{what} (annotations have {key!r} and no 'bbox'); {instead}"
    images = [record for record in _records(content, "images") if "file_name" not in record]
    if images and all("coco_url" in record for record in images):
        return (
            "an LVIS file, whose images have 'coco_url' and no 'file_name'; give every image the file_name "
            "that ends its coco_url, such as 'train2017/000000391895.jpg'"
        )
    return ""


def take_whole_numbers(content: Record) -> None:
    """Turns ids and sizes such as 96.0 into whole numbers, in place; what is none stays."""
    for name, keys in WHOLE.items():
        for record in content[name]:
            for key in keys:
                value = record.get(key)
                if type(value) is float and value.is_integer():
                    record[key] = int(value)


def _records(content: Record, name: str) -> list[Record]:
    records = content.get(name)
    if not isinstance(records, list):
        return []
    return [record for record in records[:LOOKED_AT] if isinstance(record, dict)]
