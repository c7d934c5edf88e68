"""The rules that stand in for stored inputs, against stored check values."""

import pytest
import torch
from golden.reference import read_json
from golden.rules import CELL_ANCHORS, assert_matches_record, image_pixels, network_input, uniform, weight


def test_uniform_by_hand() -> None:
    """The same integer arithmetic, one number at a time with Python's integers."""
    import zlib

    def one(i: int) -> float:
        mask = 2**32 - 1
        h = (i * 2654435761 + zlib.crc32(b"some.key")) & mask
        h = ((h ^ (h >> 16)) * 2246822519) & mask
        h = ((h ^ (h >> 13)) * 3266489917) & mask
        return ((h ^ (h >> 16)) >> 8) / 2**24

    assert uniform("some.key", 50).tolist() == [one(i) for i in range(50)]


@pytest.mark.parametrize(
    "config", ["vovnet/e2e_mask_rcnn_V_39_FPN_2x.yaml", "e2e_mask_rcnn_R_50_FPN_2x.yaml"]
)
def test_weight_fill(config: str) -> None:
    entries = read_json("model/weight_fill_check.json")[config]
    for key, shape, first, total in entries:
        if CELL_ANCHORS in key:
            continue
        values = weight(key, tuple(shape))
        assert list(values.shape) == shape
        torch.testing.assert_close(values.flatten()[:4], torch.tensor(first), rtol=1e-6, atol=1e-9)
        assert abs(values.double().sum().item() - total) <= 1e-6 * values.double().abs().sum().item()


def test_input_image() -> None:
    check = read_json("model/input_image.json")
    pixels = image_pixels(check["height"], check["width"], check["which"])
    assert pixels[:, :4, :4].tolist() == check["u8_corner_3x4x4"]
    assert pixels.long().sum().item() == check["u8_sum"]
    tensor = network_input(check["height"], check["width"], check["which"])
    assert_matches_record(tensor, check["tensor"], "input", tolerance=1e-7)
