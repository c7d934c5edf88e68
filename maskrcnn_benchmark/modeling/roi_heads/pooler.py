"""Region features from the pyramid level that suits a region's size (Lin et al., FPN, section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.layers import multilevel_roi_align
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.detections import boxlists_to_rois


class Pooler(nn.Module):
    """RoIAlign over all levels in one call."""

    def __init__(
        self,
        output_size: tuple[int, int],
        scales: Sequence[float],
        sampling_ratio: int,
        channels_last: bool = True,
    ) -> None:
        """`scales`: size of each feature map relative to the image, finest first.

        `channels_last`: memory format of the result; False suits a fully connected layer that flattens it.
        """
        super().__init__()
        self.output_size = output_size
        self.scales = tuple(scales)
        self.sampling_ratio = sampling_ratio
        self.channels_last = channels_last

    def forward(self, features: Sequence[Tensor], rois: Tensor | Sequence[BoxList]) -> Tensor:
        """Region features [K, C, h, w] of `rois` [K, 5] or of one BoxList an image.

        Maps beyond the last scale (P6) are ignored. A region with a negative image index gives zeros.
        """
        if not isinstance(rois, Tensor):
            rois = boxlists_to_rois(rois)
        maps = list(features[: len(self.scales)])
        return multilevel_roi_align(
            maps, rois, self.scales, self.output_size, self.sampling_ratio, channels_last=self.channels_last
        )


def check_pooler_scales(key: str, scales: Sequence[float], strides: Sequence[int] | None) -> None:
    """Refuses a pooler for other strides than those of the backbone's maps (None: not known).

    A pooler may leave the coarsest maps out. `key`: the config key that has its scales.
    """
    if strides is None or tuple(round(1 / scale) for scale in scales) == tuple(strides)[: len(scales)]:
        return
    raise ValueError(
        f"{key} = {tuple(scales)}: one divided by the strides of the backbone's maps, which are "
        f"{tuple(strides)}; the coarsest may be left out"
    )


def build_box_pooler(cfg: ConfigNode, channels_last: bool = True) -> Pooler:
    """The pooler of MODEL.ROI_BOX_HEAD."""
    head = cfg.MODEL.ROI_BOX_HEAD
    size = (head.POOLER_RESOLUTION, head.POOLER_RESOLUTION)
    return Pooler(size, head.POOLER_SCALES, head.POOLER_SAMPLING_RATIO, channels_last)


def build_mask_pooler(cfg: ConfigNode) -> Pooler:
    """The pooler of MODEL.ROI_MASK_HEAD."""
    head = cfg.MODEL.ROI_MASK_HEAD
    size = (head.POOLER_RESOLUTION, head.POOLER_RESOLUTION)
    return Pooler(size, head.POOLER_SCALES, head.POOLER_SAMPLING_RATIO)
