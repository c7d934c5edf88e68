"""Heads compute the slots in use alone, or every slot: the numbers are the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from modeling.test_c4 import C5_HEADS, SMALL, Options, build, targets
from torch import Tensor

from maskrcnn_benchmark.modeling.detector import GeneralizedRCNN
from maskrcnn_benchmark.modeling.losses import mean_losses
from maskrcnn_benchmark.modeling.roi_heads import regions
from maskrcnn_benchmark.modeling.roi_heads.regions import Regions
from maskrcnn_benchmark.structures.detections import Detections, Proposals
from maskrcnn_benchmark.structures.image_list import ImageList, to_image_list
from maskrcnn_benchmark.structures.targets import pad_targets

HEADS = {"C4, features shared": SMALL, "FPN heads": SMALL | C5_HEADS}
SAMPLING: Options = {"MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": 24, "MODEL.ROI_HEADS.POSITIVE_FRACTION": 0.5}
EPS = torch.finfo(torch.float32).eps  # the losses are float32


@pytest.fixture(scope="module", params=HEADS)
def model(request: pytest.FixtureRequest) -> GeneralizedRCNN:
    return build(HEADS[request.param] | SAMPLING).double()


@pytest.fixture
def images() -> ImageList:
    generator = torch.Generator().manual_seed(0)
    sizes = ((64, 96), (80, 72))
    drawn = [torch.randn((3, *size), generator=generator, dtype=torch.float64) for size in sizes]
    return to_image_list(drawn)


@pytest.fixture
def proposals() -> Proposals:
    """60 near the objects of `targets` in the first image; 9 in the second, unused slots between them."""
    generator = torch.Generator().manual_seed(0)
    centers = torch.tensor([[22.0, 22.0], [50.0, 40.0]])[torch.arange(60) % 2]
    corners = centers + 8 * torch.randn(2, 60, 2, generator=generator)
    sides = 10 + 25 * torch.rand(2, 60, 2, generator=generator)
    boxes = torch.cat([corners - sides / 2, corners + sides / 2], dim=2).clamp(min=0)
    boxes[1, 3] = torch.tensor([4.0, 6.0, 40.0, 41.0])  # a positive in the second image too
    valid = torch.ones(2, 60, dtype=torch.bool)
    valid[1] = torch.arange(60) % 7 == 3
    return Proposals(boxes, valid.float(), valid)


def counted_and_not(monkeypatch: pytest.MonkeyPatch, run: Callable[[], object]) -> list[object]:
    results = []
    for counted in (True, False):
        with monkeypatch.context() as patch:
            patch.setattr(regions, "counting_is_free", lambda used, counted=counted: counted)
            results.append(run())
    return results


@pytest.mark.parametrize("num_objects", [(2, 1), (0, 1), (0, 0)])
def test_losses_and_gradients(
    model: GeneralizedRCNN,
    images: ImageList,
    proposals: Proposals,
    num_objects: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = pad_targets(targets(num_objects))
    heads = model.train().roi_heads
    rows = []
    monkeypatch.setattr(Regions, "take", count_rows(rows))

    def run() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        model.zero_grad(set_to_none=True)
        torch.manual_seed(2)
        losses = mean_losses(heads.losses(model.backbone(images.tensors), proposals, wanted))
        sum(losses.values()).backward()
        return losses, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}

    (losses, gradients), (all_losses, all_gradients) = counted_and_not(monkeypatch, run)
    assert rows[0] < rows[len(rows) // 2] == 2 * 24, "the first run left padding out, the second did not"
    assert gradients.keys() == all_gradients.keys()
    # Sums of the same terms, and zeros, in another order: each term, and each addition, rounds once.
    limit = 2 * 2 * 24 * EPS
    for name, loss in losses.items():
        torch.testing.assert_close(loss, all_losses[name], rtol=limit, atol=0, msg=name)
    assert (losses["loss_mask"] > 0) == (num_objects != (0, 0))
    for name, gradient in gradients.items():
        scale = limit * gradient.abs().max().item()
        torch.testing.assert_close(gradient, all_gradients[name], rtol=0, atol=scale, msg=name)


def count_rows(rows: list[int]) -> Callable[[Regions, Tensor], Tensor]:
    """Regions.take, which notes how many rows came out."""
    take = Regions.take

    def counting(self: Regions, values: Tensor) -> Tensor:
        taken = take(self, values)
        rows.append(len(taken))
        return taken

    return counting


@torch.no_grad()
def test_detections(
    model: GeneralizedRCNN, images: ImageList, proposals: Proposals, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.eval()
    features = model.backbone(images.tensors)
    found, found_of_all = counted_and_not(
        monkeypatch, lambda: model.roi_heads.detect(features, proposals, images.sizes)
    )
    assert isinstance(found, Detections) and isinstance(found_of_all, Detections)
    assert found.valid.sum() > 20
    torch.testing.assert_close(found, found_of_all, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("counted", [True, False])
def test_fill_is_the_inverse_of_take(counted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regions, "counting_is_free", lambda used: counted)
    used = torch.tensor([[True, False, True], [False, False, True]])
    values = torch.arange(1.0, 13.0).view(2, 3, 2)
    slots = Regions((), torch.zeros(2, 3, 4), used)
    assert slots.take(values).tolist() == (values[used] if counted else values.flatten(0, 1)).tolist()
    expected = values * used.unsqueeze(2) if counted else values
    assert torch.equal(slots.fill(slots.take(values)), expected)
    assert slots.rois()[:, 0].tolist() == ([0, 0, 1] if counted else [0, -1, 0, -1, -1, 1])


def test_every_slot_is_computed_where_shapes_may_not_vary() -> None:
    used = torch.ones(2, 3, dtype=torch.bool)
    assert regions.counting_is_free(used)
    assert not regions.counting_is_free(used.to("meta"))
    inside = []

    def look(mask: Tensor) -> Tensor:
        inside.append(regions.counting_is_free(mask))
        return mask

    torch.compile(look, backend="eager", fullgraph=True)(used)
    assert inside == [False]
