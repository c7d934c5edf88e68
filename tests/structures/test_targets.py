"""Padded targets hold what the lists hold, and nothing else."""

import pytest
import torch

from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask
from maskrcnn_benchmark.structures.targets import pad_targets


def target(count: int, seed: int, masks: bool = True) -> BoxList:
    generator = torch.Generator().manual_seed(seed)
    boxes = BoxList(torch.rand((count, 4), generator=generator), (40, 30))
    boxes.add_field("labels", torch.randint(1, 9, (count,), generator=generator))
    if masks:
        polygons = [
            [torch.rand(2 * (3 + k), generator=generator).tolist() for k in range(1 + (g + seed) % 3)]
            for g in range(count)
        ]
        boxes.add_field("masks", SegmentationMask(polygons, (40, 30)))
    return boxes


@pytest.mark.parametrize("counts", [(3, 0, 11), (8,), (0, 0), (1, 16)])
def test_every_object_lies_in_its_slot(counts: tuple[int, ...]) -> None:
    lists = [target(count, seed) for seed, count in enumerate(counts)]
    padded = pad_targets(lists)
    slots = padded.boxes.shape[1]
    assert slots % 8 == 0 and slots >= 8 and slots < max(counts) + 8 + (max(counts) == 0)
    assert padded.polygons is not None
    coords, polygon_starts, instance_starts = padded.polygons
    assert polygon_starts.dtype == instance_starts.dtype == torch.int32
    assert len(instance_starts) == len(lists) * slots + 1
    for n, boxes in enumerate(lists):
        assert padded.valid[n].tolist() == [g < len(boxes) for g in range(slots)]
        assert torch.equal(padded.boxes[n, : len(boxes)], boxes.bbox)
        assert torch.equal(padded.labels[n, : len(boxes)], boxes.get_field("labels"))
        assert not padded.boxes[n, len(boxes) :].any() and not padded.labels[n, len(boxes) :].any()
        for g in range(slots):
            first, last = instance_starts[n * slots + g], instance_starts[n * slots + g + 1]
            found = [coords[polygon_starts[q] : polygon_starts[q + 1]].tolist() for q in range(first, last)]
            masks = boxes.get_field("masks")
            assert found == ([p.tolist() for p in masks.polygons(g)] if g < len(boxes) else [])


def test_boxes_without_masks_and_other_multiples() -> None:
    padded = pad_targets([target(5, 0, masks=False), BoxList([], (9, 9))], multiple=4)
    assert padded.boxes.shape == (2, 8, 4)
    assert padded.polygons is None
    assert padded.valid.sum() == 5


def test_corners_whatever_the_mode() -> None:
    boxes = BoxList([[1, 2, 30, 20], [5, 5, 9, 28]], (40, 30))
    boxes.add_field("labels", torch.tensor([1, 2]))
    assert torch.allclose(pad_targets([boxes.convert("xywh")]).boxes[0, :2], boxes.bbox, atol=1e-6)


def test_what_cannot_be_padded_is_named() -> None:
    with pytest.raises(ValueError, match="some do not"):
        pad_targets([target(1, 0), target(1, 1, masks=False)])
    with pytest.raises(ValueError, match="labels"):
        pad_targets([BoxList([[0, 0, 1, 1]], (9, 9))])


def test_named_fields_are_padded_with_zeros() -> None:
    first, second, third = (BoxList([[0, 0, 9, 9]] * count, (20, 20)) for count in (3, 0, 1))
    for boxlist in (first, third):
        boxlist.add_field("labels", torch.ones(len(boxlist), dtype=torch.int64))
        boxlist.add_field("points", torch.arange(1, 2 * len(boxlist) + 1).view(-1, 2))
    padded = pad_targets([first, second, third], fields=("points",)).fields["points"]
    assert padded.shape == (3, 8, 2)
    assert padded.dtype == torch.int64
    assert padded[0, :3].tolist() == [[1, 2], [3, 4], [5, 6]]
    assert padded[2, 0].tolist() == [1, 2]
    assert padded.count_nonzero() == 8
    assert pad_targets([first, second, third]).fields == {}
    assert pad_targets([second], fields=("points",)).fields == {}
    with pytest.raises(ValueError, match=r"target 2 .*no field 'points'"):
        del third.extra_fields["points"]
        pad_targets([first, second, third], fields=("points",))
